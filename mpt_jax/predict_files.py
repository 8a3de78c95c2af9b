"""Predictions for files of JSON lines, or of plain lines of text."""

import contextlib
import itertools
import json
import os
import pathlib
import sys

import rich.console
import rich.progress

# Rows that are predicted before their results are written.
CHUNK_BATCHES = 32


def predict_file(
  predictor,
  source="-",
  target="-",
  *,
  task: str | None = None,
  batch_size: int = 32,
):
  """Reads rows, predicts, and writes them as JSON lines in the same order.

  A file named `.jsonl` holds a JSON object per line, one named `.txt` a text
  per line; of others the first line tells: it is JSON if it starts with a
  brace. A file is checked to its end before the first prediction. The output
  file appears when it is complete.

  Args:
    predictor: a `predict.Predictor`.
    source: the file, "-" for standard input.
    target: the file, "-" for standard output, written as it is made.
    task: of the rows that name none.
    batch_size: rows of a batch.

  Returns:
    The number of rows.

  Raises:
    FileNotFoundError: no such file.
    ValueError: a broken line, or one that does not fit its task; file and line
      are named.
  """
  chunk = CHUNK_BATCHES * batch_size
  total = None
  if source != "-":
    rows = read_rows(source, task)
    total = sum(1 for _ in _prepared(predictor, rows, source))
    if not total:
      raise ValueError(f"{source} is empty: it has no rows")
  rows = _prepared(predictor, read_rows(source, task), source)
  done = 0
  with _writer(target) as file, _progress(total, chunk) as advance:
    while part := list(itertools.islice(rows, chunk)):
      for result in predictor.run(part):
        file.write(json.dumps(result, ensure_ascii=False) + "\n")
      file.flush()
      done += len(part)
      advance(len(part))
  return done


def read_rows(source, task=None):
  """Yields (line number, row) of a file; "-" is standard input.

  Raises:
    FileNotFoundError: no such file.
    ValueError: a line that is not UTF-8 text or not a JSON object.
  """
  name = _name(source)
  with contextlib.ExitStack() as stack:
    if source == "-":
      file = sys.stdin.buffer
      if sys.stdin.isatty():
        print("reading rows from the terminal; Ctrl-D ends", file=sys.stderr)
    else:
      if not pathlib.Path(source).is_file():
        raise FileNotFoundError(f"no file {source} to predict for")
      file = stack.enter_context(open(source, "rb"))
    is_json = {".jsonl": True, ".txt": False}.get(pathlib.Path(name).suffix)
    for number, data in enumerate(file, 1):
      try:
        line = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
      except UnicodeDecodeError as error:
        raise ValueError(
          f"{name}, line {number}: not UTF-8 text: {error}"
        ) from error
      if is_json is None and line:
        is_json = line.startswith("{")
      if not line and is_json is not False:
        continue
      row = (
        _parse(line, f"{name}, line {number}") if is_json else {"text": line}
      )
      if task is not None:
        row.setdefault("task", task)
      yield number, row


def _parse(line, where):
  try:
    row = json.loads(line)
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{where}: not valid JSON: {error.msg} at column {error.colno}. Lines of"
      " plain text belong in a .txt file"
    ) from error
  if not isinstance(row, dict):
    raise ValueError(
      f'{where}: expected a JSON object like {{"text": ...}}, got'
      f" {type(row).__name__}"
    )
  return row


def _name(source):
  return "standard input" if source == "-" else str(source)


def _prepared(predictor, rows, source):
  for number, row in rows:
    try:
      yield predictor.prepare(row)
    except ValueError as error:
      raise ValueError(f"{_name(source)}, line {number}: {error}") from error


@contextlib.contextmanager
def _writer(target):
  """A text file that takes its name when it is complete."""
  if target == "-":
    yield sys.stdout
    return
  path = pathlib.Path(target)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    with open(partial, "w", encoding="utf-8") as file:
      yield file
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(total, chunk):
  """A function that moves a bar, where there is a long file and a terminal."""
  console = rich.console.Console(stderr=True)
  shown = console.is_terminal and total is not None and total > chunk
  with rich.progress.Progress(
    "{task.description}",
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    console=console,
    disable=not shown,
  ) as bar:
    task = bar.add_task("predict", total=total)
    yield lambda rows: bar.advance(task, rows)
