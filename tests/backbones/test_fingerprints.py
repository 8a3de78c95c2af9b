"""Fingerprints: what counts in them, and what does not."""

import dataclasses
import hashlib
import json

import ml_dtypes
import numpy as np
import pytest

from mpt_jax.backbones import fingerprints
from mpt_jax.model.config import T5Config

CONFIG = T5Config.preset("t5_tiny")
PARAMS = {
  "b": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
  "a": np.float32([0.5, -1.0]),
}


def by_hand(config, params):
  """The definition in docs/weights_and_prompts.md, in hashlib's words."""
  kernel, a = params["b"]["kernel"], params["a"]
  tensors = b"a (2,) " + a.astype("<f4").tobytes()
  tensors += b"b/kernel (2, 3) " + kernel.astype("<f4").tobytes()
  fields = dataclasses.asdict(config)
  for name in ("dtype", "dropout_rate", "relpos_in_layers"):
    del fields[name]
  text = json.dumps(
    [fields, hashlib.sha256(tensors).hexdigest()], sort_keys=True
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_fingerprint_by_hand():
  found = fingerprints.fingerprint(CONFIG, PARAMS)
  assert found == by_hand(CONFIG, PARAMS)
  halves = {
    "b": {"kernel": PARAMS["b"]["kernel"].astype(ml_dtypes.bfloat16)},
    "a": PARAMS["a"].astype(ml_dtypes.bfloat16),
  }
  assert fingerprints.fingerprint(CONFIG, halves) == found


@pytest.mark.parametrize(
  ("changes", "same"),
  [
    ({"dtype": "bfloat16", "dropout_rate": 0.1}, True),
    ({"num_decoder_layers": 7}, False),
    ({"mlp_activations": ("gelu", "linear")}, False),
  ],
)
def test_the_shape_counts_and_how_it_is_run_does_not(changes, same):
  other = dataclasses.replace(CONFIG, **changes)
  first, second = (
    fingerprints.fingerprint(config, PARAMS) for config in (CONFIG, other)
  )
  assert (first == second) == same


@pytest.mark.parametrize(
  "other",
  [
    {**PARAMS, "a": np.float32([-1.0, 0.5])},
    {**PARAMS, "a": np.float32([[0.5, -1.0]])},
    {"b": PARAMS["b"], "c": PARAMS["a"]},
    {"a": PARAMS["a"]},
  ],
)
def test_every_tensor_counts(other):
  found = fingerprints.fingerprint(CONFIG, other)
  assert found != fingerprints.fingerprint(CONFIG, PARAMS)


def test_tensors_one_by_one_give_the_same():
  with fingerprints.TensorDigest("a folder") as digest:
    digest.add("a", PARAMS["a"].astype(np.float64))
    digest.add("b/kernel", PARAMS["b"]["kernel"])
    sha256 = digest.hexdigest()
  found = fingerprints.fingerprint_of_digest(CONFIG, sha256)
  assert found == by_hand(CONFIG, PARAMS)


def test_a_tensor_that_is_not_finite_is_refused_while_the_next_is_read():
  with fingerprints.TensorDigest("a folder") as digest:
    digest.add("a", np.float32([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"a folder: a\[1\] is nan"):
      digest.add("b", np.zeros(2, np.float32))
  with fingerprints.TensorDigest("a folder") as digest:
    digest.add("a", np.float32([np.inf]))
    with pytest.raises(ValueError, match=r"a folder: a\[0\] is inf"):
      digest.hexdigest()
