"""Runs of t5x that are stopped and killed at random moments end the same.

Needs t5x, as `test_adapter.py` does; see `tests/training/test_kills.py` for the
settings.
"""

import json
import random
import signal

import jax
import kills
import numpy as np
import pytest
from program_runs import finish_processes, needs_t5x, start_processes
from train_fixtures import write_user_folder

pytestmark = needs_t5x
SETTINGS = (
  'MIXTURE_OR_TASK_NAME="both"',
  "TRAIN_STEPS=120",
  # Checkpoints, evaluations and lines of metrics at different steps.
  "CHECKPOINT_PERIOD=17",
  "EVAL_PERIOD=11",
  "train.stats_period=7",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("kills")
  return write_user_folder(folder, "killed_t5x_tasks", 24)


def start(folder, run, num_processes):
  arguments = (folder, "t5x.train", "teacher", run, *SETTINGS)
  return start_processes(*arguments, each=[()] * num_processes)


def content(run):
  """What a run leaves: its newest checkpoint, prompts and evaluations."""
  found = {p.name.partition(".")[0] for p in run.iterdir()}
  steps = [int(n[11:]) for n in found if n.startswith("checkpoint_")]
  # Nothing is left of a killed save, but a step that had no digests yet.
  names = {p.name for p in run.iterdir() if not p.name.startswith("events")}
  names -= {f"checkpoint_{step}" for step in steps} | {"damaged_checkpoints"}
  newest = run / f"checkpoint_{max(steps)}"
  evaluations = {}
  for path in (run / "inference_eval").glob("*-metrics.jsonl"):
    for line in path.read_text().splitlines():
      row = json.loads(line)
      # A step that a killed run had evaluated comes again.
      known = evaluations.setdefault((path.name, row["step"]), row)
      assert known == row
  files = {p.name: p.read_bytes() for p in (run / "prompts").iterdir()}
  arrays = kills.read_arrays(newest / "state")
  # The losses that t5x logs are means since the last line or the last start.
  return names, newest.name, arrays, files, evaluations


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
    prompts = run / "prompts" / "last.safetensors"

    def written(path=prompts):
      return path.stat().st_mtime_ns if path.exists() else 0

    def begin(name=run.name):
      return start(folder, name, num_processes)

    left = kills.KILLS - sent
    sent += kills.finish(begin, run, written, signum, rng, left)
    names, newest, arrays, files, evaluations = content(run)
    assert names == expected[0]
    assert newest == expected[1]
    jax.tree.map(np.testing.assert_array_equal, arrays, expected[2])
    assert files == expected[3]
    # A killed process may lose what it logged after its last checkpoint.
    assert evaluations.items() <= expected[4].items()
