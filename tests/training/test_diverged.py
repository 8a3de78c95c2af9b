"""`python -m mpt_jax.train` with a slot that diverges."""

import json
import subprocess

import numpy as np
import pytest
from program_runs import ROOT, command, environment
from safetensors.numpy import load_file
from train_fixtures import write_user_folder

# The rate of the second slot alone makes its first update infinite.
SLOTS = """
from __gin__ import dynamic_registration
from mpt_jax.prompts import slots
one/slots.Slot.task = "first"
one/slots.Slot.learning_rate_scale = 0.03
two/slots.Slot.task = "second"
two/slots.Slot.learning_rate_scale = {scale}
SLOTS = (@one/slots.Slot(), @two/slots.Slot())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("diverged")
  return write_user_folder(folder, "diverged_test_tasks", 24)


def train(folder, run, scale):
  """Trains the slots; returns the exit code and standard error."""
  path = folder / f"{run}.gin"
  path.write_text(SLOTS.format(scale=scale))
  made = subprocess.run(
    [
      *command(folder, "mpt_jax.train", "teacher", run, "LEARNING_RATE=10.0"),
      f"--gin_file={path}",
    ],
    cwd=ROOT,
    env=environment(folder),
    capture_output=True,
    text=True,
  )
  return made.returncode, made.stderr


def test_the_command_ends_with_its_own_code_and_a_table(folder):
  # Equal rates of all slots would be another program, which rounds otherwise.
  code, error = train(folder, "healthy", 0.02)
  assert code == 0, error
  code, error = train(folder, "broken", 3e38)
  assert code == 3, error
  said = [line.strip() for line in error.splitlines()]
  fault = "train: second at step 1 (first in: update) is not finite"
  assert sum(line.startswith(fault) for line in said) == 1
  at = said.index("train: 1 of 2 slots diverged")
  table = [line.split() for line in said[at + 1 :]]
  assert table[0] == ["slot", "frozen", "since", "first", "in"]
  assert table[2] == ["second", "step", "1", "update"]
  for name in ("last", "best"):
    own, expected = (
      load_file(folder / run / "prompts" / f"{name}.safetensors")
      for run in ("broken", "healthy")
    )
    assert own.keys() == expected.keys() and own
    for key, value in own.items():
      np.testing.assert_array_equal(value[0], expected[key][0], err_msg=key)
      assert np.isfinite(value).all()
      # A slot that trains moves away from where this one is frozen.
      assert (value[1] != expected[key][1]).any()
  rows = [json.loads(x) for x in (folder / "broken/metrics.jsonl").open()]
  faults = [
    {k: row[k] for k in ("step", "slot", "term")}
    for row in rows
    if row["kind"] == "fault"
  ]
  assert faults == [{"step": 1, "slot": "second", "term": "update"}]
  # A finished run says so again.
  code, error = train(folder, "broken", 3e38)
  assert code == 3 and "train: 1 of 2 slots diverged" in error
