"""A run's files: damage is never resumed from in silence."""

import gc
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import CASES, damaged_file, fuzz, may_refuse

from mpt_jax.io import digests
from mpt_jax.training import checkpoint_files
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.metrics_log import MetricsLog
from mpt_jax.training.step import TrainState

METADATA = "_CHECKPOINT_METADATA"


class Stream:
  """A position in the data: a number in a file."""

  def save(self, path):
    path.write_text("7")

  def restore(self, path):
    int(path.read_text())


def make_state():
  values = jax.random.normal(jax.random.key(0), (2, 3))
  return TrainState(jnp.int32(4), {"prompt": values}, None)


BEST = {"metric": np.full((2,), 0.5, np.float32)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run's folder with one checkpoint."""
  folder = tmp_path_factory.mktemp("run")
  checkpoints = Checkpoints(folder)
  checkpoints.save(4, make_state(), BEST, Stream(), {"sums": {}})
  checkpoints.close()
  return folder


def files(run):
  step = run / checkpoint_files.FOLDER / "4"
  return sorted(p for p in step.rglob("*") if p.is_file() and p.stat().st_size)


@CASES
@given(data=st.data())
def test_every_damage_to_a_checkpoint_is_found(run, data):
  path = data.draw(st.sampled_from(files(run)))
  step = run / checkpoint_files.FOLDER / "4"

  def read():
    damage = checkpoint_files.find_damage(step)
    assert damage is None or "\n" not in damage
    return damage is not None

  # Orbax writes these files after the digests, and nothing is read from them.
  used = path.name not in (METADATA, "commit_success.txt")
  original = path.read_bytes()
  damaged = data.draw(damaged_file(original))
  path.write_bytes(damaged)
  try:
    found = may_refuse(read, "")
  finally:
    path.write_bytes(original)
  assert found is True or not used or damaged.split() == original.split()


@pytest.fixture(scope="module")
def old(run, tmp_path_factory):
  """The same run as a released version wrote it, without digests."""
  folder = tmp_path_factory.mktemp("old") / "run"
  shutil.copytree(run, folder)
  step = folder / checkpoint_files.FOLDER / "4"
  shutil.rmtree(step / "digests")
  metadata = step / METADATA
  metadata.write_bytes(metadata.read_bytes().replace(b'"digests"', b'"more"'))
  return folder


# Orbax drops the coroutines of the other arrays.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(CASES, max_examples=30)
@given(data=st.data())
def test_checkpoints_without_digests(old, data):
  """Damage is refused in one line, or the run says that nothing is compared."""
  run = old.with_name("copy")
  shutil.rmtree(run, ignore_errors=True)
  shutil.copytree(old, run)
  path = data.draw(st.sampled_from(files(run)))
  path.write_bytes(data.draw(damaged_file(path.read_bytes())))

  def read():
    checkpoints = Checkpoints(run)
    try:
      checkpoints.restore(make_state(), BEST, Stream())
    finally:
      checkpoints.close()
    assert checkpoints.notes

  may_refuse(read, str(run))
  gc.collect()


@CASES
@given(data=st.data())
def test_metrics(tmp_path_factory, data):
  folder = tmp_path_factory.getbasetemp() / "metrics"
  folder.mkdir(exist_ok=True)
  path = folder / "metrics.jsonl"
  lines = [digests.seal({"step": i, "kind": "train"}) for i in range(4)]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))

  def read():
    log = MetricsLog(folder, 4, first_step=2, tensorboard=False)
    log._file.close()
    for line in path.read_bytes().splitlines():
      assert json.loads(line)["step"] <= 2

  fuzz(data, path, read)


def test_a_damaged_line_of_metrics_is_dropped_and_said(tmp_path, capsys):
  path = tmp_path / "metrics.jsonl"
  lines = [digests.seal({"step": i, "kind": "train"}) for i in range(3)]
  data = "".join(json.dumps(line) + "\n" for line in lines).encode()
  for damaged, said in (
    (data, ""),
    (data.replace(b'p": 1', b'p": 7'), "dropped 1"),
  ):
    path.write_bytes(damaged)
    with MetricsLog(tmp_path, 4, first_step=2, tensorboard=False):
      pass
    shown = capsys.readouterr().err
    assert said in shown and ("unreadable" in shown) == bool(said)
    steps = [json.loads(line)["step"] for line in path.open()]
    assert steps == ([0, 1, 2] if not said else [0, 2])
