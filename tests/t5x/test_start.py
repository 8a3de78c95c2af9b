"""The start of a run under t5x: one writer, equal processes, its own folder.

Needs t5x, as `test_adapter.py` does.
"""

import dataclasses
import os
import subprocess
import time

import numpy as np
import pytest
from program_runs import (
  ROOT,
  command,
  environment,
  launch,
  launch_processes,
  needs_t5x,
)
from train_fixtures import (
  save_tiny_backbone,
  tiny_experiment,
  tiny_tasks,
  write_user_folder,
)

from mpt_jax.prompts.slots import make_slots

__all__ = ["tiny_tasks"]

pytestmark = needs_t5x
BOTH = 'MIXTURE_OR_TASK_NAME="both"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("start")
  return write_user_folder(folder, "start_test_tasks", 24)


@pytest.fixture
def experiment(tiny_tasks, tmp_path):
  backbone = save_tiny_backbone(tmp_path / "t5")
  return tiny_experiment(make_slots(tiny_tasks[:2]), backbone)


@pytest.fixture
def start():
  from mpt_jax.t5x.start import Start

  made = Start()
  yield made
  made.release()


def test_the_folder_is_held_until_it_is_released(start, experiment, tmp_path):
  from mpt_jax.t5x.start import Start

  run = tmp_path / "run"
  assert not start.has_met
  assert start.take_folder(str(run), experiment) == str(run)
  assert start.has_met and (run / "run.lock").exists()
  with pytest.raises(ValueError, match=f"process {os.getpid()}"):
    Start().take_folder(str(run), experiment)
  # Another folder of the same process lets the first one go.
  start.take_folder(str(tmp_path / "other"), experiment)
  other = Start()
  other.take_folder(str(run), experiment)
  other.release()


def test_patterns_and_runs_of_others_are_refused(start, experiment, tmp_path):
  from mpt_jax.t5x import data
  from mpt_jax.training import run_folder

  with pytest.raises(ValueError, match="MODEL_DIR.*pattern"):
    start.take_folder(str(tmp_path / "run*"), experiment)
  assert not list(tmp_path.glob("run*"))
  run = tmp_path / "run"
  run.mkdir()
  settings = data.settings_of_run(data.assemble(experiment))
  run_folder.write_settings(run, settings, "")
  start.take_folder(str(run), experiment)
  (run / "prompts").mkdir()
  longer = dataclasses.replace(experiment, prompt_length=5)
  with pytest.raises(ValueError, match="prompt_length"):
    start.take_folder(str(run), longer)


def test_an_early_end_that_t5x_does_not_know_is_refused(
  start, experiment, tmp_path
):
  config = dataclasses.replace(experiment.eval, patience=1)
  early = dataclasses.replace(experiment, eval=config)
  with pytest.raises(ValueError, match="EvalConfig.patience=1: t5x trains to"):
    start.take_folder(str(tmp_path / "run"), early)
  assert not (tmp_path / "run").exists()


def test_answers_of_other_prompts_do_not_pass_for_new_ones(
  experiment, tmp_path
):
  from mpt_jax.t5x.start import answers_dir

  out, step = tmp_path / "out", tmp_path / "checkpoint_4"
  first = {"shared_prompt": np.zeros((2, 3, 32), np.float32)}
  second = {"shared_prompt": np.ones((2, 3, 32), np.float32)}

  def start_answers(prompts, experiment=experiment):
    assert answers_dir(str(out), experiment, str(step), prompts) == str(out)

  start_answers(first)
  # Nothing is answered yet.
  start_answers(second)
  completed = out / "mpt_mixed-predict.jsonl-00000-of-00001.COMPLETED"
  begun = out / "tmp-mpt_mixed-00000-of-00001"
  config = dataclasses.replace(experiment.eval, method="decode")
  other = dataclasses.replace(experiment, eval=config)
  for make, remove in (
    (completed.touch, completed.unlink),
    (begun.mkdir, begun.rmdir),
  ):
    make()
    start_answers(second)
    for prompts in (first, None):
      with pytest.raises(
        ValueError, match=r"INFER_OUTPUT_DIR=.*/out has .*\(the prompts\)"
      ):
        start_answers(prompts)
    with pytest.raises(ValueError, match=r"settings \(eval.method\), which"):
      start_answers(second, other)
    remove()
  # A checkpoint is known by its digests.
  step.mkdir()
  (step / "SHA256SUMS").write_text("1")
  start_answers(None)
  completed.touch()
  start_answers(None)
  (step / "SHA256SUMS").write_text("2")
  with pytest.raises(ValueError, match=r"\(the prompts\)"):
    start_answers(None)
  known = out / "answers.json"
  known.write_text(known.read_text().replace("3", "4", 1))
  with pytest.raises(ValueError, match="answers.json is damaged"):
    start_answers(None)
  known.write_text("{}")
  with pytest.raises(ValueError, match="what made them"):
    start_answers(None)
  known.unlink()
  with pytest.raises(ValueError, match="what made them"):
    start_answers(None)


def test_what_an_interrupted_save_left_is_cleared(start, experiment, tmp_path):
  run = tmp_path / "run"
  unfinished = run / "checkpoint_10.orbax-checkpoint-tmp-3"
  unfinished.mkdir(parents=True)
  start.take_folder(str(run), experiment)
  assert not unfinished.exists()


def test_a_folder_has_one_writer(folder):
  started = subprocess.Popen(
    command(folder, "t5x.train", "teacher", "held", BOTH, "TRAIN_STEPS=100000"),
    cwd=ROOT,
    env=environment(folder),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 600
  while not (folder / "held" / "run.lock").exists():
    assert started.poll() is None and time.monotonic() < deadline
    time.sleep(0.1)
  errors = launch(
    *(folder, "t5x.train", "teacher", "held", BOTH, "TRAIN_STEPS=100000"),
    fails=True,
  )
  started.kill()
  started.wait()
  line = errors.splitlines()[-1]
  assert line.startswith("error: ") and f"process {started.pid} on" in line


def test_processes_with_different_settings_are_refused(folder):
  errors = launch_processes(
    *(folder, "t5x.train", "teacher", "differ", BOTH),
    each=((), ("LEARNING_RATE=0.5",)),
    fails=True,
  )
  for error in errors:
    assert "process 1 differs from process 0 in" in error
    assert "LEARNING_RATE" in error
  assert not (folder / "differ" / "experiment.json").exists()
