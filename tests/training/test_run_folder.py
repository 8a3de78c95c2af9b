"""A run's folder on gs://: a file system in memory stands for the bucket."""

import json

import numpy as np
import pytest
from buckets import bucket

from mpt_jax.io import files
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank, load_bank
from mpt_jax.prompts.slots import Slot
from mpt_jax.sweeps import plan as plans
from mpt_jax.training import run_folder
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.loop import train
from mpt_jax.training.metrics_log import MetricsLog

__all__ = ["bucket"]


@pytest.fixture
def folder(bucket):
  return bucket / "runs" / "teach"


def make_bank():
  prompt = {"shared_prompt": np.arange(12, dtype=np.float32).reshape(2, 2, 3)}
  slots = ({"task": "a", "label_names": ["é"]}, {"task": "b"})
  return PromptBank(prompt, ("a", "b"), (0, 1), "0123", slots)


def test_prompts(folder):
  bank = make_bank()
  bank.save(folder / "prompts" / "last.safetensors")
  for path in (str(folder), f"{folder}/prompts/last.safetensors"):
    loaded = load_bank(path, "0123")
    assert loaded.fields == bank.fields
    np.testing.assert_array_equal(loaded.composed, bank.composed)
  with pytest.raises(FileNotFoundError, match="no prompt file at gs://bucket"):
    load_bank("gs://bucket/runs/none")
  (folder / "broken").write_bytes(b"1234")
  with pytest.raises(ValueError, match="is not a safetensors file"):
    load_bank(folder / "broken")


def test_settings(folder):
  settings = {"prompt_length": 8, "batch": {"inputs_length": 64}}
  run_folder.check_model_dir(folder, settings)
  run_folder.write_settings(folder, settings, "text = 1\n")
  run_folder.check_model_dir(folder, settings)
  # Nothing has trained, so the corrected command may use the folder.
  run_folder.check_model_dir(folder, {**settings, "prompt_length": 9})
  make_bank().save(folder / "prompts" / "last.safetensors")
  with pytest.raises(ValueError, match="prompt_length differ"):
    run_folder.check_model_dir(folder, {**settings, "prompt_length": 9})
  assert (folder / "config.gin").read_text() == "text = 1\n"
  for path in (folder, f"{folder}/prompts/last.safetensors"):
    assert run_settings.read(path) == settings
  with pytest.raises(ValueError, match="is not empty and holds no"):
    run_folder.check_model_dir(folder.parent, settings)


def test_what_needs_a_local_folder_says_so(folder):
  message = "cannot be written to gs://bucket/runs/teach: give a local folder"
  experiment = Experiment(
    slots=(Slot(task="a"),), total_steps=1, trainable="everything"
  )
  with pytest.raises(ValueError, match="trained T5 " + message):
    train(experiment, model_dir=folder)
  with pytest.raises(ValueError, match="table's runs " + message):
    plans.plan(None, folder)


def test_metrics_continue_after_a_stop(folder):
  run_folder.write_settings(folder, {}, None)
  for first, steps in ((0, (1, 2, 3)), (2, (3, 4))):
    with MetricsLog(folder, 4, first, tensorboard=False) as log:
      for step in steps:
        log.write(step, "train", {"loss": first + step})
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  found = [(line["step"], line["loss"]) for line in map(json.loads, lines)]
  assert found == [(1, 1), (2, 2), (3, 5), (4, 6)]


def test_files_appear_whole_or_not_at_all(folder):
  path = folder / "new" / "a.txt"
  files.write_text(path, "é")
  with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
    temporary.write_text("half")
    raise ZeroDivisionError
  assert path.read_text() == "é"
  assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
