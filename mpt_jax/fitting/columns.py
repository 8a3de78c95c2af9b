"""Finds the texts, the target and its kind among the columns of rows."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mpt_jax.data import templates
from mpt_jax.io import checks

# Names that people give the column of the target, the likeliest first.
TARGETS = (
  "label labels gold_label class category target topic sentiment intent kind"
  " type quality polarity answer answers summary highlights output completion"
  " response translation score rating stars similarity relatedness_score"
  " similarity_score entailment entailment_judgment is_duplicate is_spam y"
).split()
# Names of columns that are neither texts nor targets.
IGNORED = re.compile(
  r"(^|[\s_#-])(id|idx|index|uid|guid|uuid|pairid|url|date|time|split|fold)$"
)
# A text column has at least so many words, or characters, on average.
WORDS, CHARACTERS = 2.0, 15.0
MAX_LABELS = 200
# Rows per label, at least, for a column of words to be labels.
ROWS_PER_LABEL = 2
# Whole numbers of more different values than this are a scale.
MAX_NUMBER_LABELS = 12
# Most values of a scale that are ranked.
NUM_LEVELS = 26


class Column(NamedTuple):
  """What a column holds.

  Attributes:
    name: its name.
    filled: the share of rows that have a value.
    distinct: the number of different values.
    words: the mean number of words of its texts.
    characters: the mean number of characters.
    numeric: whether all values are numbers, or texts of them.
    listed: whether its values are lists.
  """

  name: str
  filled: float
  distinct: int
  words: float
  characters: float
  numeric: bool
  listed: bool

  @property
  def is_text(self) -> bool:
    long = self.words >= WORDS or self.characters >= CHARACTERS
    return long and not self.numeric and not self.listed and self.distinct > 1


def describe(rows: Sequence[dict]) -> dict[str, Column]:
  """Describes each column of the rows, in the order of the first row."""
  names = dict.fromkeys(name for row in rows for name in row)
  return {name: _describe(name, rows) for name in names}


def _describe(name, rows) -> Column:
  values = [row.get(name) for row in rows]
  values = [value for value in values if value is not None]
  texts = [str(value) for value in values]
  count = max(1, len(texts))
  return Column(
    name,
    len(values) / max(1, len(rows)),
    len(set(texts)),
    sum(len(text.split()) for text in texts) / count,
    sum(map(len, texts)) / count,
    bool(values) and all(to_number(value) is not None for value in values),
    any(isinstance(value, list) for value in values),
  )


def to_number(value) -> float | None:
  """Returns the number that a value is or spells, None if it is none.

  >>> to_number("2.50"), to_number("two"), to_number(True)
  (2.5, None, None)
  """
  if isinstance(value, bool | list | dict):
    return None
  try:
    return float(value)
  except (TypeError, ValueError):
    return None


def find_label(columns: dict[str, Column], label: str | None, where) -> str:
  """Returns the column of the target.

  Args:
    columns: see `describe`.
    label: the column that the user named, or None.
    where: names the rows, for errors.

  Raises:
    ValueError: there is no such column, or none that looks like a target.
  """
  if label is not None:
    return _known(columns, label, "--label", where)
  filled = {k: c for k, c in columns.items() if c.filled}
  lower = {name.lower().strip(): name for name in filled}
  for name in TARGETS:
    if name in lower:
      return lower[name]
  short = [
    c
    for c in filled.values()
    if c.distinct > 1 and not c.is_text and not IGNORED.search(c.name.lower())
  ]
  if short:
    return min(short, key=lambda c: (c.distinct, c.name)).name
  shown = ", ".join(columns)
  raise ValueError(
    f"{where}: no column looks like the target; name it with --label (in"
    f" Python: label=). There are {shown:.300}"
  )


def find_texts(
  columns: dict[str, Column], texts: Sequence[str], label: str, where
) -> list[str]:
  """Returns the columns of the input.

  Args:
    columns: see `describe`.
    texts: the columns that the user named; empty for those that look like text.
    label: the column of the target.
    where: names the rows, for errors.

  Raises:
    ValueError: there is no such column, or none that looks like text.
  """
  if texts:
    return [_known(columns, name, "--text", where) for name in texts]
  others = [c for c in columns.values() if c.name != label and c.distinct > 1]
  wanted = [c for c in others if not IGNORED.search(c.name.lower())]
  found = [c.name for c in wanted if c.is_text]
  if not found and len(wanted) == 1 and not wanted[0].listed:
    found = [wanted[0].name]
  if not found:
    shown = ", ".join(columns)
    raise ValueError(
      f"{where}: no column besides {label!r} looks like text; name it with"
      f" --text (in Python: text=). There are {shown:.300}"
    )
  return found


def _known(columns, name, option, where) -> str:
  if name in columns:
    return name
  raise ValueError(
    f"{where}: {option} {name!r} is no column; there are"
    f" {', '.join(columns):.300}." + checks.near_misses(name, list(columns))
  )


def find_kind(column: Column, num_rows: int) -> str:
  """Returns "labels", "number" or "text" for a target's column.

  >>> find_kind(Column("label", 1.0, 2, 1.0, 4.0, False, False), 100)
  'labels'
  >>> find_kind(Column("score", 1.0, 40, 1.0, 3.0, True, False), 100)
  'number'
  """
  if column.listed:
    return "text"
  if column.numeric:
    return "number" if column.distinct > MAX_NUMBER_LABELS else "labels"
  few = column.distinct <= min(MAX_LABELS, max(2, num_rows // ROWS_PER_LABEL))
  return "labels" if few and column.words <= 6 else "text"


def make_template(texts: Sequence[str]) -> str:
  """Returns the template of an input: one text alone, several with names.

  >>> make_template(["question"]), make_template(["#1 String", "b"])
  ('{question}', '#1 String: {#1 String} b: {b}')
  """

  def braces(text):
    return text.replace("{", "{{").replace("}", "}}")

  if len(texts) == 1:
    return f"{{{braces(texts[0])}}}"
  return " ".join(f"{braces(name)}: {{{braces(name)}}}" for name in texts)


def find_levels(values: Sequence[float]) -> tuple[str, ...]:
  """Returns the texts of the levels that stand for numbers of a range.

  The step is 1, 2 or 5 times a power of ten; there are at most `NUM_LEVELS`.

  >>> find_levels([0.0, 5.0, 3.75])[:3]
  ('0.0', '0.2', '0.4')
  >>> find_levels([1, 40])[:3]
  ('0', '2', '4')
  """
  low, high = min(values), max(values)
  if low == high:
    raise ValueError(f"all numbers of the target are {low:g}")
  power = -12
  while True:
    for factor in (1, 2, 5):
      step = factor * 10.0**power
      first, last = _floor(low, step), -_floor(-high, step)
      if last - first < NUM_LEVELS:
        decimals = max(0, -power)
        levels = range(first, last + 1)
        return tuple(f"{k * step:.{decimals}f}" for k in levels)
    power += 1


def _floor(value, step) -> int:
  # 0.6 / 0.2 is a little below 3.
  return int((value / step + 1e-9) // 1)


def nearest(levels: Sequence[str], value: float) -> str:
  """Returns the level next to a number."""
  return min(levels, key=lambda level: abs(float(level) - value))


def as_label(value) -> str:
  """Returns the word of a label: 1.0 is "1", True is "true"."""
  if isinstance(value, bool):
    return str(value).lower()
  number = to_number(value)
  if (
    number is not None and not isinstance(value, str) and number == int(number)
  ):
    return str(int(number))
  return " ".join(templates.as_text(value, "label").split())
