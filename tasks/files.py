"""Tasks over the user's own JSONL, CSV and TSV files."""

import csv
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import seqio

from mpt_jax.data import text_tasks


def register_file_task(
  name: str,
  files: Mapping[str, str | os.PathLike],
  *,
  template: str,
  target: str = "label",
  label_names: Sequence[str] | Mapping | None = None,
  metric_fns: Sequence[str | Callable] | None = None,
  vocabulary: seqio.Vocabulary | None = None,
  check: bool = False,
) -> seqio.Task:
  """Registers a task over files with one example per line or row.

  The extension gives the format: `.jsonl` (a JSON object per line), or `.csv`
  or `.tsv` (with a header). The files are read when the task is first used.

  Args:
    name: the task's name.
    files: {split: path}, e.g. {"train": "train.jsonl", "test": "test.jsonl"}.
    template: the input text, with the files' fields in braces:
      "review: {text}".
    target: the field of the label, or a template of the target text, e.g.
      "{summary}".
    label_names: for classification, the label words in class order. The field
      may hold a word or its index. A mapping gives the word of each value, {0:
      "bad", 1: "good"}; the field may then hold a value or a word. With None
      any text may be a target.
    metric_fns: names in `mpt_jax.data.metrics.METRICS`, or functions. The
      default is CLASSIFICATION_METRICS with label_names, exact_match without.
    vocabulary: by default the vocabulary of the embedded model.
    check: read all files now rather than on first use.

  Returns:
    The registered seqio.Task.

  Raises:
    FileNotFoundError: a file is missing (on first use, or now with check).
    ValueError: the template is malformed, or an extension or metric is
      unknown. When the files are read: a line is broken, a field or a label is
      unknown, or a file is empty. The error names file and line.
  """
  if not files:
    raise ValueError("files must name at least one split, as in {'train': ...}")
  input_fields = text_tasks.check_template(template)
  target_template = target if "{" in target else "{" + target + "}"
  fields = (*input_fields, *text_tasks.check_template(target_template))
  paths = {split: pathlib.Path(path) for split, path in files.items()}
  for path in paths.values():
    if path.suffix not in _READERS:
      raise ValueError(
        f"{path}: unknown extension {path.suffix!r}, expected one of"
        f" {', '.join(_READERS)}"
      )
  labels = _Labels(label_names)

  def make_example(row, where):
    label = row.get(target)
    # True and False are the classes 1 and 0, unless a mapping names them.
    row = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
    text = target_template.format(**row).strip()
    if labels.names is not None:
      text = labels.find(text, str(label), where)
    inputs = template.format(**row)
    _check_text(inputs, text, where)
    return inputs, text

  def load(split):
    path = paths[split]
    examples = [make_example(row, where) for where, row in _rows(path, fields)]
    if not examples:
      raise ValueError(f"{path} is empty: it has no examples")
    return examples

  if metric_fns is None:
    metric_fns = ("exact_match",)
    if labels.names:
      metric_fns = text_tasks.CLASSIFICATION_METRICS
  source = text_tasks.ExamplesSource(load, tuple(paths))
  if check:
    for split in paths:
      source.examples(split)
  return text_tasks.register_text_task(
    name,
    source,
    label_names=labels.names,
    metric_fns=metric_fns,
    vocabulary=vocabulary,
    template=template,
  )


class _Labels:
  """The label words of a task, and the values that stand for them in files.

  Args:
    label_names: see `register_file_task`.

  Attributes:
    names: the words in class order, or None where any text is a target.
  """

  def __init__(self, label_names):
    if isinstance(label_names, Mapping):
      self._words = {str(k): str(word) for k, word in label_names.items()}
      self.names = tuple(dict.fromkeys(self._words.values()))
      # If a value is both a key and a word, the mapping wins.
      self._known = {word: word for word in self.names} | self._words
    elif label_names is not None:
      self.names = tuple(str(word) for word in label_names)
      self._words = {str(i): word for i, word in enumerate(self.names)}
      # If a value is both an index and a word, the word wins.
      self._known = self._words | {word: word for word in self.names}
    else:
      self.names, self._words, self._known = None, {}, {}

  def find(self, text, value, where) -> str:
    """Returns the label word of an example.

    Args:
      text: the filled target template.
      value: the field of the label as it is in the file.
      where: names file and line in the error.

    Raises:
      ValueError: the value is not a label.
    """
    for name in (text, value, value.lower()):
      if name in self._known:
        return self._known[name]
    raise ValueError(
      f"{where}: label {text!r} is not one of {', '.join(self.names)}"
      f" (or {', '.join(self._words)})."
      + text_tasks.near_misses(text, self.names)
    )


def _rows(path, fields):
  """Yields ("FILE, line N", row) after checking that a row has all fields."""
  for line, row in _READERS[path.suffix](path):
    where = f"{path}, line {line}"
    for field in fields:
      if field not in row:
        has = "the line has"
        if path.suffix != ".jsonl":
          has = "the first line, which names the columns, has"
        raise ValueError(
          f"{where}: no field {field!r} for the template; {has}"
          f" {', '.join(map(str, row))}." + text_tasks.near_misses(field, row)
        )
      if row[field] is None:
        raise ValueError(f"{where}: field {field!r} is null")
    yield where, row


def _check_text(inputs, target, where):
  """Raises a ValueError if an example's texts cannot be encoded."""
  if not target:
    raise ValueError(f"{where}: the target text is empty")
  try:
    f"{inputs}{target}".encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{where}: half of a surrogate pair is not Unicode text: {error}"
    ) from error


def _open(path):
  if not path.is_file():
    raise FileNotFoundError(f"no file {path} (looked from {os.getcwd()})")
  return open(path, encoding="utf-8-sig", newline="")


def _read_jsonl(path):
  """Yields (line number, row)."""
  with _open(path) as file:
    for number, line in _checked(path, enumerate(file, 1)):
      if not line.strip():
        continue
      try:
        row = json.loads(line)
      except json.JSONDecodeError as error:
        raise ValueError(
          f"{path}, line {number}: not valid JSON: {error.msg} at column"
          f" {error.colno}"
        ) from error
      except ValueError as error:  # An integer of thousands of digits.
        raise ValueError(f"{path}, line {number}: {error}") from error
      if not isinstance(row, dict):
        raise ValueError(
          f"{path}, line {number}: expected a JSON object like"
          f' {{"text": ...}}, got {type(row).__name__}'
        )
      yield number, row


def _read_table(path, delimiter):
  """Yields (line number, row)."""
  with _open(path) as file:
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    rows = iter(reader)
    while True:
      try:
        row = next(_checked(path, rows), None)
      except csv.Error as error:
        number = reader.reader.line_num
        raise ValueError(f"{path}, line {number}: {error}") from error
      if row is None:
        return
      if not reader.fieldnames:
        raise ValueError(
          f"{path}: the first line, which names the columns, is empty"
        )
      if None in row or None in row.values():
        raise ValueError(
          f"{path}, line {reader.line_num}: expected"
          f" {len(reader.fieldnames)} columns ({', '.join(reader.fieldnames)})"
          ", got another number"
        )
      yield reader.line_num, row


def _checked(path, lines):
  """Yields the lines; an error names the file if it is not UTF-8."""
  try:
    yield from lines
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not UTF-8 text: {error}") from error


_READERS = {
  ".jsonl": _read_jsonl,
  ".csv": lambda path: _read_table(path, ","),
  ".tsv": lambda path: _read_table(path, "\t"),
}
