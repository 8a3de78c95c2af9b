"""Predicts for files of JSON lines, tables, or plain lines of text."""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import select
import sys
import time

from mpt_jax.data import rows
from mpt_jax.inference.prediction_output import open_output
from mpt_jax.io import paths
from mpt_jax.process.progress import Progress

# Rows of this many batches are sorted by length and written together.
WINDOW_BATCHES = 16
# Longest wait for more lines of standard input before predicting.
STALL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Throughput:
  """The amount and duration of a call's predictions.

  Attributes:
    num_rows: number of predicted rows.
    num_tokens: tokens read and generated, without prompts and padding.
    seconds: time from the first batch to the last, with compilation.
  """

  num_rows: int
  num_tokens: int
  seconds: float

  def __str__(self):
    seconds = max(self.seconds, 1e-9)
    rows = "row" if self.num_rows == 1 else "rows"
    return (
      f"{self.num_rows} {rows} in {self.seconds:.1f} s, compilation included:"
      f" {self.num_rows / seconds:.1f} examples/s,"
      f" {self.num_tokens / seconds:,.0f} tokens/s"
    )


def predict_file(
  predictor, source="-", target="-", *, task=None, overwrite=False
) -> Throughput:
  """Reads rows, predicts, and writes them as JSON lines in the same order.

  The extension gives the format: `.jsonl` and `.json`, `.csv` and `.tsv` with a
  header, or `.txt`; see `mpt_jax.data.rows`. Any other file, and standard
  input, is JSON if its first line starts with a brace, and plain text if not.
  The columns of a table are the fields of its rows. A file is checked
  completely before the first prediction. Lines of standard input are predicted
  and written as they arrive.

  The output file appears when it is complete. Until then its lines are in
  `TARGET.partial`, and `TARGET.partial.json` describes their input and
  settings. If a call is interrupted, the same call resumes after the last
  complete line. It writes the same bytes as an uninterrupted call, because it
  forms the same batches.

  Args:
    predictor: a `predictor.Predictor`.
    source: the input file, or "-" for standard input.
    target: the output file, or "-" for standard output.
    task: the task of rows that do not name one.
    overwrite: replace an existing target.

  Returns:
    The number of predicted rows and tokens, and the time.

  Raises:
    FileNotFoundError: the input file does not exist.
    ValueError: a line is malformed or does not fit its task (the message names
      file and line), or the target exists or has other input or settings.
  """
  source, target = paths.expand(source), paths.expand(target)
  window = WINDOW_BATCHES * predictor.config.batch_size
  total = begun = None
  if target != "-":
    check_target(target, overwrite)
  for name, stream, path in (
    ("input", sys.stdin, source),
    ("output", sys.stdout, target),
  ):
    if path == "-" and stream is None:
      raise ValueError(f"standard {name} is closed; give a file with --{name}")
  if source == "-":
    source = _StandardInput()
  else:
    digest = hashlib.sha256()
    prepared = _prepared(predictor, read_rows(source, task, digest), source)
    total = sum(1 for _ in prepared)
    if not total:
      raise ValueError(f"{source} is empty: it has no rows")
    begun = {
      "input": digest.hexdigest(),
      "task": task,
      "window": window,
      **predictor.fingerprint(),
    }
  predicted, tokens = 0, predictor.num_tokens
  with (
    open_output(target, begun) as (file, written),
    Progress("predict", total, show=total is not None) as bar,
  ):
    first = written // window * window
    if written:
      print(
        f"{written} of {total} rows are in {target}.partial: continuing",
        file=sys.stderr,
      )
      bar.advance(min(first, total))
    prepared = _prepared(predictor, read_rows(source, task), source)
    start = time.perf_counter()
    for part in _windows(prepared, window, source, first):
      if first + len(part) > written:
        results = predictor.run(part, first, bar.advance)
        for result in results[max(0, written - first) :]:
          line = json.dumps(result, ensure_ascii=False, allow_nan=False)
          file.write(f"{line}\n".encode())
        file.flush()
        predicted += len(part)
      first += len(part)
  seconds = time.perf_counter() - start
  return Throughput(predicted, predictor.num_tokens - tokens, seconds)


def check_target(target, overwrite):
  """Raises ValueError if the output exists and must not be replaced."""
  path = pathlib.Path(target)
  if path.exists() and not path.is_file():
    kind = "a folder" if path.is_dir() else "no regular file"
    raise ValueError(f"{target} is {kind}; name a file with --output, or -")
  if path.exists() and not overwrite:
    raise ValueError(f"{target} exists; give --overwrite, or another --output")


def read_rows(source, task=None, digest=None):
  """Yields (line number, row) of a file.

  Args:
    source: the path of a file, or a `_StandardInput`.
    task: the task of rows that do not name one.
    digest: a hashlib object that is updated with all lines, or None.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: see `rows.read_rows`; or the output could not repeat a row.
  """
  with contextlib.ExitStack() as stack:
    if isinstance(source, _StandardInput):
      lines, kind = source, None
      if sys.stdin.isatty():
        print("reading rows from the terminal; Ctrl-D ends", file=sys.stderr)
    else:
      if not pathlib.Path(source).is_file():
        raise FileNotFoundError(f"no file {source} to predict for")
      lines = stack.enter_context(rows.open_lines(source))
      kind = rows.format_of(source)
    for number, row in rows.read_rows(_digested(lines, digest), source, kind):
      _check_writable(row, f"{source}, line {number}")
      if task is not None:
        row.setdefault("task", task)
      yield number, row


def _digested(lines, digest):
  """Yields the lines and updates a hashlib object, if any, with them."""
  for line in lines:
    if digest is not None:
      digest.update(line)
    yield line


class _StandardInput:
  """Iterates over lines of standard input; can tell whether one is ready."""

  def __init__(self):
    self._lines, self._rest = collections.deque(), b""
    self._ended = False

  def __str__(self):
    return "standard input"

  def __iter__(self):
    while self.has_line():
      if not self._lines:
        return
      yield self._lines.popleft()

  def has_line(self, seconds=None) -> bool:
    """Waits this long for a line or the end; returns whether one came."""
    end = None if seconds is None else time.monotonic() + seconds
    while not self._lines and not self._ended:
      left = None if end is None else max(0.0, end - time.monotonic())
      # Do not use a thread: Python may abort if one still waits at exit.
      if not select.select([sys.stdin], [], [], left)[0]:
        return False
      data = os.read(sys.stdin.fileno(), 1 << 16)
      *lines, self._rest = (self._rest + data).split(b"\n")
      self._ended = not data
      self._lines += lines
      if self._ended and self._rest:
        self._lines.append(self._rest)
    return True


def _check_writable(row, where):
  """Raises ValueError if the output cannot repeat a row.

  JSON may contain half of a surrogate pair, and Python reads numbers that do
  not exist in JSON.
  """
  try:
    json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{where}: half of a surrogate pair (\\ud800 to \\udfff), which is no"
      " Unicode text; the text was cut within a character"
    ) from error
  except ValueError as error:
    bad = (name for name, value in row.items() if not _is_json(value))
    raise ValueError(
      f"{where}: NaN or an infinite number in field {next(bad)!r}, which JSON"
      " cannot hold; put null in its place"
    ) from error


def _is_json(value) -> bool:
  try:
    json.dumps(value, allow_nan=False)
  except ValueError:
    return False
  return True


def _prepared(predictor, numbered, source):
  for number, row in numbered:
    try:
      yield predictor.prepare(row)
    except ValueError as error:
      raise ValueError(f"{source}, line {number}: {error}") from error


def _windows(prepared, size, source, first):
  """Yields lists of `size` rows from row `first` on; stdin: see `_stream`."""
  if isinstance(source, _StandardInput):
    yield from _stream(prepared, size, source)
    return
  prepared = itertools.islice(prepared, first, None)
  while part := list(itertools.islice(prepared, size)):
    yield part


def _stream(prepared, size, source):
  """Yields lists of up to `size` rows; a pause in the input ends a list.

  If a row is invalid, the rows before it are yielded before the error.
  """
  end = None
  while end is None:
    part = []
    try:
      while len(part) < size and (not part or source.has_line(STALL_SECONDS)):
        part.append(next(prepared))
    except (StopIteration, ValueError) as error:
      end = error
    if part:
      yield part
  if not isinstance(end, StopIteration):
    raise end
