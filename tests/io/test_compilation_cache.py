"""The next process finds the compiled programs."""

import os
import pathlib
import subprocess
import sys

from train_fixtures import write_user_folder

ROOT = pathlib.Path(__file__).parents[2]
CODE = """
from mpt_jax.io.compilation_cache import use_compilation_cache
use_compilation_cache()
import jax
jax.jit(lambda x: 2 * x)(3.0)
print(jax.config.jax_compilation_cache_dir)
"""


def launch(*command, **variables):
  """Runs Python with these variables and none of JAX's; its output."""
  environment = {k: v for k, v in os.environ.items() if k[:4] != "JAX_"}
  environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  made = subprocess.run(
    [sys.executable, *command],
    cwd=ROOT,
    env={**environment, **{k: str(v) for k, v in variables.items()}},
    capture_output=True,
    text=True,
  )
  assert made.returncode == 0, made.stderr
  return made.stdout.strip()


def run(**variables):
  """Compiles something; returns the folder of the cache. No warnings."""
  return launch("-W", "error", "-c", CODE, **variables)


def entries(folder):
  return {path.name: path.read_bytes() for path in folder.rglob("*-cache")}


def test_another_process_finds_it(tmp_path):
  folder = run(MPT_CACHE_DIR=tmp_path)
  assert folder.startswith(str(tmp_path / "xla"))
  made = entries(tmp_path)
  assert made
  # Read entries are marked, and existing entries are not made again.
  assert run(MPT_CACHE_DIR=tmp_path) == folder and entries(tmp_path) == made


def test_a_chosen_folder_is_kept(tmp_path):
  own = tmp_path / "own"
  folder = run(MPT_CACHE_DIR=tmp_path, JAX_COMPILATION_CACHE_DIR=own)
  assert folder == str(own) and entries(own)
  assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_it_can_be_turned_off(tmp_path):
  run(MPT_CACHE_DIR=tmp_path, JAX_ENABLE_COMPILATION_CACHE=0)
  assert not entries(tmp_path)


def test_no_place_for_it_is_no_error(tmp_path):
  (tmp_path / "file").touch()
  assert run(MPT_CACHE_DIR=tmp_path / "file") == "None"


SUM = """
import warnings
from mpt_jax.io.compilation_cache import use_compilation_cache
from jax._src import compilation_cache
class Zstandard:
  pass
compilation_cache.zstandard = Zstandard  # As if it were installed.
use_compilation_cache()
import jax
with warnings.catch_warnings(record=True) as found:
  warnings.simplefilter("always")
  print(float(jax.jit(lambda x: 2 * x + 0.5)(3.0)), len(found))
"""


def test_a_damaged_program_is_compiled_again(tmp_path):
  for _ in range(2):
    assert launch("-c", SUM, MPT_CACHE_DIR=tmp_path) == "6.5 0"
  for path in tmp_path.rglob("*-cache"):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
  assert launch("-c", SUM, MPT_CACHE_DIR=tmp_path).startswith("6.5 ")
  # The program itself was refused, and not only the small ones beside it.
  assert launch("-c", SUM, MPT_CACHE_DIR=tmp_path)[-1] != "0"


def test_programs_use_it(tmp_path):
  folder = write_user_folder(tmp_path / "user", "cache_test_tasks", 8)
  variables = {
    "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
    "MPT_CACHE_DIR": tmp_path / "cache",
  }
  values = (
    f'MODEL_DIR="{folder / "run"}"',
    f'INITIAL_CHECKPOINT_PATH="{folder / "t5"}"',
    'MIXTURE_OR_TASK_NAME="first"',
    'TASK_FEATURE_LENGTHS={"inputs":16,"targets":4}',
    "PROMPT_LENGTH=3",
    "BATCH_SIZE=4",
    "TRAIN_STEPS=1",
    "Experiment.eval=None",
  )
  launch(
    *("-m", "mpt_jax.train", f"--gin_file={folder / 'own.gin'}"),
    *("--gin_file=gin/mpt_teacher.gin", *(f"--gin.{v}" for v in values)),
    **variables,
  )
  trained = entries(tmp_path / "cache")
  assert any("train_step" in name for name in trained)
  (folder / "in.txt").write_text("red house\n")
  launch(
    *("-m", "mpt_jax", "predict", "--prompts", folder / "run"),
    *("--input", folder / "in.txt"),
    **variables,
  )
  assert len(entries(tmp_path / "cache")) > len(trained)
