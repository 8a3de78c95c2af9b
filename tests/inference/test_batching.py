"""Batches of few shapes: each example once, within a bound on memory."""

import dataclasses
import itertools

import numpy as np
import pytest

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference import batching


def _check_batches(batches, sizes, fitting):
  """Each example is in one batch, and fits its row."""
  members = [i for batch in batches for i in batch.members]
  assert sorted(members) == list(range(len(sizes)))
  for batch in batches:
    assert len(batch.members) <= batch.num_rows <= fitting(batch.row_length)
    assert max(sizes[i] for i in batch.members) <= batch.row_length
    if batch.joined:
      total = sum(sizes[i] for i in batch.members)
      assert total <= batch.joined[0] * batch.joined[1]


@pytest.mark.parametrize("count", [1, 2, 17, 300])
@pytest.mark.parametrize("longest", [20, 600])
def test_batches_hold_each_example_once(count, longest):
  sizes = np.random.default_rng(count).integers(4, longest, count).tolist()
  lengths = batching.row_lengths(3, longest)

  def fitting(row_length):
    return max(1, min(16, 4000 // row_length))

  plain = batching.plain_batches(sizes, lengths, fitting)
  _check_batches(plain, sizes, fitting)
  assert not any(batch.joined for batch in plain)
  packed = batching.packed_batches(sizes, lengths, fitting)
  _check_batches(packed, sizes, fitting)
  assert len({dataclasses.replace(b, members=()) for b in packed}) == 1
  joined = batching.joined_batches(sizes, lengths, fitting)
  _check_batches(joined, sizes, fitting)
  assert len({batch.joined for batch in joined}) == 1
  # A row length has one shape.
  shapes = {(batch.row_length, batch.num_rows) for batch in joined}
  assert len(shapes) == len({batch.row_length for batch in joined})


def test_rows_are_a_multiple_of_the_devices():
  batches = batching.plain_batches(
    [5, 9, 7], [16], lambda row_length: 16, row_multiple=8
  )
  assert [(b.members, b.num_rows) for b in batches] == [([1, 2, 0], 8)]


def test_a_bound_cuts_batches(make_config):
  config = make_config(vocab_size=1000)
  wide = batching.Memory(config)
  narrow = batching.Memory(config, max_bytes=10**7)
  assert wide.ranking_rows(100, 8) > narrow.ranking_rows(100, 8) >= 1
  assert narrow.ranking_rows(100, 8) > narrow.ranking_rows(100, 64)
  assert wide.generating_rows(100, 8) > narrow.generating_rows(100, 8)
  assert wide.generating_rows(100, 8) > wide.generating_rows(100, 8, 40)
  # Never refused.
  assert batching.Memory(config, 1).ranking_rows(10**4, 128) == 1
  assert batching.Memory(config, 1).generating_rows(10**4, 512, 8) == 1


def test_joined_rows():
  examples = [
    {"inputs": np.array(ids), "targets": np.array([5, 1]), "slot_id": task}
    for ids, task in (([7, 8, 1], 1), ([9, 1], 0))
  ]
  config = BatchLayout(
    inputs_length=3,
    targets_length=3,
    prompt_length=2,
    num_slots=2,
    pack=False,
    length_multiple=1,
    num_rows=3,
  )
  batch, _ = make_batch(examples, config)
  plain = {k: v for k, v in batch.items() if k.startswith("encoder_")}
  joined, places = batching.join_rows(plain, (1, 10))
  assert joined["encoder_input_tokens"].tolist() == [
    [0, 0, 7, 8, 1, 0, 0, 9, 1, 0]
  ]
  assert joined["encoder_segment_ids"].tolist() == [
    [1, 1, 1, 1, 1, 2, 2, 2, 2, 0]
  ]
  assert joined["encoder_slot_ids"].tolist() == [[1] * 5 + [0] * 5]
  assert joined.keys() == plain.keys()
  assert places.shape == (3, 5)
  present = plain["encoder_segment_ids"] > 0
  assert places[present].tolist() == list(range(9))
  # The ids at padding are valid for a look-up.
  assert places.min() >= 0 and places.max() < 10
  # In two rows of six, the second example begins the second row.
  joined, places = batching.join_rows(plain, (2, 6))
  assert joined["encoder_segment_ids"].tolist() == [
    [1, 1, 1, 1, 1, 0],
    [2, 2, 2, 2, 0, 0],
  ]
  assert places[1, :4].tolist() == [6, 7, 8, 9]
  with pytest.raises(ValueError, match="need 2 rows of 8 positions, got 1"):
    batching.join_rows(plain, (1, 8))


def test_sizes_are_few():
  for n in range(1, 5000):
    size, count = batching.next_size(n), batching.next_count(n)
    assert n <= size <= max(n + 1, 1.25 * n)
    assert n <= count <= max(n + 1, 1.5 * n)
    assert batching.next_size(size) == size
    assert batching.next_count(count) == count
  assert len({batching.next_size(n) for n in range(4097, 8193)}) == 8


@pytest.mark.parametrize("prompt_length", [1, 20, 100, 300])
@pytest.mark.parametrize("inputs_length", [1, 7, 128, 512, 4096])
def test_row_lengths(prompt_length, inputs_length):
  lengths = batching.row_lengths(prompt_length, inputs_length)
  assert lengths[0] == prompt_length + inputs_length
  assert 1 <= len(lengths) <= batching.MAX_ROW_LENGTHS
  assert all(a >= 1.2 * b for a, b in itertools.pairwise(lengths))
  assert lengths[-1] > prompt_length
