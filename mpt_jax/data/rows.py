"""Reads rows from files: the one reader of training and prediction.

A file has one of these formats. All are UTF-8, with or without a byte order
mark, and their lines end in LF, CRLF or CR.

  .jsonl, .json, .ndjson
                 a JSON object per line; blank lines are skipped
  .csv           RFC 4180 with a header: a field in double quotes may hold
                 commas, line breaks and doubled quotes; blank lines are skipped
  .tsv           a header; tabs separate, and every other character, quotes and
                 backslashes included, is literal; blank lines are skipped
  .txt           a text per line, as the field "text"; only LF and CRLF end one

Numbers of JSON keep their spelling when they become text (1.0, 1e5, -0). Values
of a .csv or .tsv are texts as written. Nothing here imports TensorFlow.
"""

import collections
import csv
import gzip
import io
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence

# The format of each extension.
FORMATS = {
  ".jsonl": "json",
  ".ndjson": "json",
  ".json": "json",
  ".csv": "csv",
  ".tsv": "tsv",
  ".txt": "text",
}

# The module's default of 131,072 characters is less than a long document.
csv.field_size_limit(2**31 - 1)


class _Number(float):
  """A number that keeps its spelling as text; JSON gets the number."""

  def __new__(cls, text):
    number = super().__new__(cls, text)
    number.text = text
    return number

  def __str__(self):
    return self.text

  def __reduce__(self):
    return _Number, (self.text,)


def format_of(path) -> str | None:
  """Returns the format of a file by its extension, None if it is unknown.

  >>> format_of("a/rows.CSV")
  'csv'
  """
  return FORMATS.get(pathlib.Path(path).suffix.lower())


def read_file(path) -> Iterator[tuple[int, dict]]:
  """Yields (line number, row) of a file whose extension gives the format.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: see `read_rows`.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"no file {path} (looked from {os.getcwd()})")
  with open(path, "rb") as file:
    yield from read_rows(file, path, format_of(path))


def read_rows(
  lines: Iterable[bytes],
  name,
  format: str | None = None,
  header: Sequence[str] | None = None,
) -> Iterator[tuple[int, dict]]:
  """Yields (number of its first line, row).

  Args:
    lines: the lines of a file that is open for reading bytes.
    name: the file's name, for errors.
    format: a value of `FORMATS`. With None, it is "json" if the first line that
      is not blank begins with a brace, and "text" otherwise.
    header: the columns of a table whose file does not name them.

  Raises:
    ValueError: a line is not UTF-8 text or does not have the format, two
      columns or fields have one name, or a row has too few or too many fields.
      The message is one line and names file and line. A row of a table that
      repeats the header is such an error too.
  """
  decoded = _decode(lines, name)
  if format is None:
    decoded, format = _find_format(decoded)
  if format == "text":
    return ((number, {"text": text.strip()}) for number, text in decoded)
  decoded = _universal(decoded)
  if format == "json":
    return _json_rows(decoded, name)
  records = _csv_records if format == "csv" else _tsv_records
  return _table_rows(records(decoded, name), name, header)


def _find_format(decoded):
  """Returns the lines again, and their format."""
  blank = []
  for number, text in decoded:
    blank.append((number, text))
    if text.strip():
      kind = "json" if text.lstrip().startswith("{") else "text"
      return itertools.chain(blank, decoded), kind
  return iter(blank), "text"


def _decode(lines, name):
  """Yields (line number, text with its line break)."""
  lines = enumerate(lines, 1)
  while True:
    try:
      number, data = next(lines)
    except StopIteration:
      return
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
      raise ValueError(f"{name} is damaged or incomplete: {error}") from error
    if number == 1 and data.startswith(b"\x1f\x8b"):
      raise ValueError(f"{name}: compressed by gzip; unpack it (gunzip) first")
    if number == 1 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
      raise ValueError(
        f"{name}, line 1: not UTF-8 text but UTF-16; save the file as UTF-8"
      )
    try:
      text = data.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
      raise ValueError(
        f"{name}, line {number}: not UTF-8 text: {error}; save the file as"
        " UTF-8"
      ) from error
    if "\0" in text:
      raise ValueError(
        f"{name}, line {number}: not UTF-8 text: it has a NUL byte; save the"
        " file as UTF-8"
      )
    yield number, text


def _universal(decoded):
  """Divides lines at CR too; CR alone ended lines on old Macs."""
  number = 0
  for _, text in decoded:
    for line in io.StringIO(text, newline=""):
      number += 1
      yield number, line


def _json_rows(decoded, name):
  for number, line in decoded:
    if line.strip():
      yield number, parse_object(line, f"{name}, line {number}")


def parse_object(line: str, where: str) -> dict:
  """Returns the JSON object of a line.

  Args:
    line: the text.
    where: names file and line in the error.

  Raises:
    ValueError: it is no JSON, no object, or has a field twice.
  """
  try:
    row = json.loads(
      line,
      object_pairs_hook=_make_object,
      parse_float=_Number,
      parse_int=lambda text: _Number(text) if text == "-0" else int(text),
    )
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{where}: not valid JSON: {error.msg} at column {error.colno}; each line"
      ' must be one object like {"text": ...}'
    ) from error
  except (ValueError, RecursionError) as error:
    # A field occurs twice, a number has thousands of digits, or there are too
    # many brackets.
    raise ValueError(f"{where}: {error}") from error
  if not isinstance(row, dict):
    raise ValueError(
      f'{where}: expected a JSON object like {{"text": ...}}, got'
      f" {type(row).__name__}"
    )
  return row


def _make_object(pairs):
  made = dict(pairs)
  if len(made) < len(pairs):
    raise ValueError(f"the field {_twice(k for k, _ in pairs)} occurs twice")
  return made


def _twice(names) -> str:
  """Names what occurs twice."""
  counts = collections.Counter(names)
  twice = ", ".join(repr(n) for n, count in counts.items() if count > 1)
  return f"{twice:.300}"


def _csv_records(decoded, name):
  """Yields (number of the first line, fields) of each record that is not blank.

  A blank first line is yielded too, because it should have been the header.
  """
  reader = csv.reader((line for _, line in decoded), strict=True)
  while True:
    start = reader.line_num + 1
    try:
      record = next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      raise ValueError(f"{name}, line {start}: {error}") from error
    if record or start == 1:
      yield start, record


def _tsv_records(decoded, name):
  """The same as `_csv_records`."""
  del name
  for number, line in decoded:
    line = line.rstrip("\r\n")
    if line or number == 1:
      yield number, line.split("\t") if line else []


def _table_rows(records, name, header):
  """Makes rows of records, the first of which names the columns."""
  if header is None:
    number, header = next(records, (1, None))
    if header is None:
      return
    if not header:
      raise ValueError(
        f"{name}: the first line, which names the columns, is empty"
      )
    if len(set(header)) < len(header):
      raise ValueError(
        f"{name}, line {number}: the column {_twice(header)} occurs twice;"
        " rename one"
      )
  for number, record in records:
    if not record:
      continue
    if len(header) > 1 and list(record) == list(header):
      raise ValueError(
        f"{name}, line {number}: the names of the columns again"
        f" ({', '.join(header)}); the file was put together of several, so"
        " remove this line"
      )
    if len(record) != len(header):
      raise ValueError(
        f"{name}, line {number}: expected {len(header)} columns"
        f" ({', '.join(header):.300}), got {len(record)}"
      )
    yield number, dict(zip(header, record, strict=True))
