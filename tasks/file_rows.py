"""Rows of a user's files: how files are laid out and divided into splits."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

from mpt_jax.data import rows, templates
from mpt_jax.io.checks import near_misses
from mpt_jax.io.paths import absolute

# The formats of `rows` that have fields.
EXTENSIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
# How the values of a column of splits are called here.
SPLIT_NAMES = {
  "training": "train",
  "dev": "validation",
  "val": "validation",
  "valid": "validation",
  "testing": "test",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """How a file is laid out, where its extension does not say it.

  Attributes:
    columns: the names of a table's columns, if the file does not name them.
    separator: what stands between a table's fields.
    quotes: whether double quotes may enclose a table's field.
    encoding: the encoding of the text.
    pattern: a regular expression with named groups that every line matches as a
      whole; the groups are the fields.
  """

  columns: Sequence[str] | None = None
  separator: str | None = None
  quotes: bool | None = None
  encoding: str = "utf-8"
  pattern: str | None = None

  def __post_init__(self):
    if isinstance(self.columns, str):
      raise TypeError(
        f"columns must be several names, as in ('label', 'text'), got"
        f" {self.columns!r}"
      )
    if self.quotes and len(self.separator or ",") != 1:
      raise ValueError(
        f"separator must be one character where quotes=True, got"
        f" {self.separator!r}"
      )
    try:
      "".encode(self.encoding)
    except LookupError as error:
      raise ValueError(f"encoding: {error}") from error
    if self.pattern is None:
      return
    try:
      groups = re.compile(self.pattern).groupindex
    except re.error as error:
      raise ValueError(f"pattern {self.pattern!r}: {error}") from error
    if not groups:
      raise ValueError(
        f"pattern {self.pattern!r} must have named groups, as in"
        " '(?P<label>\\w+) (?P<text>.*)'"
      )

  def check_path(self, path, what: str) -> pathlib.Path:
    """Returns the absolute path, because it is read later, from anywhere.

    Args:
      path: a file or a folder.
      what: names the argument in errors.

    Raises:
      TypeError: it is no path.
      ValueError: it is an address, or its extension has no fields.
    """
    if not isinstance(path, str | os.PathLike):
      raise TypeError(f"{what} must be the path of a file, got {path!r:.60}")
    if "://" in str(path):
      raise ValueError(
        f"{what} must be a file on this machine, got {path}; download it first"
      )
    path = pathlib.Path(absolute(path))
    named = path.suffix.lower() != rows.GZIP or path.with_suffix("").suffix
    suffix = path.suffix if named else path.with_suffix("").suffix
    free = self.pattern or self.separator or path.is_dir()
    if not free and rows.format_of(path) in (None, "text"):
      raise ValueError(
        f"{path}: unknown extension {suffix!r}, expected one of"
        f" {', '.join(EXTENSIONS)}, each perhaps with .gz, or a folder; or give"
        " separator= or pattern="
      )
    return path

  def rows(self, path: pathlib.Path) -> Iterator[tuple[str, dict]]:
    """Yields ("FILE, line N", row) of a file, or of all files in a folder.

    In a folder, a `.txt` file is one row: its "text", its name without the
    extension as "file", and the name of its folder as "folder".

    Raises:
      FileNotFoundError: there is no such file, or the folder has none.
      ValueError: see `rows.read_rows`; or a line does not match the pattern.
    """
    if not path.is_dir():
      yield from self._file_rows(path)
      return
    files = [
      file
      for file in sorted(path.rglob("*"))
      if file.is_file()
      and (self.pattern or rows.format_of(file))
      and not file.name.startswith(".")
    ]
    if not files:
      raise FileNotFoundError(f"the folder {path} has no files with rows")
    for file in files:
      if self.pattern is None and rows.format_of(file) == "text":
        with rows.open_lines(file) as lines:
          data = lines.read()
        try:
          text = data.decode(self.encoding).strip()
        except UnicodeDecodeError as error:
          raise ValueError(
            f"{file}: not {self.encoding.upper()} text: {error}"
          ) from error
        name = file.name.split(".")[0]
        row = {"text": text, "file": name, "folder": file.parent.name}
        yield str(file), row
      else:
        yield from self._file_rows(file)

  def _file_rows(self, path):
    if self.pattern is not None:
      lines = rows.read_file(path, "text", encoding=self.encoding)
      for number, row in lines:
        if not row["text"]:
          continue
        match = re.fullmatch(self.pattern, row["text"])
        if match is None:
          raise ValueError(
            f"{path}, line {number}: {row['text'][:60]!r} does not match the"
            f" pattern {self.pattern!r}"
          )
        yield f"{path}, line {number}", match.groupdict()
      return
    kind = rows.format_of(path)
    if kind in (None, "text"):
      kind = "csv" if self.quotes else "tsv"
    for number, row in rows.read_file(
      path,
      kind,
      header=self.columns,
      separator=self.separator,
      quotes=self.quotes,
      encoding=self.encoding,
    ):
      yield f"{path}, line {number}", row


@dataclasses.dataclass(frozen=True)
class Files:
  """A user's files, and what is a split of them.

  Attributes:
    paths: {split: path}, or {"": path} if a column has the splits.
    layout: how they are laid out.
    split_by: the column with each row's split, or None.
  """

  paths: Mapping[str, pathlib.Path]
  layout: Layout
  split_by: str | None = None

  def names(self) -> tuple[str, ...]:
    """Returns the names of the splits; reads the file if a column has them."""
    if self.split_by is None:
      return tuple(self.paths)
    found = (self._split(*pair) for pair in self.layout.rows(self.paths[""]))
    return tuple(dict.fromkeys(found))

  def find(self, fetch: bool) -> str | None:
    """Says which file is missing; see `examples.ExamplesSource.find`.

    Raises:
      FileNotFoundError: with fetch, a file is missing.
    """
    for path in self.paths.values():
      if not path.exists():
        if fetch:
          raise FileNotFoundError(f"no file {path}")
        return f"no file {path}"
    return None

  def rows(
    self, split: str, fields: Sequence[str]
  ) -> Iterator[tuple[str, dict]]:
    """Yields ("FILE, line N", row) of a split; each row has all fields.

    A field with dots, `answers.text`, is looked up within objects, see
    `templates.look_up`.

    Raises:
      ValueError: a row lacks a field, or a field is null.
    """
    path = self.paths["" if self.split_by else split]
    for where, row in self.layout.rows(path):
      if self.split_by and self._split(where, row) != split:
        continue
      made = dict(row)
      for field in fields:
        made[field] = self._field(where, row, field, path)
      yield where, made

  def _field(self, where, row, field, path):
    try:
      value = templates.look_up(row, field)
    except KeyError as error:
      has = "the line has"
      if rows.format_of(path) in ("csv", "tsv"):
        has = "the first line, which names the columns, has"
      raise ValueError(
        f"{where}: no field {field!r} for the template; {has}"
        f" {', '.join(map(str, row)):.300}."
        + near_misses(field, row)
        + templates.hint(field)
      ) from error
    if value is None:
      raise ValueError(f"{where}: field {field!r} is null")
    return value

  def _split(self, where, row) -> str:
    value = row.get(self.split_by)
    if not isinstance(value, str) or not value.strip():
      raise ValueError(
        f"{where}: split_by={self.split_by!r}: expected a field with the name"
        f" of a split, got {value!r:.60}"
      )
    value = value.strip()
    return SPLIT_NAMES.get(value.lower(), value)
