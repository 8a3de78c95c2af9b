"""The files of checkpoints, made by hand: no orbax, no training."""

import hashlib
import json

import pytest

from mpt_jax.io import digests
from mpt_jax.training import checkpoint_files

SETTINGS = {"seed": 0, "backbone": "/old/t5", "slots": [{"source": "a"}]}


def write_settings(run, **changes):
  text = json.dumps(digests.seal({**SETTINGS, **changes}))
  (run / "experiment.json").write_text(text)


@pytest.fixture
def step(tmp_path):
  """A finished step of a run, as orbax leaves it."""
  run = tmp_path / "run"
  folder = run / checkpoint_files.FOLDER / "20"
  for item in checkpoint_files.ITEMS:
    (folder / item / "d").mkdir(parents=True)
    (folder / item / "d" / "0").write_text(f"the values of {item}")
  (folder / checkpoint_files.DIGESTS).mkdir()
  checkpoint_files.write_sums(
    folder,
    folder / checkpoint_files.DIGESTS,
    {"step": 20, "settings": SETTINGS},
  )
  # Orbax writes this one after the digests.
  (folder / "_CHECKPOINT_METADATA").write_text('{"item": "digests"}')
  write_settings(run)
  return folder


def test_the_sums_are_those_of_sha256sum(step):
  lines = (step / "digests" / "SHA256SUMS").read_text().splitlines()
  names = [line.split("  ")[1] for line in lines]
  assert sorted(names) == [
    "best/d/0",
    "digests/run.json",
    "state/d/0",
    "stream/d/0",
  ]
  for line in lines:
    digest, name = line.split("  ")
    assert digest == hashlib.sha256((step / name).read_bytes()).hexdigest()
  assert checkpoint_files.find_damage(step) is None


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda s: (s / "state/d/0").write_text("x"), "SHA-256 of state/d/0"),
    (lambda s: (s / "best/d/0").unlink(), "best/d/0 is missing"),
    (lambda s: (s / "stream/new").write_text("x"), "stream/new was added"),
    (lambda s: (s / "best").rename(s / "b"), "best is missing"),
    (
      lambda s: (s / "digests/SHA256SUMS").unlink(),
      "digests/SHA256SUMS is missing",
    ),
    (lambda s: (s / "digests/run.json").unlink(), "digests/run.json is missin"),
    (lambda s: write_settings(s.parents[1], seed=1), "another run: seed diffe"),
  ],
)
def test_what_is_wrong_is_told(step, damage, message):
  damage(step)
  assert message in checkpoint_files.find_damage(step)


def test_a_step_under_the_name_of_another_one(step):
  other = step.rename(step.with_name("30"))
  found = checkpoint_files.find_damage(other)
  assert found == "it is the checkpoint of step 20"


def test_a_run_may_be_moved_with_what_it_starts_from(step):
  run = step.parents[1]
  write_settings(run, backbone="/new/t5", slots=[{"source": "b"}])
  assert checkpoint_files.find_damage(step) is None
  moved = run.rename(run.with_name("moved"))
  assert checkpoint_files.find_damage(moved / "checkpoints" / "20") is None


def test_a_step_of_a_version_without_digests_is_looked_over(step):
  for path in (step / "digests").iterdir():
    path.unlink()
  (step / "digests").rmdir()
  # Its metadata still names the digests that it had.
  found = checkpoint_files.find_damage(step)
  assert found == "digests/SHA256SUMS is missing"
  (step / "_CHECKPOINT_METADATA").write_text('{"item": "state"}')
  assert checkpoint_files.find_damage(step) is None
  assert not checkpoint_files.is_compared(step)


def test_an_empty_step(tmp_path):
  (tmp_path / "5").mkdir()
  found = checkpoint_files.find_damage(tmp_path / "5")
  assert found == "the folder is empty"


def test_steps_are_folders_with_plain_numbers(tmp_path):
  assert checkpoint_files.find_steps(tmp_path) == []
  assert checkpoint_files.find_others(tmp_path) == []
  folder = tmp_path / checkpoint_files.FOLDER
  names = ("9", "10", "200", "010", "30.orbax-checkpoint-tmp", "٣", ".hidden")
  for name in names:
    (folder / name).mkdir(parents=True)
  (folder / "40").write_text("a file")
  assert checkpoint_files.find_steps(tmp_path) == [200, 10, 9]
  others = [path.name for path in checkpoint_files.find_others(tmp_path)]
  assert others == ["010", "30.orbax-checkpoint-tmp", "40", "٣"]


def test_damaged_steps_are_kept_aside_under_their_own_names(step):
  run = step.parents[1]
  aside = run / checkpoint_files.ASIDE
  for number, name in enumerate(("20", "20-2", "20-3")):
    step.mkdir(exist_ok=True)
    (step / "number").write_text(str(number))
    assert checkpoint_files.set_aside(run, 20) == aside / name
    assert not step.exists()
    assert (aside / name / "number").read_text() == str(number)
