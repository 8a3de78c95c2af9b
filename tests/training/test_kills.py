"""Runs that are stopped and killed at random moments end equal to the bit.

`MPT_KILLS=20 pytest tests/training/test_kills.py` does it 20 times in each
case, also with two processes. `MPT_KILLS_SEED` draws other moments. Without
`MPT_KILLS`, each case has one kill, and `test_processes.py` stops two
processes.
"""

import json
import random
import signal

import jax
import kills
import numpy as np
import pytest
from program_runs import finish_processes, start_processes
from train_fixtures import write_user_folder

SETTINGS = (
  'MIXTURE_OR_TASK_NAME="both"',
  "TRAIN_STEPS=120",
  # Checkpoints, evaluations and lines of metrics at different steps.
  "CHECKPOINT_PERIOD=17",
  "EVAL_PERIOD=11",
  "train.log_period=7",
  "train.checkpoint_minutes=0.02",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("kills")
  return write_user_folder(folder, "killed_test_tasks", 24)


def start(folder, run, num_processes):
  arguments = (folder, "mpt_jax.train", "teacher", run, *SETTINGS)
  return start_processes(*arguments, each=[()] * num_processes)


def content(run):
  """Everything that a run leaves, without what depends on the clock."""
  rows = [json.loads(x) for x in (run / "metrics.jsonl").open()]
  for row in rows:
    for name in ("seconds", "tokens_per_second", "digest"):
      row.pop(name, None)
  # Of a killed save nothing is left.
  steps = sorted(int(p.name) for p in (run / "checkpoints").iterdir())
  newest = run / "checkpoints" / str(steps[-1])
  arrays = [kills.read_arrays(newest / item) for item in ("state", "best")]
  files = {p.name: p.read_bytes() for p in (run / "prompts").iterdir()}
  return rows, newest.name, arrays, files


@pytest.fixture(scope="module", params=kills.NUM_PROCESSES)
def whole(folder, request):
  """(number of processes, content of a run that nothing stops)."""
  name = f"whole_{request.param}"
  ended = finish_processes(start(folder, name, request.param))
  assert all(code == 0 for code, _ in ended), ended
  return request.param, content(folder / name)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_random_moments(folder, whole, signum):
  num_processes, expected = whole
  rng = random.Random(f"{kills.SEED} {num_processes} {signum}")
  sent = rounds = 0
  while sent < kills.KILLS:
    rounds += 1
    run = folder / f"{signum.name}_{num_processes}_{rounds}"
    metrics = run / "metrics.jsonl"

    def size(path=metrics):
      return path.stat().st_size if path.exists() else 0

    def begin(name=run.name):
      return start(folder, name, num_processes)

    left = kills.KILLS - sent
    sent += kills.finish(begin, run, size, signum, rng, left)
    # The position in the data differs: it has what tf.data had read ahead.
    rows, newest, arrays, files = content(run)
    assert rows == expected[0]
    assert newest == expected[1]
    jax.tree.map(np.testing.assert_array_equal, arrays, expected[2])
    assert files == expected[3]
