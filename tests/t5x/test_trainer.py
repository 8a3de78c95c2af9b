"""Runs of t5x.train that end early, diverge or are damaged.

Needs t5x, as `test_adapter.py` does.
"""

import json
import signal
import subprocess

import numpy as np
import pytest
from program_runs import (
  ROOT,
  command,
  environment,
  finish_processes,
  launch,
  launch_processes,
  needs_t5x,
  start_processes,
  wait_for,
)
from safetensors.numpy import load_file
from train_fixtures import write_user_folder

from mpt_jax.prompts.bank import load_bank

pytestmark = needs_t5x
BOTH = 'MIXTURE_OR_TASK_NAME="both"'
OFTEN = ("EVAL_PERIOD=4", "CHECKPOINT_PERIOD=10", "train.stats_period=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A user's folder with a whole run, `whole`."""
  folder = tmp_path_factory.mktemp("trainer")
  write_user_folder(folder, "trainer_test_tasks", 24)
  launch(folder, "t5x.train", "teacher", "whole", BOTH, *OFTEN)
  return folder


def prompts_of(run, file="best"):
  return load_file(run / "prompts" / f"{file}.safetensors")


def assert_equal_runs(run, other):
  """Last and best prompts are equal to the bit, and so are the best steps."""
  for file in ("last", "best"):
    made, expected = prompts_of(run, file), prompts_of(other, file)
    assert made.keys() == expected.keys()
    for name in expected:
      np.testing.assert_array_equal(made[name], expected[name], err_msg=file)
  banks = [load_bank(r / "prompts" / "best.safetensors") for r in (run, other)]
  assert banks[0].slots == banks[1].slots


def test_the_best_step_is_the_native_launchers(folder):
  launch(folder, "mpt_jax.train", "teacher", "own", BOTH, *OFTEN[:2])
  theirs, own = (
    load_bank(folder / run / "prompts" / "best.safetensors")
    for run in ("whole", "own")
  )
  assert theirs.slots == own.slots
  np.testing.assert_array_equal(theirs.composed, own.composed)
  # The metrics of all evaluations, at t5x's place.
  lines = (folder / "own" / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  for name in ("first", "second"):
    file = folder / "whole" / "inference_eval" / f"mpt.{name}-metrics.jsonl"
    made = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(m["step"], m["accuracy"]) for m in made] == [
      (row["step"], row[f"accuracy/{name}"])
      for row in rows
      if row["kind"] == "eval"
    ]


def stop(folder, run, signum, *bindings):
  """Starts a run, sends a signal once it has prompts; (exit code, errors)."""
  process = subprocess.Popen(
    command(folder, "t5x.train", "teacher", run, BOTH, *OFTEN, *bindings),
    cwd=ROOT,
    env=environment(folder),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  lines = []
  for line in process.stderr:
    lines.append(line)
    if "[3] collection=train" in line:
      process.send_signal(signum)
  return process.wait(), "".join(lines)


@pytest.mark.parametrize(
  ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_stopped_run_resumes_to_the_bit(folder, signum, code):
  run = f"stopped_{code}"
  ended, errors = stop(folder, run, signum)
  assert ended == code, errors[-2000:]
  saved, resume = errors.splitlines()[-2:]
  (checkpoint,) = (folder / run).glob("checkpoint_[1-9]*")
  step = int(checkpoint.name.removeprefix("checkpoint_"))
  assert saved == f"step {step} of 20 is saved in {checkpoint}"
  assert resume.startswith(f"stopped by {signum.name}; the same command goes")
  assert "-m t5x.train --gin_file=" in resume
  assert 3 <= step < 20
  launch(folder, "t5x.train", "teacher", run, BOTH, *OFTEN)
  assert_equal_runs(folder / run, folder / "whole")


def test_a_run_that_diverges_keeps_its_good_checkpoint(folder):
  errors = launch(
    *(folder, "t5x.train", "teacher", "diverged", BOTH),
    *("LEARNING_RATE=1e37", "CHECKPOINT_PERIOD=1", "EVAL_PERIOD=1"),
    fails=True,
  )
  line = errors.splitlines()[-1]
  assert line.startswith("error: no slot is left to train: first at step ")
  assert "(first in: " in line and ", second at step " in line
  assert "are not finite; the run stopped at its last checkpoint" in line
  for file in (folder / "diverged" / "prompts").glob("*"):
    for name, array in load_file(file).items():
      assert np.isfinite(array).all(), (file, name)
  assert list((folder / "diverged").glob("checkpoint_*"))


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(folder):
  launch(folder, "t5x.train", "teacher", "damaged", BOTH, *OFTEN)
  newest = folder / "damaged" / "checkpoint_20"
  assert (newest / "SHA256SUMS").is_file()
  largest = max(
    (p for p in (newest / "state").rglob("*") if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  data = bytearray(largest.read_bytes())
  data[len(data) // 2] ^= 1
  largest.write_bytes(data)
  for name in ("last", "best"):
    (folder / "damaged" / "prompts" / f"{name}.safetensors").unlink()
  # An evaluation names the damage and takes step 10; it moves nothing.
  steps = {
    "damaged": folder / "damaged",
    "whole": folder / "whole/checkpoint_10",
  }
  made = {}
  for run, path in steps.items():
    out = folder / f"eval_{run}"
    errors = launch(
      *(folder, "t5x.eval", "teacher", run, BOTH, "BEST=False"),
      *(f'CHECKPOINT_PATH="{path}"', f'EVAL_OUTPUT_DIR="{out}"'),
    )
    files = sorted((out / "inference_eval").glob("*-metrics.jsonl"))
    made[run] = [file.read_text() for file in files]
    for line in (
      "the checkpoint of step 20 is damaged: the SHA-256 of",
      "taking the older checkpoint of step 10",
    ):
      assert (line in errors) == (run == "damaged")
  assert made["damaged"] == made["whole"] and len(made["whole"]) == 2
  assert newest.is_dir()
  errors = launch(folder, "t5x.train", "teacher", "damaged", BOTH, *OFTEN)
  assert "the checkpoint of step 20 is damaged: the SHA-256 of" in errors
  assert "resuming from the older checkpoint of step 10" in errors
  assert_equal_runs(folder / "damaged", folder / "whole")


@pytest.mark.parametrize("receivers", [(1,), (0, 1)])
def test_processes_stop_at_the_same_step(folder, receivers):
  run = folder / f"two_{len(receivers)}"
  arguments = (folder, "t5x.train", "teacher", run.name, BOTH, *OFTEN)
  running = start_processes(*arguments)
  wait_for((run / "checkpoint_0").is_dir, running)
  for index in receivers:
    running[index].send_signal(signal.SIGTERM)
  ended = finish_processes(running)
  saved = {error.splitlines()[-2] for _, error in ended}
  assert [code for code, _ in ended] == [143, 143], ended
  (checkpoint,) = run.glob("checkpoint_[1-9]*")
  step = checkpoint.name.removeprefix("checkpoint_")
  assert saved == {f"step {step} of 20 is saved in {checkpoint}"}
  assert int(step) < 20
  launch_processes(*arguments)
  for file in ("last", "best"):
    for name, array in prompts_of(folder / "whole", file).items():
      made = prompts_of(run, file)[name]
      np.testing.assert_allclose(made, array, atol=1e-4, err_msg=file)
