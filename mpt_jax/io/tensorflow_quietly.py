"""Imports TensorFlow without the lines that its C++ code prints meanwhile.

Some are printed before TensorFlow has set up its logging, so no setting
silences them. Import this module before any module that imports TensorFlow.
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
