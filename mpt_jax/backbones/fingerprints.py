"""Fingerprints, which tell one T5 from another."""

import dataclasses
import hashlib
import json

import numpy as np
from flax import traverse_util

from mpt_jax.model.config import T5Config


def fingerprint(config: T5Config, params) -> str:
  """The fingerprint of a T5, 16 hex digits.

  It is the SHA-256 of the config and of every tensor's name and float32
  values. Weights in bfloat16 have the same fingerprint as their float32
  copies.

  Args:
    config: the shape of the T5. Its dtype and dropout do not count.
    params: tree of arrays with t5x's names, without `prompt`.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  digest = hashlib.sha256()
  for name in sorted(flat):
    update_digest(digest, name, np.asarray(flat[name]))
  return fingerprint_of_digest(config, digest.hexdigest())


def update_digest(digest, name: str, array):
  """Adds a tensor to a `hashlib` object; the tensors come sorted by name."""
  digest.update(f"{name} {array.shape} ".encode())
  values = np.ascontiguousarray(array, np.float32)
  digest.update(values.reshape(-1).view(np.uint8))


def fingerprint_of_digest(config: T5Config, tensors_sha256: str) -> str:
  """The fingerprint of a T5 whose tensors have been hashed already."""
  fields = dataclasses.asdict(config)
  del fields["dtype"], fields["dropout_rate"]
  text = json.dumps([fields, tensors_sha256], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
