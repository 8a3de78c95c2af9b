"""An output file that grows line by line and survives an interruption."""

import contextlib
import fcntl
import json
import os
import pathlib
import sys


@contextlib.contextmanager
def open_output(target, begun):
  """Opens a binary file that takes its name once it is complete.

  Its lines are written to `TARGET.partial`, and `begun` to
  `TARGET.partial.json`. A partial file with the same `begun` is continued
  after its last whole line; any other is refused.

  Args:
    target: the file, "-" for standard output.
    begun: what determines the lines, a dict for JSON; None if they cannot be
      made again.

  Yields:
    (file, number of lines that it has).

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
  with open(partial, "ab+") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(f"another process is writing {partial}") from error
    # The notes are written before the first line.
    if os.path.getsize(partial):
      _check_notes(notes, begun, partial)
    num_lines, end = _whole_lines(file)
    file.truncate(end)
    if not end:
      notes.write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")
    try:
      yield file, num_lines
      file.flush()
      os.fsync(file.fileno())
      os.replace(partial, path)
      notes.unlink()
    finally:
      # Leave no trace of an output without lines.
      if partial.exists() and not os.path.getsize(partial):
        partial.unlink()
        notes.unlink()


def _check_notes(notes, begun, partial):
  try:
    found = json.loads(notes.read_text(encoding="utf-8"))
  except (OSError, ValueError):
    found = None
  fix = f"move {partial} and {notes.name} away, or name another output"
  if found is None or begun is None:
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


def _whole_lines(file):
  """The number of lines that end, and the position behind the last one."""
  file.seek(0)
  count = end = position = 0
  while chunk := file.read(1 << 20):
    count += chunk.count(b"\n")
    if (last := chunk.rfind(b"\n")) >= 0:
      end = position + last + 1
    position += len(chunk)
  return count, end
