"""Settings that come from the prompts that an experiment starts from."""

import dataclasses
import json

import numpy as np
import pytest
from prompt_fixtures import random_params

from mpt_jax.data.batches import BatchConfig, batch_config
from mpt_jax.launchers import gin_config
from mpt_jax.prompts.bank import PromptBank, load_bank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.slots import Slot
from mpt_jax.training.experiment import Experiment


def save_run(folder, prompt_length=5, rank=2, lengths=(48, 6)):
  """A run folder with prompts of these sizes; rank 0 makes plain ones."""
  params = {"shared_prompt": np.ones((1, prompt_length, 4), np.float32)}
  if rank:
    params["task_columns"] = np.ones((1, prompt_length, rank), np.float32)
    params["task_rows"] = np.ones((1, rank, 4), np.float32)
  slots = ({"task": "a", "label_names": None, "template": None, "metrics": {}},)
  bank = PromptBank(params, ("a",), (0,), "feed", slots)
  bank.save(folder / "prompts" / "best.safetensors")
  inputs, targets = lengths
  batch = {"inputs_length": inputs, "targets_length": targets}
  (folder / "experiment.json").write_text(json.dumps({"batch": batch}))
  return str(folder)


def make(*sources, **settings):
  slots = tuple(
    Slot(task="a", label=str(i), init="mean_matrix", source=source)
    for i, source in enumerate(sources or [None])
  )
  return Experiment(slots=slots, total_steps=1, **settings)


def sizes(e):
  lengths = e.batch.inputs_length, e.batch.targets_length
  return e.prompt_length, e.rank, e.prompt_kind, *lengths


def test_without_prompts_to_start_from_there_are_the_defaults():
  assert sizes(make()) == (100, 1, "multitask", 256, 16)


def test_the_source_says_it(tmp_path):
  source = save_run(tmp_path / "run")
  assert sizes(make(source, None)) == (5, 2, "multitask", 48, 6)
  # What a user says is taken.
  batch = BatchConfig(targets_length=9)
  made = make(source, prompt_length=7, rank=1, batch=batch)
  assert sizes(made) == (7, 1, "multitask", 48, 9)
  # A file without its run has the sizes of its prompts alone.
  file = tmp_path / "alone.safetensors"
  file.write_bytes(
    (tmp_path / "run" / "prompts" / "best.safetensors").read_bytes()
  )
  assert sizes(make(str(file))) == (5, 2, "multitask", 256, 16)


def test_teachers_say_the_lengths_but_no_rank(tmp_path):
  teachers = save_run(tmp_path / "teach", rank=0)
  assert sizes(make(teachers=teachers)) == (5, 1, "multitask", 48, 6)
  # Plain prompts to start from have no rank either.
  assert sizes(make(teachers)) == (5, 1, "multitask", 48, 6)


def test_prompts_of_several_runs(tmp_path):
  first = save_run(tmp_path / "a", lengths=(48, 6))
  second = save_run(tmp_path / "b", lengths=(32, 20))
  assert sizes(make(first, second)) == (5, 2, "multitask", 48, 20)
  other = save_run(tmp_path / "c", prompt_length=9, rank=1)
  with pytest.raises(
    ValueError, match="Experiment.prompt_length must be given.*5 in .*/a, 9 in"
  ):
    make(first, other)
  with pytest.raises(ValueError, match="Experiment.rank must be given"):
    make(first, other, prompt_length=5)
  assert sizes(make(first, other, prompt_length=5, rank=1))[:2] == (5, 1)


def test_a_kind_brings_its_own_rank(tmp_path):
  assert sizes(make(prompt_kind="dpt"))[:3] == (100, 10, "dpt")
  assert sizes(make(prompt_kind="plain"))[:3] == (100, 0, "plain")
  # The rank of MPT's factors says nothing about ULPT's codes.
  source = save_run(tmp_path / "run")
  assert sizes(make(source, prompt_kind="ulpt"))[:3] == (5, 64, "ulpt")
  assert sizes(make(source, prompt_kind="ulpt", rank=3))[1] == 3
  config = PromptConfig(num_slots=1, prompt_length=5, rank=7, kind="ulpt")
  bank = load_bank(source)
  params = random_params(config, 4)
  dataclasses.replace(bank, params=params).save(tmp_path / "u.safetensors")
  other = str(tmp_path / "u.safetensors")
  assert sizes(make(other))[:3] == (5, 7, "ulpt")
  assert sizes(make(source, other, prompt_kind="ulpt"))[1] == 7
  assert sizes(make(source, other, prompt_kind="multitask"))[1] == 2
  with pytest.raises(ValueError, match="Experiment.prompt_kind must be given"):
    make(source, other)


def test_prompts_that_are_not_there_yet(tmp_path):
  assert sizes(make(str(tmp_path / "later"))) == (100, 1, "multitask", 256, 16)


def test_gin_files_take_them_too(tmp_path):
  source = save_run(tmp_path / "run")
  bindings = [
    "MODEL_DIR = 'x'",
    "MIXTURE_OR_TASK_NAME = 'sarcasm'",
    f"SOURCE = '{source}'",
  ]

  def load(*more):
    return gin_config.load_config(
      ["gin/mpt_adapt.gin"], [*bindings, *more], ()
    )[0]["experiment"]

  assert sizes(load()) == (5, 2, "multitask", 48, 6)
  made = load(
    "PROMPT_LENGTH = 3", 'TASK_FEATURE_LENGTHS = {"inputs": 8, "targets": 4}'
  )
  assert sizes(made) == (3, 2, "multitask", 8, 4)
  assert sizes(load('KIND = "residual"'))[:3] == (5, 400, "residual")


def test_a_table_has_a_method_for_any_kind():
  bindings = [
    "MODEL_DIR = 'x'",
    "MIXTURE_OR_TASK_NAME = 'sarcasm'",
    'METHODS = ("scratch",)',
    "TUNED_SCALES = (0.1, 1.0)",
    'KIND = "dpt"',
  ]
  arguments, _ = gin_config.load_config(["gin/mpt_compare.gin"], bindings, ())
  made = arguments["experiment"]
  assert sizes(made)[:3] == (100, 10, "dpt")
  assert [slot.name for slot in made.slots] == [
    "sarcasm_scratch-lr_x0.1",
    "sarcasm_scratch-lr_x1",
  ]
  assert all(slot.train_factors for slot in made.slots)


def test_lengths_that_are_left_to_the_experiment():
  made = batch_config(None, num_rows=4)
  assert (made.inputs_length, made.targets_length) == (None, None)
