"""Reads rows from files: the one reader of training and prediction.

A file has one of these formats. All are UTF-8, with or without a byte order
mark, and their lines end in LF, CRLF or CR. `.gz` behind the extension stands
for a file that gzip has packed.

  .jsonl, .json, .ndjson
                 a JSON object per line, where blank lines are skipped, or one
                 array of objects
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
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

# The format of each extension.
FORMATS = {
  ".jsonl": "json",
  ".ndjson": "json",
  ".json": "json",
  ".csv": "csv",
  ".tsv": "tsv",
  ".txt": "text",
}

GZIP = ".gz"
_BLANKS = re.compile(r"[ \t\n\r]*")

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

  >>> format_of("a/rows.CSV"), format_of("rows.jsonl.gz")
  ('csv', 'json')
  """
  path = pathlib.Path(path)
  if path.suffix.lower() == GZIP:
    path = path.with_suffix("")
  return FORMATS.get(path.suffix.lower())


def open_lines(path) -> BinaryIO:
  """Opens a file for reading bytes, unpacked if its name ends in `.gz`.

  Raises:
    FileNotFoundError: there is no such file.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"no file {path} (looked from {os.getcwd()})")
  packed = pathlib.Path(path).suffix.lower() == GZIP
  return gzip.open(path, "rb") if packed else open(path, "rb")


def read_file(
  path, format: str | None = None, **options
) -> Iterator[tuple[int, dict]]:
  """Yields (line number, row) of a file.

  Args:
    path: the file.
    format: a value of `FORMATS`; by default the extension gives it.
    **options: further arguments of `read_rows`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: see `read_rows`.
  """
  with open_lines(path) as file:
    yield from read_rows(file, path, format or format_of(path), **options)


def read_document(path):
  """Returns the JSON value that is a whole file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file is not UTF-8 text or not JSON; the message names it.
  """
  with open_lines(path) as file:
    text = "".join(line for _, line in _decode(file, path, "utf-8"))
  try:
    return json.loads(text, **_JSON)
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: not valid JSON: {error}") from error


def read_rows(
  lines: Iterable[bytes],
  name,
  format: str | None = None,
  header: Sequence[str] | None = None,
  *,
  separator: str | None = None,
  quotes: bool | None = None,
  ragged: bool = False,
  encoding: str = "utf-8",
) -> Iterator[tuple[int, dict]]:
  """Yields (number of its first line, row).

  Args:
    lines: the lines of a file that is open for reading bytes.
    name: the file's name, for errors.
    format: a value of `FORMATS`. With None, it is "json" if the first line that
      is not blank begins with a brace, and "text" otherwise.
    header: the columns of a table whose file does not name them.
    separator: the character between the fields of a table, by default that of
      the format.
    quotes: whether double quotes may enclose a field of a table, by default
      that of the format. If not, they are characters as any other.
    ragged: a table's row may have fewer fields than there are columns, and then
      lacks the last ones, or more, of which only the first count.
    encoding: the encoding of the text.

  Raises:
    ValueError: a line is not UTF-8 text or does not have the format, two
      columns or fields have one name, or a row has too few or too many fields.
      The message is one line and names file and line. A row of a table that
      repeats the header is such an error too.
  """
  decoded = _decode(lines, name, encoding)
  if format is None:
    decoded, format = _find_format(decoded)
  if format == "text":
    return ((number, {"text": text.strip()}) for number, text in decoded)
  decoded = _universal(decoded)
  if format == "json":
    return _json_rows(decoded, name)
  if separator is None:
    separator = "," if format == "csv" else "\t"
  if format == "csv" if quotes is None else quotes:
    records = _quoted_records(decoded, name, separator)
  else:
    records = _literal_records(decoded, separator)
  return _table_rows(records, name, header, ragged)


def _find_format(decoded):
  """Returns the lines again, and their format."""
  blank = []
  for number, text in decoded:
    blank.append((number, text))
    if text.strip():
      kind = "json" if text.lstrip().startswith("{") else "text"
      return itertools.chain(blank, decoded), kind
  return iter(blank), "text"


def _decode(lines, name, encoding):
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
      raise ValueError(
        f"{name}: compressed by gzip; unpack it (gunzip) first, or let its name"
        " end in .gz"
      )
    utf8 = encoding == "utf-8"
    if utf8 and number == 1 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
      raise ValueError(
        f"{name}, line 1: not UTF-8 text but UTF-16; save the file as UTF-8"
      )
    try:
      text = data.decode("utf-8-sig" if utf8 and number == 1 else encoding)
    except UnicodeDecodeError as error:
      raise ValueError(
        f"{name}, line {number}: not {encoding.upper()} text: {error}; save the"
        " file as UTF-8"
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
  is_first = True
  for number, line in decoded:
    if not line.strip():
      continue
    if is_first and line.lstrip().startswith("["):
      rest = "".join(text for _, text in decoded)
      yield from _array_rows(line + rest, name, number)
      return
    is_first = False
    yield number, parse_object(line, f"{name}, line {number}")


def _array_rows(text, name, first):
  """Yields (number of its first line, object) of each object of an array.

  Args:
    text: the array's text.
    name: the file's name, for errors.
    first: the number of the text's first line.
  """
  decoder = json.JSONDecoder(**_JSON)
  line, seen, position, comma = first, 0, 0, "["
  while True:
    # A bracket or a comma stands before each item, a bracket behind the last.
    position = _skip_blanks(text, position)
    found = text[position : position + 1]
    line, seen = line + text.count("\n", seen, position), position
    if found == "]" and comma == ",":
      break
    if not found or found != comma:
      raise ValueError(
        f"{name}, line {line}: not valid JSON: expected {comma!r} of the array"
        f" of objects, got {found or 'the end of the file'!r}"
      )
    position = _skip_blanks(text, position + 1)
    line, seen = line + text.count("\n", seen, position), position
    if comma == "[" and text.startswith("]", position):
      break
    try:
      row, position = decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
      raise ValueError(
        f"{name}, line {error.lineno + first - 1}: not valid JSON: {error.msg}"
        f" at column {error.colno}"
      ) from error
    except (ValueError, RecursionError) as error:
      raise ValueError(f"{name}, line {line}: {error}") from error
    yield line, _check_object(row, f"{name}, line {line}")
    comma = ","
  if text[position + 1 :].strip():
    raise ValueError(
      f"{name}, line {line}: more text follows the array; a file holds one"
      " array or an object per line"
    )


def _skip_blanks(text, start):
  return _BLANKS.match(text, start).end()


def parse_object(line: str, where: str) -> dict:
  """Returns the JSON object of a line.

  Args:
    line: the text.
    where: names file and line in the error.

  Raises:
    ValueError: it is no JSON, no object, or has a field twice.
  """
  try:
    row = json.loads(line, **_JSON)
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{where}: not valid JSON: {error.msg} at column {error.colno}; each line"
      ' must be one object like {"text": ...}'
    ) from error
  except (ValueError, RecursionError) as error:
    # A field occurs twice, a number has thousands of digits, or there are too
    # many brackets.
    raise ValueError(f"{where}: {error}") from error
  return _check_object(row, where)


def _check_object(row, where):
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


# How JSON becomes Python: numbers keep their spelling, a field occurs once.
_JSON = dict(
  object_pairs_hook=_make_object,
  parse_float=_Number,
  parse_int=lambda text: _Number(text) if text == "-0" else int(text),
)


def _twice(names) -> str:
  """Names what occurs twice."""
  counts = collections.Counter(names)
  twice = ", ".join(repr(n) for n, count in counts.items() if count > 1)
  return f"{twice:.300}"


def _quoted_records(decoded, name, separator):
  """Yields (number of the first line, fields) of each record that is not blank.

  A blank first line is yielded too, because it should have been the header.
  """
  reader = csv.reader(
    (line for _, line in decoded), strict=True, delimiter=separator
  )
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


def _literal_records(decoded, separator):
  """The same as `_quoted_records`."""
  for number, line in decoded:
    line = line.rstrip("\r\n")
    if line or number == 1:
      yield number, line.split(separator) if line else []


def _table_rows(records, name, header, ragged):
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
    if len(record) != len(header) and not ragged:
      raise ValueError(
        f"{name}, line {number}: expected {len(header)} columns"
        f" ({', '.join(header):.300}), got {len(record)}"
      )
    yield number, dict(zip(header, record, strict=not ragged))
