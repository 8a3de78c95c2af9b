"""Batches: the worked example, packing, truncation, candidates, errors."""

import numpy as np
import pytest

from mpt_jax.data import batches
from mpt_jax.data.batches import BatchStats, make_batch
from mpt_jax.data.packing import BatchLayout


def _example(inputs, targets, slot_id=0):
  return {
    "inputs": np.array(inputs),
    "targets": np.array(targets),
    "slot_id": slot_id,
  }


def test_worked_batch_of_the_module_docstring():
  examples = [_example([7, 8, 1], [5, 1], 1), _example([9, 1], [6, 1], 0)]
  config = BatchLayout(
    inputs_length=5,
    targets_length=2,
    prompt_length=2,
    num_slots=2,
    row_length=10,
    target_row_length=4,
  )
  batch, stats = make_batch(examples, config)
  lines = [
    line.split()
    for line in batches.__doc__.splitlines()
    if line.startswith(("  encoder_", "  decoder_"))
  ]
  assert len(lines) == 9
  assert set(batch) == {name for name, *_ in lines}
  for name, *values in lines:
    assert batch[name].tolist() == [[int(v) for v in values]], name
    is_weight = name == "decoder_loss_weights"
    assert batch[name].dtype == (np.float32 if is_weight else np.int32)
  # 2 + 3 + 2 + 2 encoder and 4 decoder positions, of 10 + 4.
  assert stats == BatchStats(num_examples=2, num_tokens=13, num_positions=14)
  assert stats.padding_fraction == pytest.approx(1 / 14)


def test_plain_rows():
  examples = [_example([7, 8, 1], [5, 1], 1), _example([9, 1], [6, 4, 1], 0)]
  config = BatchLayout(
    inputs_length=5,
    targets_length=3,
    prompt_length=2,
    num_slots=2,
    pack=False,
    row_multiple=4,
    length_multiple=2,
  )
  batch, _ = make_batch(examples, config)
  assert batch["encoder_segment_ids"].tolist() == [
    [1, 1, 1, 1, 1, 0],
    [1, 1, 1, 1, 0, 0],
    [0] * 6,
    [0] * 6,
  ]
  assert batch["encoder_input_tokens"][:2].tolist() == [
    [0, 0, 7, 8, 1, 0],
    [0, 0, 9, 1, 0, 0],
  ]
  assert batch["decoder_target_tokens"].tolist() == [
    [5, 1, 0],
    [6, 4, 1],
    [0] * 3,
    [0] * 3,
  ]
  assert batch["decoder_input_tokens"][:2].tolist() == [[0, 5, 0], [0, 6, 4]]
  assert batch["decoder_loss_weights"].sum() == 5
  assert batch["encoder_slot_ids"][0, :5].tolist() == [1] * 5


def test_packing_keeps_every_example_whole(make_examples):
  examples = make_examples(40, num_slots=3, seed=5)
  config = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=3,
    num_slots=3,
    row_length=30,
  )
  batch, stats = make_batch(examples, config)
  rows = batch["encoder_input_tokens"].shape[0]
  assert rows < 40 and stats.num_examples == 40
  found = []
  for row in range(rows):
    encoder_segments = batch["encoder_segment_ids"][row]
    decoder_segments = batch["decoder_segment_ids"][row]
    assert encoder_segments.max() == decoder_segments.max()
    for segment in range(1, encoder_segments.max() + 1):
      here = np.flatnonzero(encoder_segments == segment)
      there = np.flatnonzero(decoder_segments == segment)
      # One run of positions: the relative bias needs the distances intact.
      assert np.all(np.diff(here) == 1) and np.all(np.diff(there) == 1)
      positions = batch["encoder_prompt_positions"][row, here]
      assert positions.tolist() == [1, 2, 3] + [0] * (len(here) - 3)
      (task,) = set(batch["encoder_slot_ids"][row, here])
      assert set(batch["decoder_slot_ids"][row, there]) == {task}
      targets = batch["decoder_target_tokens"][row, there].tolist()
      shifted = batch["decoder_input_tokens"][row, there].tolist()
      assert shifted == [0, *targets[:-1]]
      inputs = batch["encoder_input_tokens"][row, here][3:].tolist()
      found.append((inputs, targets, int(task)))
  expected = [
    (e["inputs"].tolist(), e["targets"].tolist(), e["slot_id"])
    for e in examples
  ]
  assert sorted(found) == sorted(expected)


def test_same_examples_give_the_same_batch(make_examples):
  config = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=3,
    num_slots=2,
    row_length=30,
  )
  first, second = (make_batch(make_examples(9, 2), config)[0] for _ in "ab")
  for name in first:
    np.testing.assert_array_equal(first[name], second[name])


def test_truncation_keeps_the_end_and_is_counted():
  examples = [
    _example([3, 4, 5, 6, 1], [7, 8, 9, 1]),
    _example([3, 4, 1], [7, 1]),
    _example([3, 4, 5, 6], [7, 8, 9]),
  ]
  batch, stats = make_batch(
    examples, BatchLayout(inputs_length=3, targets_length=2, pack=False)
  )
  assert stats.num_truncated_inputs == 2 and stats.num_truncated_targets == 2
  assert batch["encoder_input_tokens"][:, :3].tolist() == [
    [3, 4, 1],
    [3, 4, 1],
    [3, 4, 5],
  ]
  assert batch["decoder_target_tokens"][:, :2].tolist() == [
    [7, 1],
    [7, 1],
    [7, 8],
  ]
  # The caller's arrays are not changed.
  assert examples[0]["inputs"].tolist() == [3, 4, 5, 6, 1]


def test_stats_add_up():
  total = BatchStats(2, 10, 16, 1, 0) + BatchStats(3, 2, 8, 0, 4)
  assert total == BatchStats(5, 12, 24, 1, 4)
  assert total.padding_fraction == 0.5
  assert BatchStats().padding_fraction == 1.0


@pytest.mark.parametrize("pack", [False, True])
def test_candidates_are_numbered_over_the_examples(pack):
  examples = [
    {"inputs": np.array([5, 1]), "targets": [np.array([3, 1]), [4, 4, 1]]},
    {"inputs": np.array([6, 7, 1]), "targets": [np.array([8, 1])]},
  ]
  config = BatchLayout(
    inputs_length=3,
    targets_length=3,
    pack=pack,
    row_length=6,
    length_multiple=2,
  )
  batch, _ = make_batch(examples, config)
  found = {}
  for row, numbers in enumerate(batch["decoder_candidate_ids"]):
    for number in set(numbers) - {0}:
      at = numbers == number
      (segment,) = set(batch["decoder_cross_segment_ids"][row, at])
      inputs = batch["encoder_input_tokens"][row][
        batch["encoder_segment_ids"][row] == segment
      ]
      targets = batch["decoder_target_tokens"][row, at]
      assert len(set(batch["decoder_segment_ids"][row, at])) == 1
      found[int(number)] = (inputs.tolist(), targets.tolist())
  assert found == {
    1: ([5, 1], [3, 1]),
    2: ([5, 1], [4, 4, 1]),
    3: ([6, 7, 1], [8, 1]),
  }
  padding = batch["decoder_segment_ids"] == 0
  assert np.all((batch["decoder_candidate_ids"] == 0) == padding)


def test_errors_name_the_example_and_what_was_expected():
  good = _example([5, 1], [6, 1])
  config = BatchLayout(inputs_length=4, targets_length=4, num_slots=3)
  for slot_id in (-1, 3):
    with pytest.raises(
      ValueError, match=rf"slot_id of example 1 .*num_slots=3.*{slot_id}"
    ):
      make_batch([good, _example([5, 1], [6, 1], slot_id)], config)
  for targets in ([1], []):
    with pytest.raises(
      ValueError, match=r"example 1 .*\(slot_id 2\).*no token"
    ):
      make_batch([good, _example([5, 1], targets, 2)], config)
  with pytest.raises(ValueError, match="example 0 .*no token"):
    make_batch([{"inputs": np.array([5, 1]), "targets": [[6, 1], [1]]}], config)
  with pytest.raises(ValueError, match="4 examples need 2 rows.*num_rows=1"):
    make_batch([good] * 4, config, num_rows=1)
  with pytest.raises(ValueError, match="row_length=6.* = 7 positions"):
    BatchLayout(
      inputs_length=4, targets_length=4, prompt_length=3, row_length=6
    )
  with pytest.raises(ValueError, match="target_row_length=3.*targets_length=4"):
    BatchLayout(inputs_length=4, targets_length=4, target_row_length=3)
  many = {"inputs": np.array([5, 1]), "targets": [[6, 1]] * 9}
  with pytest.raises(ValueError, match="9 candidates of example 0 have 18"):
    make_batch([many], config)


def test_a_long_row_is_as_long_as_its_examples():
  config = BatchLayout(
    inputs_length=6,
    targets_length=4,
    prompt_length=3,
    num_slots=2,
    long_rows=True,
  )
  examples = [
    _example([7, 8, 9, 1], [5, 1], 0),
    _example([3, 1], [6, 7, 1], 1),
    _example([4, 5, 6, 7, 8, 1], [9, 1], 1),
  ]
  batch, stats = make_batch(examples * 20, config)
  # 60 examples: 3 · 3 slots + 4 + 2 + 6 tokens for each three, 20 · 21 = 420
  # positions in steps of 128; 20 · (2 + 3 + 2) = 140 target tokens in steps of
  # 32.
  assert batch["encoder_input_tokens"].shape == (1, 512)
  assert batch["decoder_input_tokens"].shape == (1, 160)
  assert stats.num_tokens == 420 + 140
  assert batch["encoder_segment_ids"].max() == 60


def test_a_batch_of_no_examples_is_a_long_row_of_padding():
  config = BatchLayout(
    inputs_length=6,
    targets_length=4,
    prompt_length=3,
    num_slots=2,
    long_rows=True,
  )
  batch, stats = make_batch([], config, 2)
  assert batch["encoder_input_tokens"].shape == (2, 128)
  assert batch["decoder_input_tokens"].shape == (2, 32)
  assert not batch["encoder_segment_ids"].any()
  assert not batch["decoder_loss_weights"].any()
  assert stats.num_tokens == 0


def test_long_rows_have_about_3072_positions_at_most():
  config = BatchLayout(inputs_length=1000, targets_length=4, long_rows=True)
  example = {"inputs": np.full(1000, 5), "targets": np.array([5, 1])}
  batch, _ = make_batch([example] * 9, config)
  # Three rows hold 9,000 positions, three examples each; 3,000 in steps of
  # 2048 / 8 are 3,072.
  assert batch["encoder_input_tokens"].shape == (3, 3072)
  assert [row.max() for row in batch["encoder_segment_ids"]] == [3, 3, 3]
  assert batch["decoder_input_tokens"].shape == (3, 32)
  longer = {**example, "inputs": np.full(9000, 5)}
  config = BatchLayout(inputs_length=9000, targets_length=4, long_rows=True)
  batch, _ = make_batch([longer, example], config)
  # 9,000 positions alone are more than a row: 9 · 8192 / 8 = 9,216.
  assert batch["encoder_input_tokens"].shape == (2, 9216)
