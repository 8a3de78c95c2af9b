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

  The extension tells the format: `.jsonl` (a JSON object per line), `.csv`
  or `.tsv` (with a header). Files are read on the task's first use.

  Args:
    name: the task's name.
    files: {split: path}, e.g. {"train": "train.jsonl", "test": "test.jsonl"}.
    template: the input text, with the files' fields in braces:
      "review: {text}".
    target: the field of the label, or a template of the target text, e.g.
      "{summary}".
    label_names: for classification, the label words in class order; the
      field may hold a word or its index. A mapping gives the word of each
      value: {0: "bad", 1: "good"}; a value that it does not name may be a
      word. None for any text as a target.
    metric_fns: names in `mpt_jax.data.metrics.METRICS`, or functions. Default:
      accuracy and its like with label_names, exact_match without.
    vocabulary: default: the embedded model's.
    check: read all files now rather than on first use.

  Returns:
    The registered seqio.Task.

  Raises:
    FileNotFoundError: a file is missing (on first use, or now with check).
    ValueError: a malformed template, an unknown extension or metric; and when
      the files are read: a broken line, a field or a label that is not there,
      an empty file. File and line are named.
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
  if isinstance(label_names, Mapping):
    words = {str(key): str(word) for key, word in label_names.items()}
    labels = tuple(dict.fromkeys(words.values()))
  elif label_names is not None:
    labels = tuple(str(word) for word in label_names)
    words = {str(i): word for i, word in enumerate(labels)}
  else:
    labels, words = None, {}
  known = {word: word for word in labels or ()}
  # Of a value that is both, a mapping says what is meant.
  known = known | words if isinstance(label_names, Mapping) else words | known

  def load(split):
    path = paths[split]
    examples = []
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
      # True and False are the classes 1 and 0, unless a mapping names them.
      label = str(row.get(target))
      row = {k: int(v) if isinstance(v, bool) else v for k, v in row.items()}
      text = target_template.format(**row).strip()
      if labels is not None:
        named = [t for t in (text, label, label.lower()) if t in known]
        if not named:
          raise ValueError(
            f"{where}: label {text!r} is not one of {', '.join(labels)}"
            f" (or {', '.join(words)})." + text_tasks.near_misses(text, labels)
          )
        text = known[named[0]]
      if not text:
        raise ValueError(f"{where}: the target text is empty")
      inputs = template.format(**row)
      try:
        f"{inputs}{text}".encode()
      except UnicodeEncodeError as error:
        raise ValueError(
          f"{where}: half of a surrogate pair, which is no text: {error}"
        ) from error
      examples.append((inputs, text))
    if not examples:
      raise ValueError(f"{path} is empty: it has no examples")
    return examples

  if metric_fns is None:
    metric_fns = (
      text_tasks.CLASSIFICATION_METRICS if labels else ("exact_match",)
    )
  source = text_tasks.ExamplesSource(load, tuple(paths))
  if check:
    for split in paths:
      source.examples(split)
  return text_tasks.register_text_task(
    name,
    source,
    label_names=labels,
    metric_fns=metric_fns,
    vocabulary=vocabulary,
    template=template,
  )


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
      except ValueError as error:  # A number of thousands of digits.
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
  """Passes lines on; text that is not UTF-8 is told with its file."""
  try:
    yield from lines
  except UnicodeDecodeError as error:
    raise ValueError(f"{path} is not UTF-8 text: {error}") from error


_READERS = {
  ".jsonl": _read_jsonl,
  ".csv": lambda path: _read_table(path, ","),
  ".tsv": lambda path: _read_table(path, "\t"),
}
