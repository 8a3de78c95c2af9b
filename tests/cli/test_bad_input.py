"""Bad input: one clear line, exit code 2, and nothing lost."""

import dataclasses
import errno
import json
import pathlib

import numpy as np
import pytest
import seqio
from etils import epath
from train_fixtures import (
  LABELS,
  register_tiny_task,
  save_tiny_backbone,
  tiny_backbone,
  tiny_experiment,
  tiny_tasks,
)

from mpt_jax import tasks
from mpt_jax.backbones import backbone as backbones
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.mixing import MixConfig
from mpt_jax.data.pipeline import ExampleStream
from mpt_jax.io.errors import run_and_report
from mpt_jax.prompts import bank
from mpt_jax.prompts.slots import Slot
from mpt_jax.text import vocabularies
from mpt_jax.training import loop as trainer
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.step import TrainState

__all__ = ["tiny_backbone", "tiny_tasks"]


@pytest.fixture
def report(tiny_backbone, tmp_path, capfd):
  """Trains as a command does; returns the one line that it prints."""

  def run(*slots, **changes):
    values = dict(total_steps=2, eval=None)
    values = {"backbone": tiny_backbone, **values, **changes}

    def command():
      trainer.train(
        tiny_experiment(slots, **values),
        model_dir=tmp_path / "run",
        checkpoint_period=1,
        tensorboard=False,
      )

    capfd.readouterr()
    assert run_and_report(command) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line

  run.folder = tmp_path / "run"
  return run


def file_task(folder, lines, **changes):
  """Registers a task over these lines of train.jsonl."""
  name = f"bad_{len(seqio.TaskRegistry.names())}"
  path = folder / f"{name}.jsonl"
  path.write_text("".join(line + "\n" for line in lines))
  values = dict(template="text: {text}", label_names=LABELS)
  tasks.register_file_task(name, {"train": path}, **{**values, **changes})
  return Slot(task=name)


GOOD = json.dumps({"text": "red", "label": "yes"})


def test_unknown_task(report, tiny_tasks):
  line = report(Slot(task=tiny_tasks[0] + "x"))
  assert f"unknown task '{tiny_tasks[0]}x'" in line
  assert f"Did you mean {tiny_tasks[0]}" in line
  assert not report.folder.exists()


def test_broken_json_line(report, tmp_path):
  line = report(file_task(tmp_path, [GOOD, GOOD, '{"text": "red", '] + [GOOD]))
  assert ".jsonl, line 3: not valid JSON" in line
  assert not report.folder.exists()


def test_empty_dataset(report, tmp_path):
  assert "is empty" in report(file_task(tmp_path, []))


def test_label_outside_the_list(report, tmp_path):
  bad = json.dumps({"text": "red", "label": "yess"})
  line = report(file_task(tmp_path, [GOOD, bad]))
  assert "line 2: label 'yess' is not one of yes, no" in line
  assert "Did you mean yes?" in line


def test_targets_without_tokens(report, tmp_path):
  # Two zero-width spaces: text that sentencepiece normalises away.
  bad = json.dumps({"text": "red", "label": "\u200b\u200b"})
  slot = file_task(tmp_path, [bad] * 8, label_names=None)
  line = report(slot)
  assert "have no token but the end of sequence" in line
  assert slot.task in line
  assert not report.folder.exists()


def test_after_the_correction_the_same_command_works(
  report, tiny_tasks, tiny_backbone
):
  slots = (Slot(task=tiny_tasks[0]),)
  # Sixteen plain rows are more than eight, which only a batch can show.
  batch = BatchConfig(inputs_length=16, targets_length=4, num_rows=8)
  crowded = dataclasses.replace(batch, pack=False)
  mix = MixConfig(batch_size=16)
  line = report(*slots, batch=crowded, mix=mix)
  assert "16 examples need 16 rows of 32 positions, but" in line
  assert not report.folder.exists()
  trainer.train(
    tiny_experiment(
      slots, tiny_backbone, total_steps=1, eval=None, batch=crowded
    ),
    model_dir=report.folder,
    tensorboard=False,
  )
  assert bank.load_bank(report.folder).names == (tiny_tasks[0],)


def test_prompts_of_another_t5(report, tiny_tasks, tmp_path):
  params = {"shared_prompt": np.zeros((1, 3, 32), np.float32)}
  other = bank.PromptBank(params, ("a",), (0,), "feed", ({"task": "a"},))
  other.save(tmp_path / "other.safetensors")
  source = str(tmp_path / "other.safetensors")
  line = report(Slot(task=tiny_tasks[0], init="task:a", source=source))
  assert "were trained on another T5 (fingerprint feed" in line


@pytest.mark.parametrize("content", [b"", b"not a tensor file", None])
def test_files_that_are_not_prompts(report, tiny_tasks, tmp_path, content):
  path = tmp_path / "prompts.safetensors"
  if content is not None:
    path.write_bytes(content)
  expected = "no prompt file at" if content is None else "is not a safetensors"
  line = report(Slot(task=tiny_tasks[0], init="task:a", source=str(path)))
  assert expected in line and str(path) in line


def test_vocabulary_that_does_not_fit(report, tiny_tasks, tmp_path):
  folder = save_tiny_backbone(tmp_path / "small", vocab_size=200)
  line = report(Slot(task=tiny_tasks[0]), backbone=folder)
  assert "the vocabulary does not fit the model" in line
  assert "vocab_size=200" in line


def test_folder_that_is_not_a_backbone(report, tiny_tasks, tmp_path):
  line = report(Slot(task=tiny_tasks[0]), backbone=str(tmp_path / "nothing"))
  assert "no backbone folder" in line


def test_damaged_backbone(report, tiny_tasks, tmp_path):
  folder = pathlib.Path(save_tiny_backbone(tmp_path / "t5"))
  weights = folder / "params.safetensors"
  weights.write_bytes(weights.read_bytes()[:1000])
  line = report(Slot(task=tiny_tasks[0]), backbone=str(folder))
  assert "params.safetensors" in line


def test_unknown_split_and_metric(report, tiny_tasks):
  evaluation = dataclasses.replace(
    tiny_experiment((Slot(task="x"),), "default").eval, split="dev"
  )
  line = report(Slot(task=tiny_tasks[0]), eval=evaluation)
  assert "has no split 'dev'; it has train, validation" in line


def test_checkpoint_of_another_shape(tiny_tasks, tmp_path):
  task = seqio.TaskRegistry.get(tiny_tasks[0])

  def make(name, length):
    return TrainState(
      np.int32(3), {"prompt": {name: np.zeros((1, length, 4))}}, None
    )

  stream = ExampleStream([task], ["a"], MixConfig(batch_size=2))
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(3, make("shared_prompt", 5), {"x": np.zeros(1)}, stream)
  with pytest.raises(ValueError) as error:
    checkpoints.restore(make("shared_prompt", 6), {"x": np.zeros(1)}, stream)
  assert (
    "prompt/shared_prompt: (1, 5, 4) in the checkpoint, (1, 6, 4) wanted"
    in str(error.value)
  )
  with pytest.raises(ValueError, match="prompt/other: not in the checkpoint"):
    checkpoints.restore(make("other", 5), {"x": np.zeros(1)}, stream)


def test_full_disk_while_a_checkpoint_is_written(
  report, tiny_tasks, monkeypatch
):
  original = ExampleStream.save
  calls = []

  def save(self, path):
    calls.append(path)
    if len(calls) == 2:
      raise OSError(errno.ENOSPC, "No space left on device")
    original(self, path)

  monkeypatch.setattr(ExampleStream, "save", save)
  line = report(Slot(task=tiny_tasks[0]))
  assert "No space left on device" in line
  # The first step's checkpoint and prompts exist, and no partial files.
  assert Checkpoints(report.folder).latest_step == 1
  assert bank.load_bank(report.folder).names == (tiny_tasks[0],)


def test_full_disk_while_prompts_are_written(tmp_path, monkeypatch):
  params = {"shared_prompt": np.zeros((1, 3, 4), np.float32)}
  made = bank.PromptBank(params, ("a",), (0,), "feed", ({"task": "a"},))
  made.save(tmp_path / "prompts.safetensors")
  before = (tmp_path / "prompts.safetensors").read_bytes()

  def fail(path, data):
    with path.open("wb") as file:
      file.write(data[:10])
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(type(epath.Path()), "write_bytes", fail)
  with pytest.raises(OSError, match="No space left"):
    made.save(tmp_path / "prompts.safetensors")
  assert (tmp_path / "prompts.safetensors").read_bytes() == before
  assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_is_not_a_vocabulary(tmp_path):
  path = tmp_path / "none.model"
  with pytest.raises(FileNotFoundError, match="no sentencepiece model at"):
    vocabularies.seqio_vocabulary(path)
  path.write_bytes(b"junk")
  backbone = backbones.load_backbone(save_tiny_backbone(tmp_path / "t5"))
  with pytest.raises(ValueError, match="not a readable sentencepiece model"):
    backbones.check_vocabulary(
      dataclasses.replace(backbone, vocabulary_path=str(path))
    )


def test_damaged_experiment_file(report, tiny_tasks):
  # A folder in which steps were done.
  (report.folder / "prompts").mkdir(parents=True)
  (report.folder / "experiment.json").write_text('{"slots": [')
  line = report(Slot(task=tiny_tasks[0]))
  assert "experiment.json is damaged" in line


def test_unreadable_place_for_a_run(report, tiny_tasks):
  report.folder.write_text("a file where the folder should be")
  line = report(Slot(task=tiny_tasks[0]))
  assert "run" in line


def test_one_sample_task_is_enough(tmp_path):
  # A task with fewer examples than the batch repeats them.
  name = register_tiny_task(tmp_path, num=1)
  task = seqio.TaskRegistry.get(name)
  stream = ExampleStream([task], [name], MixConfig(batch_size=3))
  assert len(next(stream)) == 3
