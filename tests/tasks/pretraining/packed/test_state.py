"""Batches, checkpoints and the log of a pretraining run."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.tasks.pretraining.packed import shards, state


def take(batches, count):
  return list(itertools.islice(batches, count))


def same(first, second):
  return first.keys() == second.keys() and all(
    np.array_equal(first[name], second[name]) for name in first
  )


@pytest.fixture(scope="module")
def ours(data):
  """The batches of two shards and a half, made in this process."""
  return take(state.Batches(data, 8, workers=0), 30)


def test_positions_count_the_batches_of_each_shard(data, ours):
  # Of a shard, what does not fill a batch is left out.
  counts = [
    len(shards.ShardMaker(data).make(i)["inputs"]) // 8 for i in range(2)
  ]
  expected = [(i, k + 1) for i in range(2) for k in range(counts[i] - 1)]
  expected += [(1, 0), (2, 0)]
  positions = [position for _, position in ours]
  assert positions[: sum(counts)] == sorted(expected)
  assert {len(batch["encoder_input_tokens"]) for batch, _ in ours} == {8}


def test_batches_go_on_where_they_were(data, ours):
  for start in (3, 17):
    batches = state.Batches(data, 8, ours[start][1], workers=0)
    for (batch, position), expected in zip(
      take(batches, 5), ours[start + 1 :], strict=False
    ):
      assert position == expected[1]
      assert same(batch, expected[0])


def test_shards_made_by_other_processes_are_the_same(data, ours):
  theirs = state.Batches(data, 8, workers=1)
  for a, b in zip(ours, take(theirs, 30), strict=True):
    assert a[1] == b[1]
    assert same(a[0], b[0])
  theirs.close()


def test_a_shard_smaller_than_a_batch_is_an_error(data):
  with pytest.raises(ValueError, match="fewer than a batch"):
    next(iter(state.Batches(data, 10**6, workers=0)))


# ------------------------------------------------------------- checkpoints


def make_state(*shape):
  return {"b": (jnp.arange(6.0).reshape(shape), jnp.int32(4)), "a": jnp.ones(2)}


def test_progress_counts_the_examples_of_a_batch():
  segments = np.array([[1, 1, 2, 0], [1, 2, 3, 3], [0, 0, 0, 0]])
  batch = {"encoder_segment_ids": segments}
  made = state.Progress("old", 4, (1, 2), 10).after("new", batch, (1, 3))
  assert made == state.Progress("new", 5, (1, 3), 15)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
  path = tmp_path / "checkpoint.npz"
  progress = state.Progress(make_state(2, 3), 7, (3, 1), 90)
  state.save_checkpoint(path, progress)
  assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]
  found = state.load_checkpoint(
    path, jax.tree.map(jnp.zeros_like, progress.state)
  )
  assert (found.step, found.position, found.examples) == (7, (3, 1), 90)
  jax.tree.map(np.testing.assert_array_equal, found.state, progress.state)
  assert found.state["b"][1].dtype == jnp.int32


@pytest.mark.parametrize(
  ("other", "message"),
  [
    # An array that the checkpoint lacks, one that it has too many, and one of
    # another shape with as many numbers.
    (
      {**make_state(2, 3), "c": jnp.ones(3)},
      "3 of 9 numbers, expected 4 of 12",
    ),
    ({"b": make_state(2, 3)["b"]}, "3 of 9 numbers, expected 2 of 7"),
    (make_state(3, 2), "3 of 9 numbers, expected 3 of 9"),
  ],
)
def test_a_checkpoint_of_another_t5_is_an_error(tmp_path, other, message):
  path = tmp_path / "checkpoint.npz"
  state.save_checkpoint(path, state.Progress(make_state(2, 3)))
  with pytest.raises(ValueError, match=f"checkpoint.npz has .*: {message}"):
    state.load_checkpoint(path, other)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
  path = tmp_path / "checkpoint.npz"
  state.save_checkpoint(path, state.Progress(make_state(2, 3)))
  path.write_bytes(path.read_bytes()[:300])
  with pytest.raises(ValueError, match=r"checkpoint\.npz cannot be read as a"):
    state.load_checkpoint(path, make_state(2, 3))


# --------------------------------------------------------------------- log


def batch_of(segments):
  return {
    f"{name}_segment_ids": np.array(segments) for name in ("encoder", "decoder")
  }


def test_a_line_has_means_since_the_last_one(tmp_path, capsys):
  log = state.Log(tmp_path / "metrics.jsonl", 0)
  for losses in ((2.0, 4.0), (1.0,)):
    for loss in losses:
      metrics = {"loss": jnp.float32(loss), "grad_norm": jnp.float32(2 * loss)}
      log.add(metrics, batch_of([[1, 1, 2, 0]]))
    log.write(state.Progress(None, 10, (0, 3), 33), 0.25)
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  first, second = map(json.loads, lines)
  assert (first["loss"], first["grad_norm"]) == (3.0, 6.0)
  assert second["loss"] == 1.0
  # Three of four positions hold a token.
  assert first["fill"] == second["fill"] == 0.75
  assert (first["step"], first["examples"], first["rate_factor"]) == (
    *(10, 33),
    0.25,
  )
  assert capsys.readouterr().out.count("tokens_per_second") == 2


def test_a_resumed_run_drops_later_lines_and_unfinished_ones(tmp_path):
  path = tmp_path / "metrics.jsonl"
  kept = '{"step": 10}\n{"step": 20}\n'
  path.write_text(kept + '{"step": 30}\n{"step": 20, "lo')
  state.Log(path, 20)
  assert path.read_text() == kept
  assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
  log = state.Log(tmp_path / "metrics.jsonl", 0)
  log.add({"loss": np.nan, "grad_norm": 1.0}, batch_of([[1]]))
  with pytest.raises(FloatingPointError, match="the loss is nan at step 3"):
    log.write(state.Progress(None, 3), 1.0)
  assert not (tmp_path / "metrics.jsonl").exists()
