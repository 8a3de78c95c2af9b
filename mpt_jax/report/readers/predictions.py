"""Reads predictions.jsonl, which `mpt predict --out` has written."""

from collections import Counter

from etils import epath

from mpt_jax.io import digests
from mpt_jax.io.errors import reading
from mpt_jax.report.material import Answer, Answers, Confusion
from mpt_jax.report.readers.comparison import MOST, cut

FILE = "predictions.jsonl"
# The field of a row that has the right answer; the first one that is there.
TRUTHS = ("target", "label", "answer")
_NO_TEXTS = ("task", "prediction", "scores", "probabilities", *TRUTHS)


def read_predictions(folder) -> tuple[list[Answers], list[Confusion], list]:
  """Reads a folder's predictions.jsonl.

  Rows without a right answer are left out.

  Returns:
    (right and wrong answers, confusion by class, notes); all empty if there is
    no such file.

  Raises:
    ValueError: a line is damaged.
  """
  path = epath.Path(folder) / FILE
  if not path.exists():
    return [], [], []
  rows, total = {}, 0
  for number, row in digests.read_lines(path):
    total += 1
    if row is None:
      raise ValueError(f"{path}, line {number}, is damaged")
    with reading(path, f"predictions (line {number})"):
      truth = _truth(row)
      if truth is not None:
        rows.setdefault(str(row.get("task", "")), []).append((row, truth))
  if not rows:
    return [], [], [f"{FILE} has no right answers: no {', '.join(TRUTHS)}."]
  notes = []
  known = sum(map(len, rows.values()))
  if known < total:
    notes.append(
      f"{FILE}: {total - known} of {total} rows have no right answer."
    )
  with reading(path, "predictions"):
    answers = [_answers(task, own) for task, own in rows.items()]
    found = [_confusion(task, own) for task, own in rows.items()]
  return answers, [one for one in found if one], notes


def _truth(row) -> str | None:
  """The right answer of a row; a number may be that of a label."""
  for name in TRUTHS:
    if name in row and not isinstance(row[name], (list, dict)):
      labels, value = list(row.get("scores", ())), row[name]
      if str(value) in labels or not labels:
        return str(value)
      if type(value) is int and 0 <= value < len(labels):
        return labels[value]
      return str(value)
  return None


def _answers(task, rows) -> Answers:
  right, wrong = [], []
  for row, truth in rows:
    answer, shares = str(row["prediction"]), row.get("probabilities")
    (right if answer.strip() == truth.strip() else wrong).append(
      Answer(
        text=cut(_text(row)),
        truth=truth,
        answer=cut(answer),
        probability=shares and max(shares.values()),
      )
    )
  sure = all(a.probability is not None for a in (*right, *wrong))
  order = "the first ones of the file"
  if sure:
    order = "the most confident ones"
    for found in (right, wrong):
      found.sort(key=lambda one: -one.probability)
  return Answers(
    target=task or FILE,
    method=f"{len(rows):,} rows of {FILE}",
    right=tuple(right[:MOST]),
    wrong=tuple(wrong[:MOST]),
    order=order,
  )


def _text(row) -> str:
  fields = {k: v for k, v in row.items() if k not in _NO_TEXTS}
  if len(fields) == 1:
    return str(next(iter(fields.values())))
  return "; ".join(f"{name}: {value}" for name, value in fields.items())


def _confusion(task, rows) -> Confusion | None:
  """Counts of labels; None if the task has none."""
  labels = tuple(rows[0][0].get("scores", ()))
  if not labels or any(truth not in labels for _, truth in rows):
    return None
  counts = Counter((truth, row["prediction"]) for row, truth in rows)
  return Confusion(
    target=task or FILE,
    method=f"{len(rows):,} rows of {FILE}",
    labels=labels,
    answers=labels,
    counts=tuple(
      tuple(counts[truth, answer] for answer in labels) for truth in labels
    ),
  )
