"""Imports TensorFlow without the lines that its C++ code prints meanwhile.

Some are printed before TensorFlow has set up its logging, so no setting
silences them. Import this module before any module that imports TensorFlow.
"""

import os

from mpt_jax.process.stderr import silenced


def _import():
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  with silenced():
    import seqio  # noqa: F401
    import tensorflow as tf
  # If the disk is full, it prints a warning for each function of a dataset.
  tf.get_logger().setLevel("ERROR")


_import()
