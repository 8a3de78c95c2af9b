"""Shards of a tiny material, and the batches that are read from them."""

import numpy as np
import pretraining_fixtures
import pytest

from mpt_jax.tasks.pretraining.packed import shards, state


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  pretraining_fixtures.write_data(folder)
  return folder


def test_a_shard_depends_on_its_number_alone(data):
  make = lambda i: shards.ShardMaker(data).make(i)
  first, again, other = make(0), make(0), make(1)
  assert all(np.array_equal(first[name], again[name]) for name in first)
  assert not np.array_equal(first["inputs"][:9], other["inputs"][:9])


def test_shards_are_full_and_hold_all_examples(data):
  maker = shards.ShardMaker(data)
  arrays = maker.make(0)
  assert arrays["input_segments"].max(axis=1).sum() == maker.recipe.examples
  assert np.mean(arrays["input_segments"] > 0) > 0.8


def test_shards_made_by_other_processes_are_the_same(data):
  settings = dict(folder=data, rows=8)
  ours = state.Batches(workers=0, **settings)
  theirs = state.Batches(workers=1, **settings)
  for _, (a, b) in zip(range(30), zip(ours, theirs, strict=True), strict=False):
    assert a[1] == b[1]
    assert all(np.array_equal(a[0][name], b[0][name]) for name in a[0])
  theirs.close()


def test_a_shard_smaller_than_a_batch_is_an_error(data):
  with pytest.raises(ValueError, match="fewer than a batch"):
    next(iter(state.Batches(data, 10**6, workers=0)))
