"""Several processes give the same files as one process."""

import json
import shutil
import signal
import time

import numpy as np
import pytest
from program_runs import (
  assert_equal_losses,
  finish_processes,
  kill_when,
  launch,
  launch_processes,
  own_scalars,
  start_processes,
  wait_for,
)
from safetensors.numpy import load_file
from train_fixtures import LABELS, write_user_folder

from mpt_jax.backbones import backbone
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import PromptBank

ALL = ('MIXTURE_OR_TASK_NAME="both"', "train.log_period=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A user's folder with teachers of the tasks of "both"."""
  folder = tmp_path_factory.mktemp("processes")
  write_user_folder(folder, "process_test_tasks", 24)
  rng = np.random.default_rng(0)
  PromptBank(
    {"shared_prompt": rng.normal(0, 1, (2, 3, 32)).astype(np.float32)},
    ("first", "second"),
    (0, 1),
    backbone.load_backbone(folder / "t5").fingerprint,
    tuple({"task": n, "label_names": LABELS} for n in ("first", "second")),
  ).save(folder / "teachers.safetensors")
  return folder


def distill(folder, run, *bindings):
  teachers = f'TEACHERS="{folder / "teachers.safetensors"}"'
  return (folder, "mpt_jax.train", "distill", run, *ALL, teachers, *bindings)


@pytest.fixture(scope="module")
def one(folder):
  """A run of one process with two devices."""
  launch(*distill(folder, "one", "EVAL_PERIOD=10"), num_devices=2)
  return folder / "one"


def prompts(run, name="last"):
  return load_file(run / "prompts" / f"{name}.safetensors")


def evaluations(run):
  lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
  return [
    {k: v for k, v in line.items() if k not in ("seconds", "digest")}
    for line in lines
    if line["kind"] == "eval"
  ]


def test_two_processes_train_what_one_trains(folder, one):
  errors = launch_processes(*distill(folder, "two", "EVAL_PERIOD=10"))
  two = folder / "two"
  # Every step in the file once, and on the terminal of process 0 alone.
  assert_equal_losses(own_scalars(one), own_scalars(two))
  lines = (two / "metrics.jsonl").read_text().splitlines()
  assert len(lines) == 20 + 2
  assert "train step 20/20" in errors[0] and "step" not in errors[1]
  assert evaluations(two) == evaluations(one)
  for name in ("last", "best"):
    for key, value in prompts(one, name).items():
      np.testing.assert_allclose(prompts(two, name)[key], value, atol=1e-5)


def test_a_run_resumes_with_other_processes(folder, one):
  run = folder / "killed"
  arguments = distill(folder, "killed", "EVAL_PERIOD=10")
  kill_when((run / "checkpoints" / "10").is_dir, *arguments)
  launch_processes(*arguments)
  assert_equal_losses(own_scalars(one), own_scalars(run))
  for key, value in prompts(one).items():
    np.testing.assert_allclose(prompts(run)[key], value, atol=1e-4)


def test_a_t5_that_lies_across_processes(folder):
  everything = (
    *('TRAINABLE="everything"', "PROMPT_LENGTH=0", "LEARNING_RATE=0.01"),
    'EvalConfig.method="decode"',
  )
  stage = (folder, "mpt_jax.train", "teacher")
  launch(*stage, "whole", *ALL, *everything)
  launch_processes(
    *(*stage, "parts", *ALL, *everything, "train.num_model_partitions=2")
  )
  whole, parts = folder / "whole", folder / "parts"
  assert_equal_losses(own_scalars(whole), own_scalars(parts))
  assert evaluations(parts) == evaluations(whole)
  made = load_file(parts / "backbone" / "params.safetensors")
  for key, value in load_file(
    whole / "backbone" / "params.safetensors"
  ).items():
    np.testing.assert_allclose(made[key], value, atol=1e-4, err_msg=key)


@pytest.mark.parametrize(
  ("changed", "text"),
  [
    ("SEED=1", "SEED (1, not 0)"),
    ("CHECKPOINT_PERIOD=5", "CHECKPOINT_PERIOD (5, not 10)"),
    ("EvalConfig.num_rows=16", "Experiment.eval.num_rows (16, not 8)"),
  ],
)
def test_processes_with_different_settings_are_refused(folder, changed, text):
  errors = launch_processes(
    *distill(folder, "mixed"), each=[(), (changed,)], fails=True
  )
  for error in errors:
    assert "the processes of a run need the same settings, code and" in error
    assert "process 1 differs from process 0 in" in error
    assert text in error
  assert not (folder / "mixed").exists()


def copy_for_process_1(folder, tmp_path):
  """Copies the tasks; process 1 runs in that folder and takes them there."""
  for path in folder.glob("*.jsonl"):
    shutil.copy(path, tmp_path)
  shutil.copy(folder / "process_test_tasks.py", tmp_path)


@pytest.mark.parametrize(
  ("name", "line", "text"),
  [
    ("first_train", 0, "the content of the first batch"),
    ("second_validation", 3, "the evaluation examples"),
  ],
)
def test_processes_with_different_data_are_refused(
  folder, tmp_path, name, line, text
):
  copy_for_process_1(folder, tmp_path)
  stale = tmp_path / f"{name}.jsonl"
  rows = stale.read_text().splitlines()
  # All rows of the training file, as a batch has some of them.
  changed = range(len(rows)) if line == 0 else [line]
  for i in changed:
    rows[i] = rows[i].replace('"text": "', '"text": "stale ')
  stale.write_text("\n".join(rows) + "\n")
  errors = launch_processes(
    *distill(folder, "stale"), each=[(), (tmp_path,)], fails=True
  )
  for error in errors:
    assert f"process 1 differs from process 0 in {text}\n" in error
  assert not (folder / "stale").exists()


def test_a_later_batch_that_differs_stops_the_run(folder, tmp_path):
  copy_for_process_1(folder, tmp_path)
  # The last row is in the first epoch, but not in the first batch.
  stale = tmp_path / "second_train.jsonl"
  rows = stale.read_text().splitlines()
  for i in (7, 12):
    rows[i] = rows[i].replace('"text": "', '"text": "stale ')
  stale.write_text("\n".join(rows) + "\n")
  errors = launch_processes(
    *distill(folder, "later"), each=[(), (tmp_path,)], fails=True
  )
  for error in errors:
    assert "the batches of process 1 differ from those of process 0" in error


def test_a_folder_that_is_not_shared_is_noticed(folder, tmp_path):
  places = [tmp_path / "zero", tmp_path / "one"]
  for place in places:
    place.mkdir()
  arguments = distill(folder, "unused", 'MODEL_DIR="apart"')
  begun = time.monotonic()
  errors = launch_processes(*arguments, each=[(p,) for p in places], fails=True)
  assert time.monotonic() - begun < 300
  for error in errors:
    assert (
      "apart on " in error and "need one MODEL_DIR that they share" in error
    )
  assert not list(places[0].iterdir()) and not list(places[1].iterdir())


def test_an_error_of_one_process_ends_all(folder):
  errors = launch_processes(
    *distill(folder, "failing"),
    each=[(), (f'TEACHERS="{folder / "none"}"',)],
    fails=True,
  )
  last = [error.splitlines()[-1] for error in errors]
  assert last[1].startswith("error: ") and "none" in last[1]
  assert last[0] == f"error: process 1 cannot go on: {last[1][7:]}"


@pytest.mark.parametrize(
  ("signum", "receivers"),
  [(signal.SIGTERM, (1,)), (signal.SIGTERM, (0, 1)), (signal.SIGINT, (0,))],
)
def test_processes_stop_at_the_same_step(folder, one, signum, receivers):
  name = f"{signum.name}_{len(receivers)}"
  run = folder / name
  arguments = distill(folder, name, "EVAL_PERIOD=10")
  running = start_processes(*arguments)
  wait_for((run / "metrics.jsonl").is_file, running)
  for index in receivers:
    running[index].send_signal(signum)
  ended = finish_processes(running)
  # A process that did not get the signal itself ends as by SIGTERM.
  codes = [128 + signum if i in receivers else 143 for i in (0, 1)]
  assert [code for code, _ in ended] == codes, ended
  launch_processes(*arguments)
  assert_equal_losses(own_scalars(one), own_scalars(run))
  assert evaluations(run) == evaluations(one)
  for key, value in prompts(one).items():
    np.testing.assert_allclose(prompts(run)[key], value, atol=1e-4)


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (["--process_count=2"], "need all of --coordinator_address=VALUE"),
    (["--coordinator_address=h:1", "--process_count=2"], "--process_index="),
    (["--process_count"], "--process_count=VALUE"),
    (
      ["--coordinator_address=h:1", "--process_count=two", "--process_index=0"],
      "invalid literal for int",
    ),
  ],
)
def test_wrong_arguments_of_processes(arguments, expected, capfd):
  from mpt_jax.launchers import gin_config

  arguments = ["--gin_file=gin/mpt_teacher.gin", *arguments]
  assert gin_config.main(arguments) == 2
  errors = capfd.readouterr().err
  assert errors.startswith("error: ") and errors.count("\n") == 1
  assert expected in errors


def test_arrays_are_put_and_fetched_whole():
  mesh = partitioning.make_mesh()
  batch = {"x": np.arange(16.0).reshape(8, 2)}
  placed = partitioning.put_batch(mesh, batch)["x"]
  assert placed.sharding.mesh == mesh
  np.testing.assert_array_equal(partitioning.fetch(placed), batch["x"])
