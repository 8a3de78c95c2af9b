"""Runs that are stopped and killed at random moments end equal to the bit.

`MPT_KILLS=20 pytest tests/training/test_kills.py` does it 20 times in each
case, also with two processes. `MPT_KILLS_SEED` draws other moments. Without
`MPT_KILLS`, each case has one kill, and `test_processes.py` stops two
processes.
"""

import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest
from program_runs import finish_processes, start_processes
from train_fixtures import write_user_folder

KILLS = int(os.environ.get("MPT_KILLS", "1"))
SEED = int(os.environ.get("MPT_KILLS_SEED", "0"))
SETTINGS = (
  'MIXTURE_OR_TASK_NAME="both"',
  "TRAIN_STEPS=120",
  # Checkpoints, evaluations and lines of metrics at different steps.
  "CHECKPOINT_PERIOD=17",
  "EVAL_PERIOD=11",
  "train.log_period=7",
  "train.checkpoint_minutes=0.02",
)
# The exit codes of the signals; of a process that starts, Python's own.
CODES = {signal.SIGTERM: (0, 143, -15), signal.SIGKILL: (0, -9)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("kills")
  return write_user_folder(folder, "killed_test_tasks", 24)


def start(folder, run, num_processes):
  arguments = (folder, "mpt_jax.train", "teacher", run, *SETTINGS)
  return start_processes(*arguments, each=[()] * num_processes)


def content(run):
  """Everything that a run leaves, without what depends on the clock."""
  import orbax.checkpoint as ocp

  rows = [json.loads(x) for x in (run / "metrics.jsonl").open()]
  for row in rows:
    for name in ("seconds", "tokens_per_second", "digest"):
      row.pop(name, None)
  # A killed save leaves a folder that is not named after its step.
  steps = [p for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
  newest = max(steps, key=lambda p: int(p.name))
  restore = ocp.StandardCheckpointer().restore
  arrays = {item: restore(newest / item) for item in ("state", "best")}
  files = {p.name: p.read_bytes() for p in (run / "prompts").iterdir()}
  return rows, newest.name, arrays, files


@pytest.fixture(
  scope="module", params=(1, 2) if "MPT_KILLS" in os.environ else (1,)
)
def whole(folder, request):
  """(number of processes, content of a run that nothing stops)."""
  name = f"whole_{request.param}"
  ended = finish_processes(start(folder, name, request.param))
  assert all(code == 0 for code, _ in ended), ended
  return request.param, content(folder / name)


def wait_for_a_moment(rng, run, running):
  """Waits for a random time, or for a random number of lines of metrics."""
  if rng.random() < 0.3:
    # Before that, Python itself starts, and handles no signals yet.
    time.sleep(rng.uniform(2, 12))
    return
  path = run / "metrics.jsonl"

  def lines():
    return path.read_bytes().count(b"\n") if path.exists() else 0

  wanted = lines() + rng.randrange(1, 12)
  while lines() < wanted and all(p.poll() is None for p in running):
    time.sleep(0.001)
  time.sleep(rng.uniform(0, 0.1))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_random_moments(folder, whole, signum):
  num_processes, expected = whole
  rng = random.Random(f"{SEED} {num_processes} {signum}")
  kills = rounds = 0
  while kills < KILLS:
    rounds += 1
    run = folder / f"{signum.name}_{num_processes}_{rounds}"
    code = None
    while code != 0:
      running = start(folder, run.name, num_processes)
      # The run has to end at some time.
      if kills < KILLS:
        wait_for_a_moment(rng, run, running)
        # A kill is of all, as it is of a preempted machine.
        chosen = running if signum == signal.SIGKILL else [rng.choice(running)]
        for process in chosen:
          process.send_signal(signum)
        kills += 1
      ended = finish_processes(running)
      for code, error in ended:
        assert code in CODES[signum], (code, error[-4000:])
      code = max(abs(code) for code, _ in ended)
    # The position in the data differs: it has what tf.data had read ahead.
    rows, newest, arrays, files = content(run)
    assert rows == expected[0]
    assert newest == expected[1]
    jax.tree.map(np.testing.assert_array_equal, arrays, expected[2])
    assert files == expected[3]
