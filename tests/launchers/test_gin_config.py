"""The gin files as a user runs them, and the errors of wrong ones."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from train_fixtures import CACHE, write_user_folder

ROOT = pathlib.Path(__file__).parents[2]
SMALL = (
  "PROMPT_LENGTH=3",
  'TASK_FEATURE_LENGTHS={"inputs":16,"targets":4}',
  "BATCH_SIZE=8",
  "TRAIN_STEPS=2",
  "EvalConfig.num_rows=8",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A backbone, three tasks and the module that registers them."""
  folder = tmp_path_factory.mktemp("gin")
  return write_user_folder(folder, "gin_test_tasks", 8)


def launch(folder, *arguments, bindings=(), small=True):
  """Runs the launcher; (exit code, standard error)."""
  values = [*(SMALL if small else ()), *bindings]
  command = [
    sys.executable,
    "-m",
    "mpt_jax.train",
    *arguments,
    *(f"--gin.{value}" for value in values),
  ]
  environment = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
    "XLA_FLAGS": "",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  made = subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True
  )
  return made.returncode, made.stderr


def quoted(value):
  return f'"{value}"'


def run_stage(folder, stage, *bindings):
  code, errors = launch(
    folder,
    f"--gin_file={folder}/own.gin",
    f"--gin_file=gin/mpt_{stage}.gin",
    bindings=[
      f"MODEL_DIR={quoted(folder / stage)}",
      f"INITIAL_CHECKPOINT_PATH={quoted(folder / 't5')}",
      *bindings,
    ],
  )
  assert code == 0, errors[-3000:]
  return errors


def test_the_three_stages_run_from_their_files(folder):
  sources = 'MIXTURE_OR_TASK_NAME=("first","second")'
  errors = run_stage(folder, "teacher", sources)
  # The output has only the run's own lines, no noise of the libraries.
  for line in errors.splitlines():
    assert line.startswith("train "), errors
  run_stage(
    folder, "distill", sources, f"TEACHERS={quoted(folder / 'teacher')}"
  )
  run_stage(
    folder,
    "adapt",
    'MIXTURE_OR_TASK_NAME="third"',
    "SHOTS=(2,)",
    "SEEDS=(0,1)",
    f"SOURCE={quoted(folder / 'distill')}",
  )
  lines = (folder / "distill" / "metrics.jsonl").read_text().splitlines()
  assert {"loss", "kl", "hidden"} <= json.loads(lines[0]).keys()
  assert (folder / "adapt" / "prompts" / "best.safetensors").is_file()
  assert (
    "INITIAL_CHECKPOINT_PATH" in (folder / "adapt" / "config.gin").read_text()
  )


def test_modules_of_the_commands_folder_are_found(tmp_path, monkeypatch, capfd):
  from mpt_jax.cli import main as cli

  (tmp_path / "tasks_of_mine.py").write_text("")
  (tmp_path / "mine.gin").write_text(
    "from __gin__ import dynamic_registration\nimport tasks_of_mine\n"
    'include "gin/mpt_teacher.gin"\n'
  )
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
  arguments = ["train", "--gin_file=mine.gin", "--gin.MODEL_DIR='x'"]
  with pytest.raises(SystemExit) as left:
    cli.main([*arguments, "--gin.MIXTURE_OR_TASK_NAME='no_such_task'"])
  errors = capfd.readouterr().err
  assert left.value.code == 2 and "unknown task 'no_such_task'" in errors
  # The error does not list where else gin looked for the included file.
  assert errors.count("\n") == 1


WRONG = {
  "malformed value": (["BATCH_SIZE=[8"], "BATCH_SIZE"),
  "unknown macro's argument": (["MixConfig.batch_siz=8"], "batch_siz"),
  "unknown name": (["NoSuchThing.value=8"], "NoSuchThing"),
  "value out of range": (
    ['MixConfig.mixing="mixed"'],
    "error: MixConfig.mixing must be one of",
  ),
  # The name is the one that the user wrote.
  "a macro's value": (
    ["TRAIN_STEPS=2.5"],
    "error: TRAIN_STEPS must be a whole number of at least 1, got 2.5\n",
  ),
  "an argument's value": (
    ["Experiment.total_steps=2.5"],
    "error: Experiment.total_steps must be a whole number of at least 1, got"
    " 2.5\n",
  ),
  "a macro of a macro": (
    ["TRAIN_STEPS=%BATCH_SIZE", "BATCH_SIZE=0"],
    "error: BATCH_SIZE must be a whole number",
  ),
  "near-miss": (
    ['TRAINABLE="promt"'],
    "error: TRAINABLE must be one of prompt, everything, got 'promt'. Did you"
    " mean prompt?\n",
  ),
  "an argument of the maker": (
    ["NUM_ROWS=0"],
    "error: NUM_ROWS must be a whole number of at least 1, got 0\n",
  ),
  "part of a value": (
    ['TASK_FEATURE_LENGTHS={"inputs":16,"targets":0}'],
    "error: TASK_FEATURE_LENGTHS['targets'] must be a whole number",
  ),
  "two settings": (
    ["PROMPT_LENGTH=0"],
    "error: PROMPT_LENGTH must be at least 1 where TRAINABLE='prompt', got 0",
  ),
  "an object of another class": (
    ["NETWORK=3"],
    "error: NETWORK must be of the class T5Config, got 3",
  ),
  "an argument of train": (
    ["CHECKPOINT_PERIOD=-1"],
    "error: CHECKPOINT_PERIOD must be a whole number of at least 1, got -1\n",
  ),
  "what train finds out": (
    ["BATCH_SIZE=7"],
    "error: BATCH_SIZE=7 is not a multiple of the 4 slots",
  ),
  "no MODEL_DIR": ([], "MODEL_DIR"),
  "misspelt macro, a space": (
    ["EVAL_PERIODS =1"],
    "--gin.EVAL_PERIODS: no gin",
  ),
  "misspelt macro, a scope": (["a/TRAIN_STEP=1"], "--gin.TRAIN_STEP: no gin"),
  "misspelt macro": (
    ["TRAIN_STEP=2"],
    "--gin.TRAIN_STEP: no gin file of this command uses a macro of this name."
    " Did you mean TRAIN_STEPS",
  ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_values_give_one_line(what, capfd):
  from mpt_jax.launchers import gin_config as gin_main

  bindings, expected = WRONG[what]
  if bindings:
    bindings = [*bindings, 'MODEL_DIR="/nonexistent/run"']
  code = gin_main.main(
    ["--gin_file=gin/mpt_teacher.gin", *(f"--gin.{b}" for b in bindings)]
  )
  errors = capfd.readouterr().err
  assert code == 2
  assert errors.startswith("error: ") and errors.count("\n") == 1
  assert expected in errors


def test_a_setting_is_named_by_the_macro_of_its_scope():
  from mpt_jax.launchers import gin_config, gin_names

  with pytest.raises(ValueError, match=r"^TUNED_SCALES\[1\] must be a number"):
    gin_config.load_config(
      ["gin/mpt_compare.gin"],
      ["MODEL_DIR = 'x'", "TUNED_SCALES = (1, -1)"],
      (),
    )
  # Text that looks like a setting but is not one stays as it is.
  text = "train.jsonl: Experiment.total_steps=3 of Slot.seed, see Nothing.seed"
  gin_config.load_config(
    ["gin/mpt_teacher.gin"], ["MODEL_DIR = 'x'", "TRAIN_STEPS = 3"], ()
  )
  assert gin_names.as_written(text) == text.replace(
    "Experiment.total_steps", "TRAIN_STEPS"
  )


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (["--gin_file=gin/mpt_teach.gin"], "no gin file 'gin/mpt_teach.gin'"),
    (["--gin_fil=x"], "unknown argument '--gin_fil=x'"),
    (["--gin.SEED=1"], "at least one --gin_file"),
    (["--gin_file"], "--gin_file needs a value"),
  ],
)
def test_wrong_arguments_give_one_line(arguments, expected, capfd):
  from mpt_jax.launchers import gin_config as gin_main

  assert gin_main.main(arguments) == 2
  errors = capfd.readouterr().err
  assert errors.startswith("error: ") and errors.count("\n") == 1
  assert expected in errors
