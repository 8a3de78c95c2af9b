"""The tasks of a bank's slots: vocabulary, few-shot draws, unknown names."""

import pytest
import seqio
from train_fixtures import register_tiny_task

from mpt_jax.data import vocabularies
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.prompts.slots import make_slots


def test_each_slot_has_its_draw_over_one_vocabulary(tmp_path):
  names = [register_tiny_task(tmp_path, seed=seed) for seed in range(2)]
  slots = make_slots(names, shots=(2,), seeds=(0, 1))
  made = slot_tasks(slots, vocabularies.BYTES_PATH)
  assert len(made) == len(slots) == 4
  for task in made:
    vocabulary = task.output_features["inputs"].vocabulary
    assert isinstance(vocabulary, seqio.ByteVocabulary)
  texts = [
    sorted(text for text, _ in task.source.examples("train")) for task in made
  ]
  # Two examples of each of the two labels; each seed draws its own.
  assert [len(drawn) for drawn in texts] == [4] * 4
  by_slot = dict(zip(slots, texts, strict=True))
  for name in names:
    first, second = (by_slot[s] for s in slots if s.task == name)
    assert first != second


def test_without_a_path_each_task_keeps_its_vocabulary(tmp_path):
  name = register_tiny_task(tmp_path)
  (task,) = slot_tasks(make_slots([name]), None)
  assert task is seqio.TaskRegistry.get(name)


def test_an_unknown_task_is_reported_with_its_neighbours(tmp_path):
  name = register_tiny_task(tmp_path, name="slot_tasks_reviews")
  with pytest.raises(ValueError, match=f"unknown task.*{name}"):
    slot_tasks(make_slots([name + "x"]), None)
