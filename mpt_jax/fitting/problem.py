"""Makes a task of a user's rows: columns, labels, splits."""

import collections
import dataclasses
from collections.abc import Sequence

from mpt_jax.data import templates
from mpt_jax.data.in_memory.examples import check_template
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.fitting import columns, sources, splitting
from mpt_jax.fitting.config import FitConfig
from mpt_jax.fitting.sources import Source

TARGET = "target"
METRICS = {
  "labels": ("accuracy", "balanced_accuracy", "f1_macro"),
  "number": ("pearson_spearman",),
  "text": ("squad", "exact_match"),
}
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# Generated texts of more words than this are compared by BLEU and ROUGE.
FEW_WORDS = 5
# The largest class of even classes has at most so many times its even share.
EVEN = 1.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
  """A task and what was found out about it.

  Attributes:
    task: the task, with the splits "train", "validation" and perhaps "test".
    texts: the columns of the input.
    label: the column of the target.
    counts: {label: rows} of the training split, the most frequent first.
    dropped: rows without a text or a target, which were left out.
    held_out: how the validation and test rows were got, for people.
    scored: the split of the score: "test", or "validation" if there is none.
  """

  task: RowTask
  texts: tuple[str, ...]
  label: str
  counts: dict[str, int]
  dropped: int
  held_out: str
  scored: str


def make_problem(
  train: Source,
  config: FitConfig,
  validation: Source | None = None,
  test: Source | None = None,
) -> Problem:
  """Makes the task of a training file and of perhaps further files.

  Args:
    train: the training rows.
    config: the settings.
    validation: rows that select the best step; None draws them.
    test: rows for the score. None draws them if there are many rows and no
      validation rows were given.

  Raises:
    ValueError: a column is missing or unclear, there are too few rows, or there
      is one label only.
  """
  known = columns.describe(train.rows)
  label = columns.find_label(known, config.label, train.label)
  if config.template is not None:
    template, texts = config.template, check_template(config.template)
    for name in texts:
      columns.find_texts(known, [name], label, train.label)
  else:
    texts = columns.find_texts(known, config.text, label, train.label)
    template = columns.make_template(texts)
  if label in texts:
    raise ValueError(
      f"{train.label}: {label!r} is the target, so it cannot be a text too"
    )
  others = {"validation": validation, "test": test}
  given = {name: source for name, source in others.items() if source}
  for source in given.values():
    sources.check_same_columns(train, source, [*texts, label])
  kept, dropped = {}, 0
  for name, source in {"train": train, **given}.items():
    kept[name], missing = _complete(source, [*texts, label])
    dropped += missing
  kind = config.kind or columns.find_kind(known[label], len(kept["train"]))
  words = _Words(kind, [row[label] for row, _ in kept["train"]], train.label)
  rows = {
    name: [_made(row, where, texts, label, words) for row, where in own]
    for name, own in kept.items()
  }
  rows, held_out = _with_held_out(
    rows, template, kind, config.seed, train.label
  )
  counts = collections.Counter(str(row[TARGET]) for row in rows["train"])
  task = RowTask(
    name=train.name,
    rows=rows,
    template=template,
    target=TARGET,
    kind=kind,
    label_names=words.names,
    **_metrics(kind, words.names, counts, rows["train"], config.metric),
  )
  scored = "test" if "test" in rows else "validation"
  return Problem(
    task=task,
    texts=tuple(texts),
    label=label,
    counts=dict(counts.most_common()),
    dropped=dropped,
    held_out=held_out,
    scored=scored,
  )


def restore_problem(task: RowTask, held_out: str) -> Problem:
  """Makes the problem of a task that an earlier run wrote.

  Args:
    task: the task.
    held_out: how its rows were got, for people.
  """
  targets = first_answers(task.rows["train"])
  return Problem(
    task=task,
    texts=tuple(dict.fromkeys(templates.fields(task.template))),
    label=task.target,
    counts=dict(collections.Counter(targets).most_common()),
    dropped=0,
    held_out=held_out,
    scored="test" if "test" in task.rows else "validation",
  )


def _complete(source, needed):
  """Returns (row, place) pairs that are complete, and how many are not."""
  pairs = list(zip(source.rows, source.places, strict=True))
  kept = [
    pair
    for pair in pairs
    if all(pair[0].get(name) not in (None, []) for name in needed)
  ]
  if not kept:
    raise ValueError(
      f"{source.label}: no row has values in all of {', '.join(needed)}"
    )
  return kept, len(pairs) - len(kept)


class _Words:
  """Turns the values of a target's column into texts.

  Args:
    kind: see `FitConfig.kind`.
    values: those of the training rows.
    where: names the rows, for errors.

  Attributes:
    names: the labels or levels in order; None for texts.
  """

  def __init__(self, kind, values, where):
    self._kind, self.names = kind, None
    if kind == "labels":
      words = collections.Counter(columns.as_label(value) for value in values)
      if len(words) < 2:
        raise ValueError(
          f"{where}: all rows have the same label, {next(iter(words))!r}; name"
          " another column with --label, or give --kind text to generate texts"
        )
      numeric = all(columns.to_number(word) is not None for word in words)
      self.names = tuple(sorted(words, key=float if numeric else str))
    elif kind == "number":
      found = [columns.to_number(value) for value in values]
      if None in found:
        bad = values[found.index(None)]
        raise ValueError(f"{where}: the target {bad!r:.60} is not a number")
      self.names = columns.find_levels(found)

  def find(self, value):
    """Returns the target of a row.

    Raises:
      ValueError: it is no label of the training rows, or no number.
    """
    if self._kind == "text":
      values = value if isinstance(value, list) else [value]
      return [templates.as_text(v, TARGET).strip() for v in values if v]
    if self._kind == "number":
      number = columns.to_number(value)
      if number is None:
        raise ValueError(f"{value!r:.60} is not a number")
      return columns.nearest(self.names, number)
    word = columns.as_label(value)
    if word not in self.names:
      raise ValueError(
        f"the label {word!r:.60} does not occur in the training rows, which"
        f" have {', '.join(self.names):.200}"
      )
    return word


def _made(row, where, texts, label, words) -> dict:
  try:
    target = words.find(row[label])
    if isinstance(target, list) and len(target) == 1:
      target = target[0]
    return {**{name: _text(row[name], name) for name in texts}, TARGET: target}
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def _text(value, name):
  return (
    value if isinstance(value, int | float) else templates.as_text(value, name)
  )


def _with_held_out(rows, template, kind, seed, where):
  """Draws the splits that are missing; returns all of them, and how."""
  train, said = rows["train"], []
  count = len(train)
  missing = [name for name in ("test", "validation") if name not in rows]
  if "validation" in rows or count < splitting.ENOUGH_FOR_TEST:
    missing = [name for name in missing if name == "validation"]
  if missing and count < splitting.FEWEST:
    raise ValueError(
      f"{where} has {count} complete rows, too few to hold any out; give at"
      f" least {splitting.FEWEST}, or others with --validation FILE"
    )
  size = splitting.size_of(count)
  for name in missing:
    inputs = [templates.fill(template, row) for row in train]
    targets = None if kind == "text" else [row[TARGET] for row in train]
    drawn, rest = splitting.draw(inputs, targets, size, seed)
    if not drawn or not rest:
      raise ValueError(
        f"{where}: its rows have too few different texts to hold any out; give"
        " others with --validation FILE"
      )
    rows = {**rows, name: [train[i] for i in drawn]}
    train = rows["train"] = [train[i] for i in rest]
    said.append(name)
  order = [s for s in ("train", "validation", "test") if s in rows]
  how = "your files"
  if said:
    how = f"{' and '.join(reversed(said))} drawn with seed {seed}"
    how += "" if kind == "text" else ", of each label in proportion"
  return {name: rows[name] for name in order}, how


def _metrics(kind, names, counts, rows, asked) -> dict:
  """Returns the metrics of a task, and the one that is its score."""
  made = METRICS[kind]
  if kind == "labels":
    even = max(counts.values()) / sum(counts.values()) <= EVEN / len(names)
    metric = "accuracy" if even else "balanced_accuracy"
  elif kind == "number":
    metric = "pearson"
  else:
    first = [_first(row[TARGET]) for row in rows]
    words = sum(len(text.split()) for text in first) / len(first)
    long = words > FEW_WORDS
    made = ("bleu", *ROUGE, *made) if long else made
    metric = "bleu" if long else "f1"
  if asked is not None:
    made = tuple(dict.fromkeys((asked, *made)))
    metric = None  # The first value of the first metric.
  return {"metric_names": made, "metric": metric}


def _first(target) -> str:
  return target[0] if isinstance(target, list) else target


def label_balance(problem: Problem, most: int = 6) -> str:
  """Says how often the labels occur in the training rows."""
  total = sum(problem.counts.values())
  shown = list(problem.counts.items())[:most]
  text = ", ".join(f"{label} {count / total:.0%}" for label, count in shown)
  left = len(problem.counts) - len(shown)
  return text + (f", and {left} more" if left else "")


def first_answers(rows: Sequence[dict]) -> list[str]:
  """Returns the target of each row; the first where several are right."""
  return [_first(row[TARGET]) for row in rows]
