"""Reads rows from a file, or from what Python programs have them in.

Nothing here imports pandas or datasets: their objects are known by what they
can do.
"""

import csv
import itertools
import math
import numbers
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mpt_jax.data import rows as row_files
from mpt_jax.io import checks, paths

# What may separate the fields of a table; spreadsheets write semicolons where
# the comma is the decimal point.
SEPARATORS = (",", ";", "\t", "|")


class Source(NamedTuple):
  """Rows and where they come from.

  Attributes:
    name: a short name for the task, made of letters, digits and `_`.
    label: what the user calls the source, for messages.
    rows: the rows; an empty cell, null and NaN are None.
    places: where each row stands: "train.csv, line 7" or "row 7".
  """

  name: str
  label: str
  rows: list[dict]
  places: list[str]


def read_source(data, name: str | None = None) -> Source:
  """Reads all rows of a source.

  Args:
    data: the path of a file, see `read_path`; a list of dicts; a dict of
      columns; a pandas.DataFrame; or a datasets.Dataset, whose class numbers
      become the names of the classes.
    name: the task's name; by default the file's, or "rows".

  Raises:
    FileNotFoundError: there is no such file.
    TypeError: the data is none of these, or a row is no dict.
    ValueError: the file has another format, or there are no rows.
  """
  if isinstance(data, str | os.PathLike):
    source = read_path(data, name)
  else:
    rows = [_clean(row) for row in _rows_in_memory(data)]
    places = [f"row {i}" for i in range(1, len(rows) + 1)]
    source = Source(name or "rows", name or "the rows", rows, places)
  if not source.rows:
    raise ValueError(f"{source.label} is empty: it has no rows")
  return source


def read_path(path, name: str | None = None) -> Source:
  """Reads a file; see `data.rows` for the formats.

  In place of a comma, a .csv may have semicolons, tabs or bars between its
  fields. A .txt whose first line has tabs is a table.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file has another format.
  """
  path = pathlib.Path(paths.absolute(path))
  if path.is_dir():
    files = sorted(p for p in path.iterdir() if row_files.format_of(p))
    shown = ", ".join(str(p) for p in files[:3]) or "none that has rows"
    raise ValueError(
      f"{path} is a folder; name its files, each a task: {shown}"
    )
  options = _options(path)
  rows, places = [], []
  for number, row in row_files.read_file(path, **options):
    rows.append(_clean(row))
    places.append(f"{path.name}, line {number}")
  return Source(name or task_name(path), path.name, rows, places)


def task_name(path) -> str:
  """Returns the name of a file's task.

  >>> task_name("my data/TREC train.csv.gz")
  'trec'
  """
  stem = pathlib.Path(path).name.split(".")[0]
  words = re.findall(r"\w+", stem.lower())
  words = [word for text in words for word in text.split("_") if word]
  kept = [w for w in words if w not in ("train", "training", "data")]
  return "_".join(kept or words) or "task"


def _options(path) -> dict:
  """Returns what `rows.read_file` has to know of a file's layout."""
  kind = row_files.format_of(path)
  if kind is None:
    known = ", ".join(row_files.FORMATS)
    raise ValueError(
      f"{path}: unknown extension {path.suffix!r}, expected one of {known},"
      " each perhaps with .gz; rename the file"
    )
  if kind == "json":
    return {}
  with row_files.open_lines(path) as lines:
    first = next(iter(lines), b"").decode("utf-8-sig", errors="replace")
  if kind == "text" and "\t" not in first:
    raise ValueError(
      f"{path}: a .txt of plain lines has no labels; give a .csv or .tsv with a"
      " header, or .jsonl"
    )
  if kind in ("text", "tsv"):
    return {"format": "tsv"}
  return {"format": kind, "separator": _separator(first)}


def _separator(header: str) -> str:
  """Returns the character that separates the most columns of a header.

  >>> _separator('"a, b";c;d')
  ';'
  """
  counts = []
  for separator in SEPARATORS:
    fields = next(csv.reader([header.strip("\r\n")], delimiter=separator), [])
    counts.append(len(fields))
  return SEPARATORS[counts.index(max(counts))]


def _rows_in_memory(data) -> Iterable[Mapping]:
  """Yields the rows of an object."""
  if isinstance(data, Mapping):
    return _from_columns(data)
  if hasattr(data, "to_dict") and hasattr(data, "columns"):
    return data.to_dict("records")
  if hasattr(data, "column_names") and hasattr(data, "features"):
    return _from_dataset(data)
  if isinstance(data, Iterable):
    return data
  raise TypeError(
    "rows must be a path, a list of dicts, a dict of columns, a DataFrame or a"
    f" datasets.Dataset, got {type(data).__name__}"
  )


def _from_columns(data):
  sizes = {name: len(column) for name, column in data.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(f"the columns have different lengths: {sizes}")
  return [
    dict(zip(data, values, strict=True))
    for values in zip(*data.values(), strict=True)
  ]


def _from_dataset(data):
  """Yields rows whose class numbers are the classes' names."""
  names = {
    column: feature.names
    for column, feature in dict(data.features).items()
    if getattr(feature, "names", None)
  }
  for row in data:
    made = dict(row)
    for column, known in names.items():
      value = made[column]
      if value is not None:
        made[column] = known[value] if value >= 0 else None
    yield made


def _clean(row) -> dict:
  if not isinstance(row, Mapping):
    raise TypeError(
      'a row must be a dict like {"text": ..., "label": ...}, got'
      f" {type(row).__name__}"
    )
  return {str(key): _plain(value) for key, value in row.items()}


def _plain(value):
  """Returns a value as JSON has it, and None for a missing one."""
  if hasattr(value, "tolist"):  # NumPy's and pandas' scalars and arrays.
    value = value.tolist()
  if isinstance(value, str):
    return value if value.strip() else None
  if isinstance(value, numbers.Real) and not math.isfinite(value):
    return None
  if isinstance(value, tuple):
    return list(value)
  return value


def check_same_columns(train: Source, other: Source, needed):
  """Checks that another file has the columns of the training file.

  Raises:
    ValueError: a column is missing.
  """
  columns = list(dict.fromkeys(itertools.chain.from_iterable(other.rows)))
  for name in needed:
    if name not in columns:
      raise ValueError(
        f"{other.label} has no column {name!r}, which {train.label} has; it has"
        f" {', '.join(columns):.300}." + checks.near_misses(name, columns)
      )
