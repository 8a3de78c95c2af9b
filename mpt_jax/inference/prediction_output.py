"""An output file that grows line by line and survives an interruption."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import sys

from mpt_jax.io import digests


@contextlib.contextmanager
def open_output(target, begun):
  """Opens a binary file that takes its name once it is complete.

  Its lines are written to `TARGET.partial`, the SHA-256 of each line before it
  to `TARGET.partial.sums`, and `begun` to `TARGET.partial.json`. A partial file
  with the same `begun` is continued after its last whole line that is as it was
  written; any other is refused.

  Args:
    target: the file, "-" for standard output.
    begun: what determines the lines, a dict for JSON; None if they cannot be
      made again.

  Yields:
    (file with `write` and `flush`, number of lines that it has).

  Raises:
    ValueError: there is a partial file of other lines, or another process
      writes it.
  """
  if target == "-":
    yield sys.stdout.buffer, 0
    return
  path = pathlib.Path(target)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f"{path.name}.partial")
  notes = path.with_name(f"{path.name}.partial.json")
  sums = path.with_name(f"{path.name}.partial.sums")
  with open(partial, "ab+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(f"another process is writing {partial}") from error
    # The notes are written before the first line.
    if os.path.getsize(partial):
      _check_notes(notes, begun, partial)
    with open(sums, "ab+") as sums_file:
      num_lines, end = _good_lines(file, sums_file, partial)
      file.truncate(end)
      sums_file.truncate(num_lines * _SUM_BYTES)
      if not end:
        text = json.dumps(digests.seal({"begun": begun}), indent=2) + "\n"
        notes.write_text(text, encoding="utf-8")
      try:
        lines = _Lines(file, sums_file)
        yield lines, num_lines
        lines.flush()
        os.fsync(file.fileno())
        os.replace(partial, path)
        notes.unlink()
        sums.unlink()
      finally:
        # Leave no trace of an output without lines.
        if partial.exists() and not os.path.getsize(partial):
          for left in (partial, notes, sums):
            left.unlink()


# 64 hex digits and the end of the line.
_SUM_BYTES = 65


class _Lines:
  """Writes the SHA-256 of each line, and then the lines."""

  def __init__(self, file, sums):
    self._file, self._sums = file, sums
    self._new = self._begun = b""

  def write(self, data):
    self._new += data

  def flush(self):
    *lines, self._begun = (self._begun + self._new).split(b"\n")
    self._sums.write(b"".join(_sum(line + b"\n") for line in lines))
    self._sums.flush()
    self._file.write(self._new)
    self._file.flush()
    self._new = b""


def _sum(line):
  return hashlib.sha256(line).hexdigest().encode() + b"\n"


def _check_notes(notes, begun, partial):
  try:
    found = digests.read_sealed(notes, "the notes").get("begun")
  except (OSError, ValueError):
    found = None
  fix = f"move {partial} and {notes.name} away, or name another output"
  if not isinstance(found, dict) or begun is None:
    raise ValueError(
      f"{partial} is left over from an interrupted run that cannot be resumed;"
      f" {fix}"
    )
  # JSON turns tuples into lists.
  begun = json.loads(json.dumps(begun))
  other = [k for k in begun | found if begun.get(k) != found.get(k)]
  if other:
    raise ValueError(
      f"{partial} was begun with another {', '.join(other)}; run that command"
      f" again to finish it, or {fix}"
    )


def _good_lines(file, sums, partial):
  """The number of lines before the first damaged one, and where they end."""
  file.seek(0)
  sums.seek(0)
  count = end = 0
  for line in file:
    if not line.endswith(b"\n"):
      break  # The process was killed while it wrote this line.
    if sums.read(_SUM_BYTES) != _sum(line):
      print(
        f"line {count + 1} of {partial} is damaged; it and the lines after it"
        " are predicted again",
        file=sys.stderr,
      )
      break
    count += 1
    end += len(line)
  return count, end
