"""Imports TensorFlow without the lines that its C++ code prints meanwhile.

Some are printed before TensorFlow has set up its logging, so no setting
silences them. Import this module before any module that imports TensorFlow.
"""

import contextlib
import os
import sys
import threading

_lock = threading.Lock()
_depth, _stderr = 0, None


@contextlib.contextmanager
def silenced():
  """Drops what anybody prints to stderr inside, for C++ code that just prints.

  Errors that are raised pass. Blocks in several threads may overlap.
  """
  global _depth, _stderr
  with _lock:
    if not _depth:
      sys.stderr.flush()
      _stderr = os.dup(2)
      nothing = os.open(os.devnull, os.O_WRONLY)
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
        os.dup2(_stderr, 2)
        os.close(_stderr)


def _import():
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  with silenced():
    import seqio  # noqa: F401


_import()
