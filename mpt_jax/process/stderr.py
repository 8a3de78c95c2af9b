"""Standard error: silenced for libraries that print, and still reachable."""

import contextlib
import os
import stat
import sys
import threading

_lock = threading.Lock()
# How many blocks silence it now, and the file descriptor that `say` writes to.
_depth, _target = 0, 2


@contextlib.contextmanager
def silenced():
  """Drops what anybody prints to stderr inside, for C++ code that just prints.

  Errors that are raised pass. Blocks in several threads may overlap.
  """
  global _depth, _target
  with _lock:
    if not _depth:
      sys.stderr.flush()
      kept = os.dup(2)
      nothing = os.open(os.devnull, os.O_WRONLY)
      _target = kept
      os.dup2(nothing, 2)
      os.close(nothing)
    _depth += 1
  try:
    yield
  finally:
    with _lock:
      _depth -= 1
      if not _depth:
        sys.stderr.flush()
        os.dup2(_target, 2)
        kept, _target = _target, 2
        os.close(kept)


def say(text: str):
  """Prints a line to stderr, also while it is silenced.

  It takes no lock and has no buffer, so a handler of a signal may call it in
  the middle of a print.
  """
  with contextlib.suppress(OSError):
    os.write(_target, f"{text}\n".encode())


def is_terminal() -> bool:
  """Whether `say` prints to a terminal."""
  return os.isatty(_target)


def leave_terminal():
  """Drops all later output to a terminal that has closed."""
  nothing = os.open(os.devnull, os.O_WRONLY)
  for fd in {1, 2, _target}:
    with contextlib.suppress(OSError):
      if stat.S_ISCHR(os.fstat(fd).st_mode):
        os.dup2(nothing, fd)
  os.close(nothing)
