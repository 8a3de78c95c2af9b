"""Shards of a tiny material."""

import numpy as np
import pytest

from mpt_jax.tasks.pretraining.packed import shards


@pytest.fixture(scope="module")
def first(data):
  """A maker, and the shard that it makes first."""
  maker = shards.ShardMaker(data)
  return maker, maker.make(0)


def test_a_shard_depends_on_its_number_alone(data, first):
  maker, arrays = first
  # Another maker, which has made another shard before.
  again = shards.ShardMaker(data)
  other = again.make(1)
  made = again.make(0)
  assert all(np.array_equal(arrays[name], made[name]) for name in arrays)
  assert not np.array_equal(arrays["inputs"][:9], other["inputs"][:9])


def test_shards_are_full_and_hold_all_examples(first):
  maker, arrays = first
  assert arrays["input_segments"].max(axis=1).sum() == maker.recipe.examples
  assert np.mean(arrays["input_segments"] > 0) > 0.8
