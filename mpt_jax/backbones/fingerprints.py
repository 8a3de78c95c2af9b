"""Fingerprints, which tell one T5 from another."""

import concurrent.futures
import dataclasses
import hashlib
import json

import numpy as np
from flax import traverse_util

from mpt_jax.io import digests
from mpt_jax.io.finite import check_finite
from mpt_jax.model.config import T5Config


class TensorDigest:
  """Hashes a T5's tensors and refuses NaN, while the next one is read.

  A thread does it, because NumPy and hashlib let others run meanwhile. It is at
  most one tensor behind.

  Args:
    where: names the files in errors.
  """

  def __init__(self, where):
    self._where, self._digest, self._pending = where, hashlib.sha256(), None
    self._thread = concurrent.futures.ThreadPoolExecutor(1)

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._thread.shutdown()

  def add(self, name: str, array):
    """Adds a tensor; they come sorted by name.

    Raises:
      ValueError: the tensor before has numbers that are not finite.
    """
    self._wait()
    self._pending = self._thread.submit(self._add, name, array)

  def _add(self, name, array):
    values = np.ascontiguousarray(array, np.float32)
    check_finite(values, name, self._where)
    digests.update(self._digest, name, values)

  def _wait(self):
    if self._pending is not None:
      self._pending.result()

  def hexdigest(self) -> str:
    """The SHA-256 of all tensors, as 64 hex digits.

    Raises:
      ValueError: the last tensor has numbers that are not finite.
    """
    self._wait()
    return self._digest.hexdigest()


def fingerprint(config: T5Config, params) -> str:
  """The fingerprint of a T5, 16 hex digits.

  It is the SHA-256 of the config and of every tensor's name and float32
  values. Weights in bfloat16 have the same fingerprint as their float32
  copies.

  Args:
    config: the shape of the T5. Its dtype and dropout do not count, and the
      names of the tensors say `relpos_in_layers`.
    params: tree of arrays with t5x's names, without `prompt`.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  digest = hashlib.sha256()
  for name in sorted(flat):
    digests.update(digest, name, np.asarray(flat[name]))
  return fingerprint_of_digest(config, digest.hexdigest())


def fingerprint_of_digest(config: T5Config, tensors_sha256: str) -> str:
  """The fingerprint of a T5 whose tensors have been hashed already."""
  fields = dataclasses.asdict(config)
  del fields["dtype"], fields["dropout_rate"], fields["relpos_in_layers"]
  text = json.dumps([fields, tensors_sha256], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
