"""A disk that is full: one clear line at the end, and hardly any other."""

import subprocess
import sys

import pytest
from program_runs import ROOT, command, environment
from train_fixtures import write_user_folder

SETTINGS = (
  'MIXTURE_OR_TASK_NAME="both"',
  "train.log_period=1",
  "TRAIN_STEPS=6",
  "CHECKPOINT_PERIOD=2",
)
LIMITED = """
import os, resource, sys
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("full_disk")
  return write_user_folder(folder, "full_test_tasks", 24)


# Bytes that a file may have, and what cannot be written then.
@pytest.mark.parametrize(
  ("size", "what"),
  [
    (100, "run.lock"),
    (4000, "config.gin"),
    (40000, "checkpoints/2"),
  ],
)
def test_the_last_line_says_what_cannot_be_written(folder, size, what):
  """The limit on a file's size stands for a disk without space."""
  run = f"run_{size}"
  own = environment(folder)
  # The cache of compiled programs would be cut too.
  own["JAX_ENABLE_COMPILATION_CACHE"] = "0"
  made = subprocess.run(
    [
      *(sys.executable, "-c", LIMITED, str(size)),
      *command(folder, "mpt_jax.train", "teacher", run, *SETTINGS),
    ],
    cwd=ROOT,
    env=own,
    capture_output=True,
    text=True,
  )
  assert made.returncode == 2, made.stderr[-4000:]
  # Lines of metrics are no errors.
  said = [
    x for x in made.stderr.splitlines() if not x.startswith("train train")
  ]
  assert len(said) <= 3, made.stderr
  assert said[-1].startswith("error: ") and "File too large" in said[-1]
  assert f"{run}/{what}" in said[-1]
