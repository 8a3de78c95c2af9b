"""The parts of an experiment."""

import dataclasses

import numpy as np
import pytest
from train_fixtures import tiny_experiment

from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.slots import Slot
from mpt_jax.training import assembly


@pytest.fixture
def experiment(tmp_path):
  """Slots qa, nli and sst; the file of teachers has nli, sst, qa and more."""
  names = ("nli", "other", "sst", "qa")
  prompts = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 3, 2))
  path = tmp_path / "teachers.safetensors"
  PromptBank(
    {"shared_prompt": prompts.astype(np.float32)},
    names,
    (0, 1, 2, 3),
    "feed",
    tuple({"task": name} for name in names),
  ).save(path)
  slots = (Slot(task="qa"), Slot(task="nli"), Slot(task="sst", label="student"))
  return tiny_experiment(slots, "default", teachers=str(path))


def test_teachers_are_in_the_order_of_the_slots(experiment):
  found = assembly.teacher_prompts(experiment, "feed")
  # qa is the file's prompt 3, nli its prompt 0, sst its prompt 2.
  assert found.shape == (3, 3, 2)
  assert found[:, 0, 0].tolist() == [3.0, 0.0, 2.0]


def test_teachers_that_do_not_fit(experiment):
  def changed(**changes):
    return dataclasses.replace(experiment, **changes)

  with pytest.raises(
    ValueError, match="length 3, but Experiment.prompt_length=5"
  ):
    assembly.teacher_prompts(changed(prompt_length=5), "feed")
  with pytest.raises(ValueError, match="needs Experiment.teachers"):
    assembly.teacher_prompts(changed(teachers=None), "feed")
  with pytest.raises(ValueError, match="another T5 .*feed, this one is beef"):
    assembly.teacher_prompts(experiment, "beef")
  with pytest.raises(ValueError, match="no prompt 'mnli'; it has nli, other"):
    assembly.teacher_prompts(changed(slots=(Slot(task="mnli"),)), "feed")
