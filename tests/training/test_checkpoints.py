"""Checkpoints that were damaged after they were written."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.io import digests
from mpt_jax.training import checkpoint_files
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.step import TrainState


class Stream:
  """A position in the data: a number in a file."""

  def __init__(self, position):
    self.position = position

  def save(self, path):
    path.write_text(str(self.position))

  def restore(self, path):
    self.position = int(path.read_text())


def make_state(step):
  values = jax.random.normal(jax.random.key(step), (2, 40, 3))
  return TrainState(jnp.int32(step), {"prompt": values}, None)


def make_best(step):
  return {
    "metric": np.full((2,), step / 2, np.float32),
    "prompt": np.full((2, 3), step, np.float32),
  }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A run's folder with the checkpoints 10 and 20."""
  folder = tmp_path_factory.mktemp("written")
  checkpoints = Checkpoints(folder)
  for step in (5, 10, 20):
    checkpoints.save(step, make_state(step), make_best(step), Stream(step))
  checkpoints.close()
  return folder


@pytest.fixture
def run(written, tmp_path):
  shutil.copytree(written, tmp_path / "run")
  return tmp_path / "run"


def restore(folder, shape_of=20):
  """(step, notes) of what a run would resume with; the arrays must fit."""
  checkpoints, stream = Checkpoints(folder), Stream(None)
  state, best = checkpoints.restore(make_state(shape_of), make_best(0), stream)
  step = int(state.step)
  np.testing.assert_array_equal(
    state.params["prompt"], make_state(step).params["prompt"]
  )
  np.testing.assert_array_equal(best["metric"], make_best(step)["metric"])
  assert stream.position == step
  assert checkpoints.latest_step == step
  # The next checkpoint takes the place of the damaged one.
  checkpoints.save(20 if step < 20 else 30, state, best, stream)
  checkpoints.close()
  return step, checkpoints.notes


def largest(folder):
  files = [p for p in folder.rglob("*") if p.is_file()]
  return max(files, key=lambda p: p.stat().st_size)


def flip(folder):
  path = largest(folder / "20" / "state")
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4
  path.write_bytes(data)


def truncate(folder):
  path = largest(folder / "20" / "state")
  path.write_bytes(path.read_bytes()[:-7])


def remove(folder):
  (folder / "20" / "best" / "_METADATA").unlink()


def add(folder):
  (folder / "20" / "state" / "more").write_text("more")


def lose_an_item(folder):
  shutil.rmtree(folder / "20" / "stream")


def lose_the_digests(folder):
  shutil.rmtree(folder / "20" / "digests")


def lose_a_digest(folder):
  path = folder / "20" / "digests" / "SHA256SUMS"
  path.write_text("".join(path.read_text().splitlines(True)[1:]))


def make_an_empty_folder(folder):
  (folder / "30").mkdir()


def exchange(folder):
  """Every file is whole, but of another step."""
  shutil.rmtree(folder / "20" / "state")
  shutil.copytree(folder / "10" / "state", folder / "20" / "state")


DAMAGES = {
  flip: "step 20 is damaged: the SHA-256 of state/",
  truncate: "step 20 is damaged: the SHA-256 of state/",
  remove: "step 20 is damaged: best/_METADATA is missing",
  add: "step 20 is damaged: state/more was added",
  lose_an_item: "step 20 is damaged: stream is missing",
  lose_the_digests: "step 20 is damaged: digests/SHA256SUMS is missing",
  lose_a_digest: "was added",
  make_an_empty_folder: "step 30 is damaged: the folder is empty",
  exchange: "step 20 is damaged: ",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_newest_checkpoint_is_named_and_kept_aside(run, damage):
  damage(run / "checkpoints")
  step, notes = restore(run)
  newest = 30 if damage is make_an_empty_folder else 20
  assert step == (20 if newest == 30 else 10)
  assert DAMAGES[damage] in notes[0]
  assert f"moved to {run}/damaged_checkpoints/{newest}" in notes[0]
  assert notes[1:] == [f"resuming from the older checkpoint of step {step}"]
  assert (run / "damaged_checkpoints" / str(newest)).is_dir()
  assert checkpoint_files.find_steps(run) == sorted(
    {step, 20 if step == 10 else 30}, reverse=True
  )


def test_an_undamaged_checkpoint_is_read_without_a_word(run):
  assert restore(run) == (20, [])
  assert not (run / "damaged_checkpoints").exists()
  assert checkpoint_files.find_steps(run) == [30, 20]


def test_the_digests_are_there_before_the_step_has_its_name(written):
  """A kill at any moment leaves a step with digests, or none of this name."""
  for step in ("10", "20"):
    folder = written / "checkpoints" / step
    sums = (folder / "digests" / "SHA256SUMS").read_text().splitlines()
    names = {line.split("  ")[1] for line in sums}
    items = {name.split("/")[0] for name in names - {"digests/run.json"}}
    assert items == {"state", "best", "stream"} and "digests/run.json" in names
    # Orbax writes the time of the commit last.
    done = (folder / "commit_success.txt").stat().st_mtime_ns
    assert (folder / "digests" / "SHA256SUMS").stat().st_mtime_ns <= done


def test_sha256sum_reads_the_digests(written):
  import subprocess

  command = ["sha256sum", "--check", "--quiet", "digests/SHA256SUMS"]
  folder = written / "checkpoints" / "20"
  subprocess.run(command, cwd=folder, check=True)


def test_if_all_are_damaged_all_are_named_and_stay(run):
  flip(run / "checkpoints")
  shutil.rmtree(run / "checkpoints" / "10" / "best")
  with pytest.raises(ValueError) as refused:
    restore(run)
  message = str(refused.value)
  assert "step 20: the SHA-256 of state/" in message
  assert "step 10: best is missing" in message
  assert "put an undamaged copy" in message
  assert checkpoint_files.find_steps(run) == [20, 10]


def test_a_second_damage_of_a_step_does_not_replace_the_first(run):
  flip(run / "checkpoints")
  restore(run)
  flip(run / "checkpoints")
  restore(run)
  aside = sorted(p.name for p in (run / "damaged_checkpoints").iterdir())
  assert aside == ["20", "20-2"]


def forget_digests(folder):
  """Makes a step as released versions wrote it."""
  shutil.rmtree(folder / "digests")
  metadata = folder / "_CHECKPOINT_METADATA"
  text = metadata.read_text()
  start = text.index(', "digests"')
  metadata.write_text(text[:start] + text[text.index("}", start) :])


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_so(run):
  for step in ("10", "20"):
    forget_digests(run / "checkpoints" / step)
  step, notes = restore(run)
  assert step == 20
  assert len(notes) == 1 and "has no digests" in notes[0]


def test_an_unreadable_one_of_an_earlier_version_is_passed_over(run):
  forget_digests(run / "checkpoints" / "20")
  for path in (run / "checkpoints" / "20" / "state").rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  step, notes = restore(run)
  assert step == 10 and "step 20 is damaged" in notes[0]


def test_another_model_is_no_damage(run):
  checkpoints = Checkpoints(run)
  state = TrainState(jnp.int32(0), {"prompt": jnp.zeros((2, 40, 4))}, None)
  with pytest.raises(ValueError, match="does not fit this model"):
    checkpoints.restore(state, make_best(0), Stream(None))
  assert checkpoint_files.find_steps(run) == [20, 10]


def test_every_byte_of_a_checkpoint_counts(run):
  """One flipped bit in each file, and in many places of the largest."""
  folder = run / "checkpoints" / "20"
  rng = np.random.default_rng(0)
  files = sorted(p for p in folder.rglob("*") if p.is_file())
  assert len(files) > 8
  for path in files:
    data = path.read_bytes()
    for _ in range(8 if data else 0):
      position = int(rng.integers(len(data)))
      damaged = bytearray(data)
      damaged[position] ^= 1 << int(rng.integers(8))
      path.write_bytes(damaged)
      found = checkpoint_files.find_damage(folder)
      unused = path.name in ("_CHECKPOINT_METADATA", "commit_success.txt")
      assert unused or found, (path, position)
    path.write_bytes(data)
  assert checkpoint_files.find_damage(folder) is None


def test_what_a_killed_save_left_is_cleared_at_the_next_start(run):
  steps = run / "checkpoints"
  shutil.copytree(steps / "20", steps / "30.orbax-checkpoint-tmp")
  shutil.copytree(steps / "20", steps / "3.orbax-checkpoint-tmp-1700000000")
  # These are not of orbax.
  (steps / "30.orbax-checkpoint-temporary").mkdir()
  (steps / "my.orbax-checkpoint-tmp").mkdir()
  (steps / "40.orbax-checkpoint-tmp").write_text("a file")
  Checkpoints(run).close()
  assert sorted(path.name for path in steps.iterdir()) == [
    *("10", "20", "30.orbax-checkpoint-temporary", "40.orbax-checkpoint-tmp"),
    "my.orbax-checkpoint-tmp",
  ]


def test_what_is_not_compared_does_not_matter(run):
  for name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
    path = pathlib.Path(run / "checkpoints" / "20" / name)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data.replace(b"s", b"r")):
      path.write_bytes(damaged)
      checkpoints, stream = Checkpoints(run), Stream(None)
      state, _ = checkpoints.restore(make_state(20), make_best(0), stream)
      assert int(state.step) in (10, 20)
      np.testing.assert_array_equal(
        state.params["prompt"], make_state(int(state.step)).params["prompt"]
      )
      checkpoints.close()


def test_a_checkpoint_of_an_earlier_version_has_no_faults(run):
  """The checkpoints of `written` are such: they have neither field."""
  faults = jnp.zeros((2, 2), jnp.int32)
  backup = {"prompt": jnp.zeros((2, 40, 3))}
  now = make_state(0).replace(faults=faults, backup=backup)
  state, _ = Checkpoints(run).restore(now, make_best(0), Stream(None))
  np.testing.assert_array_equal(state.faults, faults)
  np.testing.assert_array_equal(
    state.backup["prompt"], make_state(20).params["prompt"]
  )


def test_a_checkpoint_keeps_the_faults_and_not_the_backup(tmp_path):
  faults = jnp.array([[0, 0], [7, 4]], jnp.int32)
  state = make_state(3).replace(faults=faults, backup=make_state(3).params)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(3, state, make_best(3), Stream(3))
  saved = checkpoints._manager.item_metadata(3)["state"]
  assert not (saved.tree if hasattr(saved, "tree") else saved).get("backup")
  empty = make_state(4).replace(faults=0 * faults, backup=make_state(4).params)
  restored, _ = checkpoints.restore(empty, make_best(0), Stream(None))
  np.testing.assert_array_equal(restored.faults, faults)
  jax.tree.map(np.testing.assert_array_equal, restored.backup, state.params)


def write_settings(folder, **settings):
  folder.mkdir(exist_ok=True)
  text = json.dumps(digests.seal(settings))
  (folder / "experiment.json").write_text(text)


def save(folder, *steps):
  checkpoints = Checkpoints(folder)
  for step in steps:
    checkpoints.save(step, make_state(step), make_best(step), Stream(step))
  checkpoints.close()


def test_a_checkpoint_of_another_run_or_step_is_not_used(tmp_path):
  """Its files are whole, so only `run.json` tells."""
  mine, other = tmp_path / "mine", tmp_path / "other"
  write_settings(mine, optimizer={"learning_rate": 0.1}, backbone="/a/t5")
  save(mine, 10, 20)
  write_settings(other, optimizer={"learning_rate": 0.2}, backbone="/a/t5")
  save(other, 20)
  shutil.rmtree(mine / "checkpoints" / "20")
  shutil.copytree(other / "checkpoints" / "20", mine / "checkpoints" / "20")
  shutil.copytree(mine / "checkpoints" / "10", mine / "checkpoints" / "30")
  checkpoints = Checkpoints(mine)
  state, *_ = checkpoints.restore(make_state(0), make_best(0), Stream(None))
  assert int(state.step) == 10
  text = " ".join(checkpoints.notes)
  assert "step 30 is damaged: it is the checkpoint of step 10" in text
  assert "it is of another run: optimizer.learning_rate differ" in text
  checkpoints.close()


def test_a_run_may_be_moved_with_its_t5(tmp_path):
  write_settings(tmp_path, backbone="/a/t5", eval={"num_rows": 8}, seed=1)
  save(tmp_path, 10)
  write_settings(tmp_path, backbone="/b/t5", eval={"num_rows": 4}, seed=1)
  folder = tmp_path / "checkpoints" / "10"
  assert checkpoint_files.find_damage(folder) is None
  # As if an earlier version had written the checkpoint.
  text = (folder / "digests" / "SHA256SUMS").read_text().splitlines(True)
  (folder / "digests" / "SHA256SUMS").write_text("".join(text[:-1]))
  (folder / "digests" / "run.json").unlink()
  assert checkpoint_files.find_damage(folder) is None


def test_the_prompts_in_a_checkpoint(run):
  last, best = checkpoint_files.read_prompts(run / "checkpoints" / "10")
  np.testing.assert_array_equal(last, make_state(10).params["prompt"])
  np.testing.assert_array_equal(best, make_best(10)["prompt"])
  (run / "checkpoints" / "10" / "best" / "_METADATA").write_text("{")
  with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
    checkpoint_files.read_prompts(run / "checkpoints" / "10")


def test_names_that_are_no_steps(run):
  for name in ("040", "20 (1)", "20.bak"):
    shutil.copytree(run / "checkpoints" / "20", run / "checkpoints" / name)
  assert checkpoint_files.find_steps(run) == [20, 10]
  others = [path.name for path in checkpoint_files.find_others(run)]
  assert others == ["040", "20 (1)", "20.bak"]
