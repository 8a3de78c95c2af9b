"""Imports TensorFlow without the lines that its C++ code prints meanwhile.

Some are printed before TensorFlow has set up its logging, so no setting
silences them. Import this module before any module that imports TensorFlow.
"""

import contextlib
import os
import sys


@contextlib.contextmanager
def silenced():
  """Drops what anybody prints to stderr inside, for C++ code that just prints.

  Errors that are raised pass.
  """
  sys.stderr.flush()
  stderr = os.dup(2)
  nothing = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nothing, 2)
    yield
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(nothing)


def _import():
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  with silenced():
    import seqio  # noqa: F401


_import()
