"""The step under t5x and a slot that diverges: as natively, to the bit.

Needs t5x, as `test_adapter.py` does.
"""

import subprocess

import numpy as np
import pytest
from program_runs import (
  ROOT,
  command,
  environment,
  kill_when,
  needs_t5x,
  own_scalars,
  t5x_scalars,
)
from train_fixtures import write_user_folder

from mpt_jax.prompts.bank import load_bank

pytestmark = needs_t5x
# The slot "second" diverges, and "first" does not.
SLOTS = """
from mpt_jax.prompts import slots
good/slots.Slot.task = "first"
bad/slots.Slot.task = "second"
bad/slots.Slot.learning_rate_scale = 1e37
"""
BINDINGS = (
  "SLOTS=(@good/slots.Slot(), @bad/slots.Slot())",
  "EVAL_PERIOD=4",
  "CHECKPOINT_PERIOD=10",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A user's folder with a run under t5x and one natively."""
  folder = write_user_folder(tmp_path_factory.mktemp("step"), "step_tasks", 24)
  own = folder / "own.gin"
  own.write_text(own.read_text() + SLOTS)
  folder.joinpath("own.log").write_text(run(folder, "mpt_jax.train", "own"))
  folder.joinpath("t5x.log").write_text(run(folder, "t5x.train", "theirs"))
  return folder


def run(folder, program, name):
  """Trains, and returns what the program wrote to standard error."""
  period = "log" if program.startswith("mpt_jax") else "stats"
  bindings = (*BINDINGS, f"train.{period}_period=1")
  made = subprocess.run(
    command(folder, program, "teacher", name, *bindings),
    cwd=ROOT,
    env=environment(folder),
    capture_output=True,
    text=True,
  )
  assert made.returncode == 3, made.stderr[-3000:]
  return made.stderr


def assert_equal_prompts(first, second):
  for file in ("last", "best"):
    made, expected = (
      load_bank(run / "prompts" / f"{file}.safetensors")
      for run in (first, second)
    )
    assert made.slots == expected.slots and made.names == expected.names
    for name, array in expected.params.items():
      np.testing.assert_array_equal(made.params[name], array, err_msg=file)
      assert np.isfinite(array).all()


def test_the_others_go_on_and_all_is_equal_natively(folder):
  theirs, own = folder / "theirs", folder / "own"
  assert_equal_prompts(theirs, own)
  assert t5x_scalars(theirs) == own_scalars_as_float32(own)
  bank = load_bank(theirs)
  assert "diverged" not in bank.slots[0]
  step, term = bank.slots[1]["diverged"].values()
  text = f"second at step {step} (first in: {term}) is not finite"
  for log in ("t5x.log", "own.log"):
    errors = (folder / log).read_text()
    assert errors.count(text) == 1
    assert "1 of 2 slots diverged" in errors


def own_scalars_as_float32(run):
  """t5x's events hold float32."""
  return {
    tag: {step: float(np.float32(value)) for step, value in values.items()}
    for tag, values in own_scalars(run).items()
  }


def test_a_killed_run_keeps_its_frozen_slot(folder):
  killed = folder / "killed"
  kill_when(
    (killed / "checkpoint_10" / "SHA256SUMS").exists,
    *(folder, "t5x.train", "teacher", "killed", *BINDINGS),
  )
  errors = run(folder, "t5x.train", "killed")
  assert "is not finite" not in errors  # It was said before.
  assert "1 of 2 slots diverged" in errors
  assert_equal_prompts(killed, folder / "theirs")


def test_a_finished_run_says_so_again(folder):
  assert "1 of 2 slots diverged" in run(folder, "t5x.train", "theirs")
