"""Imports TensorFlow without the lines that its C++ code prints meanwhile.

They come before its logging is set up, so that no setting silences all of
them. To be imported before any module that imports TensorFlow.
"""

import os
import sys


def _import():
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  sys.stderr.flush()
  stderr = os.dup(2)
  nothing = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nothing, 2)
    import seqio  # noqa: F401
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(nothing)


_import()
