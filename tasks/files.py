"""Tasks over the user's own JSONL, CSV and TSV files."""

import functools
import os
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence

import seqio

from mpt_jax.data import templates, text_tasks
from mpt_jax.data.in_memory import examples
from mpt_jax.data.in_memory.examples import AnswersPostprocessor
from mpt_jax.io import checks
from mpt_jax.tasks import splits
from mpt_jax.tasks.file_rows import Files, Layout

# Labels that true does not mean if they stand first, where false is.
_AFFIRMATIVE = ("yes", "true", "positive", "correct", "right", "good")


def register_file_task(
  name: str,
  files: Mapping[str, str | os.PathLike] | str | os.PathLike,
  *,
  template: str,
  target: str | Sequence[str] = "label",
  label_names: Sequence[str] | Mapping | None = None,
  metric_fns: Sequence[str | Callable] | None = None,
  vocabulary: seqio.Vocabulary | None = None,
  check: bool = False,
  split_by: str | None = None,
  carve: Mapping[str, int | float] | None = None,
  seed: int = 0,
  key: str | None = None,
  **layout,
) -> seqio.Task:
  """Registers a task over files with one example per line or row.

  The extension gives the format: `.jsonl` or `.json` (a JSON object per line,
  or one array of objects), or `.csv` or `.tsv` (with a header), each perhaps
  packed as `.gz`; see `mpt_jax.data.rows`. The files are read when the task is
  first used.

  Args:
    name: the task's name.
    files: {split: path}, e.g. {"train": "train.jsonl", "test": "test.jsonl"}. A
      path may be a folder, see `file_rows.Layout.rows`. One path alone is the
      file that `split_by` or `carve` divides.
    template: the input text, with the files' fields in braces:
      "review: {text}". A field holds a text or a number, which is taken as
      written: 1.0 stays "1.0". `{meta.title}` is a field within an object. See
      `mpt_jax.data.templates`.
    target: the field of the label, or a template of the target text, e.g.
      "{summary}". Without label_names, the field may hold a list of texts:
      several right answers. Training takes the first, and the metrics get all.
      Several fields, ("ref1", "ref2"), are such a list too; empty ones do not
      count.
    label_names: for classification, the label words in class order. The field
      may hold a word or its index. True and false are the words "true" and
      "false", or else the indices 1 and 0 of two labels. Indices are not
      accepted if the word of another class looks like one: ("1", "2"). A
      mapping gives the word of each value, {0: "bad", 1: "good"}; the field may
      then hold a value or, unless a value is another's word, a word. With None
      any text may be a target.
    metric_fns: names in `mpt_jax.data.metrics.METRICS`, or functions. The
      default is CLASSIFICATION_METRICS with label_names, exact_match without.
    vocabulary: by default the vocabulary of the embedded model.
    check: read all files now rather than on first use.
    split_by: the column of a file that names each row's split. "dev" and "val"
      stand for "validation". The file is read now, to find the names.
    carve: {split: size} of splits that are drawn out of "train"; a size is a
      number of examples, or a share below 1. Equal inputs stay together.
    seed: seed of that draw.
    key: the field that several rows of one example share, each with a right
      answer of its own. In training each row is an example.
    **layout: columns, separator, quotes, encoding and pattern, see
      `file_rows.Layout`.

  Returns:
    The registered seqio.Task. There is a warning if the inputs hold the label.

  Raises:
    FileNotFoundError: a file is missing (on first use, or now with check).
    TypeError: a path is none.
    ValueError: the template or the labels are malformed, or an extension or
      metric is unknown. When the files are read: a line is broken, a field or
      a label is unknown, or a file is empty. The error names file and line.
  """
  source_files = _find_files(files, split_by, carve, layout)
  examples.check_template(template)
  labels = _Labels(label_names)
  targets = _Targets(target, labels)
  fields = (*templates.fields(template), *templates.fields(targets.template))
  if labels.names and (
    shown := set(templates.fields(template)) & {targets.field}
  ):
    warnings.warn(
      f"task {name!r}: its template shows the T5 the label, the field"
      f" {shown.pop()!r}",
      stacklevel=2,
    )
  if key is not None:
    if labels.names:
      raise ValueError(
        f"key={key!r}: a label stands alone; only texts have keys"
      )
    fields = (*fields, key)
  read = functools.partial(_read_pairs, source_files, fields, template, targets)
  carved = _Carving(read, carve or {}, seed)

  def load(split):
    pairs = carved.pairs(split)
    if key is not None and split != "train":
      pairs = _join(pairs, key)
    return targets.examples([(inputs, found) for inputs, found, _ in pairs])

  if metric_fns is None:
    metric_fns = ("exact_match",)
    if labels.names:
      metric_fns = examples.CLASSIFICATION_METRICS
  names = (*source_files.names(), *(carve or ()))
  source = text_tasks.ExamplesSource(load, names, source_files.find)
  if check:
    for split in names:
      source.examples(split)
  return text_tasks.register_text_task(
    name,
    source,
    label_names=labels.names,
    postprocess_fn=targets.postprocessor,
    metric_fns=metric_fns,
    vocabulary=vocabulary,
    template=template,
  )


def _find_files(files, split_by, carve, layout) -> Files:
  """Checks the arguments that say which files make which split."""
  try:
    layout = Layout(**layout)
  except TypeError as error:
    if "unexpected keyword" not in str(error):
      raise
    text = str(error).replace("Layout.__init__", "register_file_task")
    raise TypeError(text) from error
  if isinstance(files, str | os.PathLike):
    if split_by is None and not carve:
      raise ValueError(
        f"files={str(files)!r} is one file: say with split_by='COLUMN' or"
        " carve={'validation': 0.1, 'test': 0.1} what its splits are, or give"
        " files={'train': ...}"
      )
    files = {"" if split_by else "train": files}
  elif split_by is not None:
    raise ValueError(
      f"split_by={split_by!r} belongs to one file, not to several"
    )
  if not files:
    raise ValueError("files must name at least one split, as in {'train': ...}")
  for split, size in (carve or {}).items():
    checks.number(f"carve[{split!r}]", size, above=0)
    if size > 1 and size != int(size):
      raise ValueError(
        f"carve[{split!r}]={size}: expected a whole number, or a share below 1"
      )
    if split in files or ("train" not in files and split_by is None):
      raise ValueError(
        f"carve[{split!r}]: the split is drawn out of 'train', but files has"
        f" {', '.join(files)}"
      )
  paths = {
    split: layout.check_path(path, f"files[{split!r}]" if split else "files")
    for split, path in files.items()
  }
  return Files(paths, layout, split_by)


def _read_pairs(files, fields, template, targets, split) -> list[tuple]:
  """Returns (inputs, target or answers, row) of each row of a split."""
  made = []
  for where, row in files.rows(split, fields):
    try:
      made.append((templates.fill(template, row), targets.find(row), row))
    except ValueError as error:
      raise ValueError(f"{where}: {error}") from error
  if not made:
    path = files.paths["" if files.split_by else split]
    raise ValueError(f"{path} is empty: it has no examples")
  return made


class _Carving:
  """Draws splits out of "train".

  Args:
    read: returns the pairs of a split of the files.
    carve: {split: size}, see `register_file_task`.
    seed: the seed of the draw.
  """

  def __init__(self, read, carve, seed):
    self._read, self._carve, self._seed = read, carve, seed
    self._parts = None

  def pairs(self, split) -> list[tuple]:
    """Returns the pairs of a split.

    Raises:
      ValueError: nothing is left for "train".
    """
    if not self._carve or split not in ("train", *self._carve):
      return self._read(split)
    if self._parts is None:
      rest = self._read("train")
      count, self._parts = len(rest), {}
      for name, size in self._carve.items():
        size = max(1, round(size * count)) if size < 1 else int(size)
        self._parts[name], rest = splits.divide(
          rest, size, lambda pair: pair[0], self._seed
        )
      if not rest or not all(self._parts.values()):
        raise ValueError(
          f"carve={dict(self._carve)} leaves no examples of {count} for 'train'"
        )
      self._parts["train"] = rest
    return self._parts[split]


def _join(pairs, key) -> list[tuple]:
  """Makes one pair of all that have the same key, with all right answers."""
  groups = {}
  for inputs, found, row in pairs:
    value = templates.as_text(row[key], key)
    group = groups.setdefault(value, (inputs, [], row))
    group[1].extend([found] if isinstance(found, str) else found)
  return [
    (inputs, list(dict.fromkeys(found)), row)
    for inputs, found, row in groups.values()
  ]


class _Targets:
  """Makes the targets of a task's rows.

  Args:
    target: see `register_file_task`.
    labels: the `_Labels`.

  Attributes:
    template: the template of a target's text.
    field: the field that is the whole target, or None.
    postprocessor: makes all right answers of a target from an example; None if
      the task has labels.
  """

  def __init__(self, target, labels):
    parts = [target] if isinstance(target, str) else list(target)
    if labels.names is not None and len(parts) != 1:
      raise ValueError(f"target={target!r}: a label stands in one field")
    # A field's own name may have braces; then it is doubled as in a template.
    parts = [part if "{" in part else "{" + part + "}" for part in parts]
    for part in parts:
      examples.check_template(part)
    self.template = "".join(parts)
    self._parts = parts
    self._labels = labels
    pairs = templates.parse(self.template)
    alone = len(pairs) == 2 and pairs[0][0] == pairs[1][0] == ""
    self.field = pairs[0][1] if alone else None
    self.postprocessor = None
    if labels.names is None:
      self.postprocessor = AnswersPostprocessor("answers")

  def find(self, row) -> str | list[str]:
    """Returns the target's text, or the list of right answers.

    Raises:
      ValueError: a field is no text, or the value is not a label.
    """
    value = row.get(self.field, "")
    if self._labels.names is not None:
      row = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
      text = templates.fill(self.template, row).strip()
      return self._labels.find(text, value)
    if len(self._parts) > 1:
      texts = [templates.fill(part, row).strip() for part in self._parts]
      return list(dict.fromkeys(filter(None, texts))) or [_not_empty("")]
    if not isinstance(value, list):
      return _not_empty(templates.fill(self.template, row))
    if not value:
      raise ValueError(f"field {self.field!r} is a list without an answer")
    texts = [
      _not_empty(templates.as_text(item, f"{self.field}[{i}]"))
      for i, item in enumerate(value)
    ]
    return list(dict.fromkeys(texts))

  def examples(self, made) -> examples.Examples:
    """Makes examples of (inputs, target or answers) pairs."""
    if all(isinstance(target, str) for _, target in made):
      return made
    lists = [[t] if isinstance(t, str) else t for _, t in made]
    return [
      examples.Example(inputs, answers[0], answers=answers)
      for (inputs, _), answers in zip(made, lists, strict=True)
    ]


def _not_empty(text) -> str:
  if not text.strip():
    raise ValueError("the target text is empty")
  return text.strip()


class _Labels:
  """The label words of a task, and the values that stand for them in files.

  Args:
    label_names: see `register_file_task`.

  Attributes:
    names: the words in class order, or None where any text is a target.
  """

  def __init__(self, label_names):
    examples.check_label_names(label_names)
    if label_names is None:
      self.names, self._words, self._known = None, {}, {}
      return
    self._is_list = not isinstance(label_names, Mapping)
    given = dict(enumerate(label_names)) if self._is_list else label_names
    self._words = {str(k): str(word) for k, word in given.items()}
    self.names = tuple(dict.fromkeys(self._words.values()))
    words = {word: word for word in self.names}
    # Then a file has either values or words, and a mixture would be a mistake.
    differ = any(words.get(k, word) != word for k, word in self._words.items())
    if not differ:
      self._known = words | self._words
    else:
      self._known = words if self._is_list else self._words
    lower = {name.lower() for name in self.names}
    self._ignores_case = len(lower) == len(self.names)

  def find(self, text, value) -> str:
    """Returns the label word of an example.

    Args:
      text: the filled target template.
      value: the field of the label as it is in the file.

    Raises:
      ValueError: the value is not a label.
    """
    spellings = [text, str(value)]
    if self._ignores_case:
      spellings.append(str(value).lower())
    if isinstance(value, bool):
      # As the words "true" and "false", or else as the values 1 and 0.
      spellings = [*spellings[1:], text]
    for name in spellings:
      if name in self._known:
        if isinstance(value, bool) and name == text:
          self._check_boolean(value, text)
        return self._known[name]
    # Unicode has two spellings of "é".
    composed = unicodedata.normalize("NFC", text)
    for name in self._known:
      if unicodedata.normalize("NFC", name) == composed:
        return self._known[name]
    words = [name for name in self.names if name in self._known]
    others = [name for name in self._known if name not in words]
    shown = ", ".join(words) + (f" (or {', '.join(others)})" if others else "")
    raise ValueError(
      f"label {text!r:.100} is not one of {shown:.500}."
      + checks.near_misses(text, tuple(self._known))
    )

  def _check_boolean(self, value, text):
    """Refuses true and false as indices where they may mean the opposite."""
    is_index = self._is_list and text not in self.names
    if is_index and (
      len(self.names) != 2 or self.names[0].lower() in _AFFIRMATIVE
    ):
      raise ValueError(
        f"label {str(value).lower()} is not one of {', '.join(self.names)};"
        " say which it is: label_names={True: ..., False: ...}"
      )
