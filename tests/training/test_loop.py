"""Whole runs: three stages, kills and resumes, and what stops a run."""

import dataclasses
import gc
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from train_fixtures import (
  register_tiny_task,
  save_tiny_backbone,
  tiny_backbone,
  tiny_experiment,
  tiny_tasks,
)

from mpt_jax.data import pipeline
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.mixing import MixConfig
from mpt_jax.inference.engine import engine
from mpt_jax.io import locks
from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.model.faults import Fault
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.process import signals
from mpt_jax.prompts import bank
from mpt_jax.prompts.slots import Slot, make_slots
from mpt_jax.training import checkpoints, metrics_log, run_folder, step
from mpt_jax.training import loop as trainer
from mpt_jax.training import run as training_run
from mpt_jax.training.optimizers import OptimizerConfig

__all__ = ["tiny_backbone", "tiny_tasks"]


def run(experiment, folder, **changes):
  values = dict(checkpoint_period=2, log_period=3, tensorboard=False)
  return trainer.train(experiment, model_dir=folder, **{**values, **changes})


def read_metrics(folder):
  """The lines, without what depends on the clock."""
  lines = [json.loads(x) for x in (folder / "metrics.jsonl").open()]
  for line in lines:
    line.pop("seconds")
    line.pop("digest")
    line.pop("tokens_per_second", None)
  return lines


def read_checkpoint(folder):
  """All arrays of the newest checkpoint, and the prompt files' bytes."""
  import orbax.checkpoint as ocp

  newest = max((folder / "checkpoints").iterdir(), key=lambda p: int(p.name))
  arrays = {
    item: ocp.StandardCheckpointer().restore(newest.absolute() / item)
    for item in ("state", "best")
  }
  files = sorted((folder / "prompts").iterdir())
  return newest.name, arrays, {f.name: f.read_bytes() for f in files}


def assert_same_run(first, second):
  assert read_metrics(first) == read_metrics(second)
  step, arrays, files = read_checkpoint(first)
  other_step, other_arrays, other_files = read_checkpoint(second)
  assert step == other_step
  jax.tree.map(np.testing.assert_array_equal, arrays, other_arrays)
  assert files == other_files


@pytest.fixture(scope="module")
def teacher_run(tiny_backbone, tiny_tasks, tmp_path_factory):
  """(experiment, folder, result) of an uninterrupted teacher stage."""
  folder = tmp_path_factory.mktemp("teacher") / "run"
  slots = make_slots(tiny_tasks[:2])
  experiment = tiny_experiment(slots, tiny_backbone, total_steps=8)
  return experiment, folder, run(experiment, folder)


@pytest.fixture(scope="module")
def distill_run(teacher_run, tiny_backbone, tiny_tasks, tmp_path_factory):
  folder = tmp_path_factory.mktemp("distill") / "run"
  experiment = tiny_experiment(
    make_slots(tiny_tasks[:2], share="all"),
    tiny_backbone,
    rank=1,
    teachers=str(teacher_run[1]),
    loss=LossConfig(distill=DistillConfig()),
    mix=MixConfig(batch_size=8, mixing="sampled"),
  )
  return experiment, folder, run(experiment, folder)


def test_teachers_are_saved_and_reported(teacher_run, tiny_tasks):
  experiment, folder, result = teacher_run
  lines = read_metrics(folder)

  # Train lines at multiples of 3 and at checkpoints (multiples of 2);
  # evaluations at multiples of 3 and after the last step.
  def steps(kind):
    return [x["step"] for x in lines if x["kind"] == kind]

  assert steps("train") == [2, 3, 4, 6, 8]
  assert steps("eval") == [3, 6, 8]
  for name in tiny_tasks[:2]:
    assert f"loss/{name}" in lines[0]
  assert {"loss", "grad_norm", "padding_fraction"} <= lines[0].keys()
  evals = [x for x in lines if x["kind"] == "eval"]
  bests = [max(x[f"accuracy/{n}"] for x in evals) for n in tiny_tasks[:2]]
  loaded = bank.load_bank(folder)
  assert loaded.names == tuple(tiny_tasks[:2])
  np.testing.assert_array_equal(loaded.composed, result.best.composed)
  best = read_checkpoint(folder)[1]["best"]
  np.testing.assert_allclose(best["metric"], bests)
  # Each slot keeps its own best step: the first of those with that accuracy.
  for i, name in enumerate(tiny_tasks[:2]):
    first = next(x["step"] for x in evals if x[f"accuracy/{name}"] == bests[i])
    assert best["step"][i] == first


def test_a_second_run_is_the_same(teacher_run, tmp_path):
  experiment, folder, _ = teacher_run
  run(experiment, tmp_path / "again")
  assert_same_run(folder, tmp_path / "again")


def test_distillation_reports_its_terms(distill_run):
  _, folder, result = distill_run
  line = read_metrics(folder)[0]
  assert {"loss", "kl", "hidden"} <= line.keys()
  assert line["kl"] > 0 and line["hidden"] > 0
  assert result.best.params["shared_prompt"].shape == (1, 3, 32)
  assert result.best.params["task_rows"].shape == (2, 1, 32)


def test_adaptation_starts_from_the_source_and_moves(
  distill_run, tiny_backbone, tiny_tasks, tmp_path
):
  _, source_folder, source = distill_run
  slots = make_slots(
    tiny_tasks[2:3],
    shots=(2,),
    seeds=(0, 1),
    init="mean_factors",
    source=str(source_folder),
  )
  experiment = tiny_experiment(slots, tiny_backbone, rank=1, total_steps=2)
  result = run(experiment, tmp_path / "adapt")
  assert result.best.groups == (0, 1)
  start = source.best.params
  for i in range(2):
    # Two steps of AdamW at 0.1 move no entry by more than about 0.2.
    moved = result.last.params["shared_prompt"][i] - start["shared_prompt"][0]
    assert 0 < np.abs(moved).max() < 0.25
    factors = result.last.params["task_rows"][i] - start["task_rows"].mean(0)
    assert 0 < np.abs(factors).max() < 0.15


class Killed(OSError):
  """Stands for a kill: no part of a run catches it."""


def raise_killed(*args, **kwargs):
  raise Killed


# What is interrupted, and the call of it in the process that is killed.
# Steps 0 to 8, checkpoints at multiples of 2, so each later process starts
# from where the last checkpoint left it.
KILLS = (
  (metrics_log.MetricsLog, "advance", 1),
  (checkpoints.StreamHandler, "finalize", 2),
  (run_folder, "write_prompts", 1),
  (metrics_log.MetricsLog, "write", 2),
  (training_run, "update_best", 1),
  (checkpoints.StreamHandler, "finalize", 1),
)


def test_a_run_killed_again_and_again_equals_an_uninterrupted_one(
  teacher_run, tmp_path, monkeypatch
):
  experiment, folder, _ = teacher_run
  for owner, name, call in KILLS:
    calls = 0
    original = getattr(owner, name)

    def stop(*args, original=original, call=call, **kwargs):
      nonlocal calls
      calls += 1
      if calls == call:
        raise Killed
      return original(*args, **kwargs)

    with monkeypatch.context() as patch:
      patch.setattr(owner, name, stop)
      with pytest.raises(Killed):
        run(experiment, tmp_path / "killed")
  gc.collect()  # What a save leaves behind warns when it goes.
  run(experiment, tmp_path / "killed")
  assert_same_run(folder, tmp_path / "killed")


CHILD = """
import os, pickle, signal, sys
sys.path[:0] = {paths!r}
import conftest
import train_fixtures
from mpt_jax.training import checkpoints, loop
experiment, task_files, kill_at = pickle.load(open(sys.argv[1], "rb"))
for name, files in task_files:
  train_fixtures.tasks.register_file_task(
    name, files, template="text: {{text}}", label_names=train_fixtures.LABELS)
original, calls = checkpoints.StreamHandler.finalize, 0
def finalize(self, directory):
  global calls
  calls += 1
  original(self, directory)
  if calls == kill_at:
    os.kill(os.getpid(), signal.SIGKILL)
checkpoints.StreamHandler.finalize = finalize
loop.train(experiment, model_dir=sys.argv[2], checkpoint_period=2,
           log_period=3, tensorboard=False)
"""


def test_a_process_killed_while_it_saves_resumes(
  teacher_run, tiny_tasks, tmp_path
):
  import pickle

  import seqio

  experiment, folder, _ = teacher_run
  task_files = []
  for name in tiny_tasks[:2]:
    source = seqio.TaskRegistry.get(name).source
    files = {
      split: tmp_path / f"{name}_{split}.jsonl" for split in source.splits
    }
    for split, path in files.items():
      rows = [
        {"text": text.removeprefix("text: "), "label": label}
        for text, label in source.examples(split)
      ]
      path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task_files.append((name, files))
  job = tmp_path / "job.pickle"
  job.write_bytes(pickle.dumps((experiment, task_files, 2)))
  tests = pathlib.Path(__file__).parents[1]
  script = CHILD.format(
    paths=[str(tests), str(tests / "fixtures"), str(tests.parent)]
  )
  made = subprocess.run(
    [sys.executable, "-c", script, str(job), str(tmp_path / "run")],
    capture_output=True,
    text=True,
  )
  assert made.returncode == -signal.SIGKILL, made.stderr[-2000:]
  # The second save, at step 4, was not finished: the first one counts.
  assert checkpoints.Checkpoints(tmp_path / "run").latest_step == 2
  run(experiment, tmp_path / "run")
  assert_same_run(folder, tmp_path / "run")


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
  teacher_run, tmp_path, capsys
):
  experiment, folder, _ = teacher_run
  damaged = tmp_path / "run"
  shutil.copytree(folder, damaged)
  newest = damaged / "checkpoints" / "8" / "state"
  path = max(newest.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  run(experiment, damaged)
  said = " ".join(capsys.readouterr().err.split())
  assert "the checkpoint of step 8 is damaged: the SHA-256 of state/" in said
  assert "resumed at step 6" in said
  assert_same_run(folder, damaged)


def test_a_finished_run_does_nothing_more(teacher_run):
  experiment, folder, result = teacher_run
  before = read_metrics(folder), read_checkpoint(folder)
  again = run(experiment, folder)
  assert again.metrics == result.metrics
  after = read_metrics(folder), read_checkpoint(folder)
  assert before[0] == after[0] and before[1][2] == after[1][2]


def test_another_experiment_in_the_folder_is_refused(teacher_run):
  experiment, folder, _ = teacher_run

  def files():
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}

  before = files()
  other = dataclasses.replace(experiment, seed=1, prompt_length=4)
  with pytest.raises(ValueError, match="prompt_length, seed differ"):
    run(other, folder)
  assert files() == before


def test_another_backbone_under_the_same_name_is_refused(tiny_tasks, tmp_path):
  backbone = save_tiny_backbone(tmp_path / "t5", seed=0)
  slots = make_slots(tiny_tasks[:1])
  experiment = tiny_experiment(slots, backbone, total_steps=1, eval=None)
  run(experiment, tmp_path / "run")
  save_tiny_backbone(tmp_path / "t5", seed=1)
  with pytest.raises(ValueError, match="backbone_fingerprint differ"):
    run(experiment, tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(teacher_run, tmp_path):
  (tmp_path / "thesis.tex").write_text("dear")
  with pytest.raises(ValueError, match="not empty and holds no experiment"):
    run(teacher_run[0], tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_cannot_start_leaves_the_folder_free(teacher_run, tmp_path):
  experiment, _, _ = teacher_run
  slots = (Slot(task="tiny_nowhere"),)
  with pytest.raises(ValueError, match="unknown task 'tiny_nowhere'"):
    run(dataclasses.replace(experiment, slots=slots), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_slot_that_diverges_is_frozen_and_named(
  teacher_run, tmp_path, monkeypatch, capsys
):
  experiment, folder, healthy = teacher_run
  original = step.make_train_step
  before = {}

  def make(*args):
    train_step = original(*args)

    def poisoned(state, frozen, batch, key):
      if int(state.step) + 1 == 6:
        prompt = state.params["prompt"]["shared_prompt"]
        before["prompt"] = np.array(prompt)
        state.params["prompt"]["shared_prompt"] = jax.device_put(
          before["prompt"] * np.array([1, np.nan], np.float32)[:, None, None],
          prompt.sharding,
        )
      return train_step(state, frozen, batch, key)

    return poisoned

  with monkeypatch.context() as patch:
    patch.setattr(step, "make_train_step", make)
    result = run(experiment, tmp_path / "run")
  fine, name = (slot.name for slot in experiment.slots)
  fault = Fault(name, 6, "prompt")
  assert result.diverged == (fault,) and healthy.diverged == ()
  # The other slot ends as without it, and this one as it was before step 6.
  frozen = result.last.params["shared_prompt"]
  np.testing.assert_array_equal(
    frozen[0], healthy.last.params["shared_prompt"][0]
  )
  np.testing.assert_array_equal(frozen[1], before["prompt"][1])
  lines = [x for x in read_metrics(tmp_path / "run") if x["kind"] == "fault"]
  assert lines == [{"kind": "fault", **fault._asdict()}]
  for file in ("best", "last"):
    path = tmp_path / "run" / "prompts" / f"{file}.safetensors"
    own = bank.load_bank(path).slots
    assert "diverged" not in own[0]
    assert own[1]["diverged"] == {"step": 6, "term": "prompt"}
  shown = capsys.readouterr().err
  assert "1 of 2 slots diverged" in shown and f"{name} at step 6" in shown
  # A resumed run knows it and does not report it again.
  again = run(experiment, tmp_path / "run")
  assert again.diverged == (fault,)
  assert f"{name} at step 6" not in capsys.readouterr().err


def test_a_huge_learning_rate_stops_the_run(teacher_run, tmp_path):
  experiment = dataclasses.replace(
    teacher_run[0],
    optimizer=OptimizerConfig(learning_rate=1e38, warmup_fraction=0.0),
  )
  with pytest.raises(TrainingDiverged, match="step [12]"):
    run(experiment, tmp_path / "run")
  assert not list((tmp_path / "run").glob("prompts/*"))


def test_everything_can_learn_eight_examples(tiny_backbone, tmp_path):
  name = register_tiny_task(tmp_path, num=8)
  experiment = tiny_experiment(
    make_slots((name,)),
    tiny_backbone,
    total_steps=150,
    trainable="everything",
    prompt_length=0,
    eval=None,
    batch=BatchConfig(inputs_length=16, targets_length=4, row_multiple=8),
    optimizer=OptimizerConfig(learning_rate=0.01, weight_decay=0.0),
  )
  run(experiment, tmp_path / "run", checkpoint_period=150, log_period=25)
  losses = [x["loss"] for x in read_metrics(tmp_path / "run")]
  assert losses[0] > 1.0
  # Each token has more than nine tenths of the probability.
  assert losses[-1] < 0.1
  assert (tmp_path / "run" / "backbone" / "params.safetensors").is_file()


def test_a_run_of_t5x_is_not_resumed(tiny_backbone, tiny_tasks, tmp_path):
  slots = make_slots(tiny_tasks[:1])
  experiment = tiny_experiment(slots, tiny_backbone)
  settings = {**experiment.to_json(), "launcher": "t5x"}
  (tmp_path / "experiment.json").write_text(json.dumps(settings))
  (tmp_path / "checkpoint_5").mkdir()
  with pytest.raises(ValueError, match="launcher differ"):
    trainer.train(experiment, model_dir=tmp_path)
  names = {p.name for p in tmp_path.iterdir()}
  assert names == {"experiment.json", "checkpoint_5"}


def test_a_run_that_saved_nothing_leaves_its_folder_to_another(
  teacher_run, tmp_path, monkeypatch
):
  experiment, folder, _ = teacher_run
  other = dataclasses.replace(experiment, seed=1)
  with monkeypatch.context() as patch:
    patch.setattr(checkpoints.StreamHandler, "finalize", raise_killed)
    with pytest.raises(Killed):
      run(other, tmp_path / "run", tensorboard=True, log_period=1)
  stale = list((tmp_path / "run").glob("events*"))
  assert stale and read_metrics(tmp_path / "run")
  run(experiment, tmp_path / "run")
  assert_same_run(folder, tmp_path / "run")
  assert not list((tmp_path / "run").glob("events*"))


# The first SIGTERM comes while a run is in one of these, at that call of it.
STOPS = {
  "a step": (metrics_log.MetricsLog, "advance", 1),
  "the batch before a checkpoint": (pipeline.ExampleStream, "__next__", 2),
  "a line of metrics": (metrics_log.MetricsLog, "write", 2),
  "an evaluation": (engine.Engine, "rank", 1),
  "the last evaluation": (engine.Engine, "rank", 3),
  "the choice of the best": (training_run, "update_best", 1),
  "a checkpoint": (checkpoints.StreamHandler, "finalize", 2),
  "the prompt files": (run_folder, "write_prompts", 1),
}


def stop_in(patch, owner, name, call, signum=signal.SIGTERM):
  """Sends a signal after a call, within the process."""
  calls = 0
  original = getattr(owner, name)

  def signalled(*args, **kwargs):
    nonlocal calls
    calls += 1
    if calls == call:
      os.kill(os.getpid(), signum)
    return original(*args, **kwargs)

  patch.setattr(owner, name, signalled)


@pytest.mark.parametrize("where", STOPS)
def test_a_stopped_run_ends_as_if_nothing_had_happened(
  teacher_run, tmp_path, monkeypatch, capfd, where
):
  experiment, _, _ = teacher_run
  # Lines at multiples of 3: a stop falls between them and checkpoints.
  options = dict(checkpoint_period=4)
  for _ in range(2):
    with monkeypatch.context() as patch:
      stop_in(patch, *STOPS[where])
      with pytest.raises(signals.Stopped) as stopped:
        run(experiment, tmp_path / "run", **options)
    assert stopped.value.code == 143
    found = checkpoints.Checkpoints(tmp_path / "run").latest_step
    assert f"train: step {found} of 8 is saved in" in capfd.readouterr().err
    assert not (tmp_path / "run" / "run.lock").exists()
    if found == 8:
      break
  run(experiment, tmp_path / "run", **options)
  run(experiment, tmp_path / "whole", **options)
  assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_signal_that_comes_again_and_again(
  teacher_run, tmp_path, monkeypatch
):
  """Each process is stopped in the same evaluation, or after one step."""
  experiment, folder, _ = teacher_run
  for where in ("a step", "an evaluation", "an evaluation", "a step"):
    with monkeypatch.context() as patch:
      stop_in(patch, *STOPS[where], signum=signal.SIGINT)
      with pytest.raises(signals.Stopped) as stopped:
        run(experiment, tmp_path / "run")
      assert stopped.value.code == 130
  run(experiment, tmp_path / "run")
  assert_same_run(folder, tmp_path / "run")


def test_checkpoints_by_the_clock_change_nothing(teacher_run, tmp_path):
  experiment, folder, _ = teacher_run
  rare = dict(checkpoint_period=8)
  run(experiment, tmp_path / "none", checkpoint_minutes=None, **rare)
  # Each step takes longer than that.
  often = dict(checkpoint_minutes=1e-9, keep_checkpoints=99, **rare)
  run(experiment, tmp_path / "each", **often)

  def steps(name):
    return {int(p.name) for p in (tmp_path / name / "checkpoints").iterdir()}

  assert steps("none") == {8} and steps("each") == set(range(1, 9))
  assert_same_run(tmp_path / "none", tmp_path / "each")
  # Resume from one between lines of metrics.
  for number in range(6, 9):
    shutil.rmtree(tmp_path / "each" / "checkpoints" / str(number))
  run(experiment, tmp_path / "each", checkpoint_minutes=0, **rare)
  assert_same_run(tmp_path / "none", tmp_path / "each")


def test_prompts_of_some_steps_are_kept(teacher_run, tmp_path, monkeypatch):
  """They are those that a run which stops at this step has."""
  experiment, folder, _ = teacher_run
  steps = range(1, 9)
  with monkeypatch.context() as patch:
    stop_in(patch, *STOPS["a line of metrics"])
    with pytest.raises(signals.Stopped):
      run(experiment, tmp_path / "run", prompt_steps=steps)
  found = checkpoints.Checkpoints(tmp_path / "run").latest_step
  assert 0 < found < 8

  def prompts(name):
    return bank.load_bank(tmp_path / "run" / "prompts" / f"{name}.safetensors")

  stopped, kept = prompts("last"), prompts(f"step_{found}")
  np.testing.assert_array_equal(stopped.composed, kept.composed)
  run(experiment, tmp_path / "run", prompt_steps=steps)
  last, kept = prompts("last"), prompts("step_8")
  np.testing.assert_array_equal(last.composed, kept.composed)
  assert not np.array_equal(stopped.composed, last.composed)
  files = list((tmp_path / "run" / "prompts").glob("step_*"))
  assert {p.name for p in files} == {f"step_{n}.safetensors" for n in steps}
  for file in files:
    file.unlink()
  # All else is as without them.
  assert_same_run(folder, tmp_path / "run")


@pytest.mark.parametrize("steps", [(9,), (0,), 3, (1.5,)])
def test_steps_to_keep_that_are_none(teacher_run, tmp_path, steps):
  experiment, _, _ = teacher_run
  with pytest.raises(ValueError, match="train.prompt_steps"):
    run(experiment, tmp_path / "run", prompt_steps=steps)


def test_a_run_in_a_thread(teacher_run, tmp_path):
  experiment, folder, _ = teacher_run
  thread = threading.Thread(target=run, args=(experiment, tmp_path / "run"))
  thread.start()
  thread.join()
  assert_same_run(folder, tmp_path / "run")


def test_a_second_run_in_the_folder_is_refused(teacher_run, tmp_path):
  experiment, _, _ = teacher_run
  with locks.hold(tmp_path / "run"):
    with pytest.raises(ValueError, match=f"in use by process {os.getpid()} on"):
      run(experiment, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_trace_of_some_steps(tmp_path, tiny_backbone, tiny_tasks):
  slots = (Slot(task=tiny_tasks[0]),)
  experiment = tiny_experiment(slots, tiny_backbone, eval=None, total_steps=3)
  run(experiment, tmp_path / "plain")
  run(experiment, tmp_path / "traced", profile_steps=(2, 3))
  assert_same_run(tmp_path / "plain", tmp_path / "traced")
  # TensorBoard looks for these files.
  (trace,) = (tmp_path / "traced").glob("plugins/profile/*/*.xplane.pb")
  assert b"train_step" in trace.read_bytes()
  assert not (tmp_path / "plain" / "plugins").exists()
  # A run that ends within the trace ends the trace too.
  run(experiment, tmp_path / "cut", profile_steps=(3, 9))
  assert list((tmp_path / "cut").glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.parametrize("steps", [(3, 2), (1,), 5, (0, 2), "ab"])
def test_steps_of_a_trace_that_are_none(tmp_path, tiny_backbone, steps):
  experiment = tiny_experiment((Slot(task="any"),), tiny_backbone)
  with pytest.raises(ValueError, match="train.profile_steps"):
    run(experiment, tmp_path / "run", profile_steps=steps)
  assert not (tmp_path / "run").exists()
