"""The digests of t5x's checkpoints, on folders of the same form."""

import json
import shutil

import pytest
from buckets import bucket

from mpt_jax.io import digests
from mpt_jax.prompts import run_settings
from mpt_jax.t5x import sums

__all__ = ["bucket"]


@pytest.fixture
def run(tmp_path):
  for step in (0, 10, 20):
    folder = tmp_path / f"checkpoint_{step}" / "state"
    folder.mkdir(parents=True)
    (folder / "arrays").write_bytes(bytes([step, 1, 2]))
  (tmp_path / "checkpoint_30.orbax-checkpoint-tmp").mkdir()
  sums.write(tmp_path)
  return tmp_path


def flip(run, step):
  path = run / f"checkpoint_{step}" / "state" / "arrays"
  path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def test_an_undamaged_run_stays_as_it_is(run):
  assert sums.find_steps(run) == [20, 10, 0]
  assert sums.set_damaged_aside(run) == []
  assert sums.find_steps(run) == [20, 10, 0]


def test_damaged_steps_are_named_and_moved(run):
  flip(run, 20)
  (run / "checkpoint_10" / "state" / "arrays").unlink()
  with pytest.raises(ValueError, match="20 is damaged: the SHA-256 of state"):
    sums.check(run / "checkpoint_20")
  lines = sums.set_damaged_aside(run)
  assert [line.partition(";")[0] for line in lines] == [
    "the checkpoint of step 20 is damaged: the SHA-256 of state/arrays differs"
    " from SHA256SUMS",
    "the checkpoint of step 10 is damaged: state/arrays is missing",
    "resuming from the older checkpoint of step 0",
  ]
  assert sums.find_steps(run) == [0]
  assert (run / "damaged_checkpoints" / "20" / "state").is_dir()


def test_evaluation_takes_the_newest_good_step_and_changes_nothing(run):
  assert sums.find_good(run) == (20, [])
  flip(run, 20)
  step, lines = sums.find_good(run)
  assert step == 10 and sums.find_steps(run) == [20, 10, 0]
  assert lines == [
    "the checkpoint of step 20 is damaged: the SHA-256 of state/arrays differs"
    " from SHA256SUMS",
    "taking the older checkpoint of step 10",
  ]
  flip(run, 10)
  flip(run, 0)
  with pytest.raises(ValueError, match=r"no checkpoint.*step 20: .*step 0: "):
    sums.find_good(run)


def test_a_run_without_a_good_step_stays_as_it_is(run):
  for step in (0, 10, 20):
    flip(run, step)
  with pytest.raises(ValueError, match="no checkpoint.*step 20: .*step 0: "):
    sums.set_damaged_aside(run)
  assert sums.find_steps(run) == [20, 10, 0]


def test_an_older_damaged_step_does_not_matter(run):
  flip(run, 10)
  assert sums.set_damaged_aside(run) == []


def remove_digests(run, *steps):
  for step in steps:
    (run / f"checkpoint_{step}" / "SHA256SUMS").unlink()


def test_a_step_without_digests_was_not_finished(run):
  remove_digests(run, 20)
  with pytest.raises(ValueError, match="20 is damaged: it has no SHA256SUMS"):
    sums.check(run / "checkpoint_20")
  lines = sums.set_damaged_aside(run)
  assert lines[0].startswith(
    "the checkpoint of step 20 is damaged: it has no SHA256SUMS, so the run"
    " ended before it was complete; it was moved to "
  )
  assert lines[1] == "resuming from the older checkpoint of step 10"
  assert sums.find_steps(run) == [10, 0]


def write_settings(run, **settings):
  (run / "experiment.json").write_text(json.dumps(digests.seal(settings)))


def test_steps_of_an_earlier_version_have_no_digests(run):
  remove_digests(run, 0, 10, 20)
  write_settings(run, launcher="t5x")
  assert sums.set_damaged_aside(run) == []
  assert sums.find_steps(run) == [20, 10, 0]


def test_a_run_that_finished_no_step_starts_again(run):
  remove_digests(run, 0, 10, 20)
  write_settings(run, **{run_settings.CHECKPOINT_DIGESTS: True})
  # All of these had digests, so somebody removed them.
  with pytest.raises(ValueError, match="no checkpoint.*it has no SHA256SUMS"):
    sums.set_damaged_aside(run)
  shutil.rmtree(run / "checkpoint_20")
  *lines, last = sums.set_damaged_aside(run)
  assert len(lines) == 2 and sums.find_steps(run) == []
  assert last == "there is no older checkpoint: the run starts again"


def test_a_run_in_a_bucket(bucket):
  run = bucket / "runs" / "teach"
  for step in (0, 10, 20):
    state = run / f"checkpoint_{step}" / "state"
    state.mkdir(parents=True)
    (state / "arrays").write_bytes(bytes([step]))
    if step < 20:
      (run / f"checkpoint_{step}" / "commit_success.txt").write_text("")
  # Orbax still writes step 20.
  assert sums.find_steps(run) == [10, 0]
  sums.write(run)
  assert not (run / "checkpoint_20" / "SHA256SUMS").exists()
  sums.check(run / "checkpoint_10")
  (run / "checkpoint_10" / "state" / "arrays").write_bytes(b"x")
  lines = sums.set_damaged_aside(run)
  assert lines[1] == "resuming from the older checkpoint of step 0"
  assert (run / "damaged_checkpoints" / "10" / "state" / "arrays").exists()
  assert sums.find_steps(run) == [0]
