"""Few-shot draws: balanced, nested, deterministic, without repeats."""

import pytest
import seqio
from row_tasks import LABELS, new_names, read, register, texts

from mpt_jax import tasks
from mpt_jax.data import text_tasks


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_few_shot_is_balanced_nested_and_deterministic(shots):
  task = register()
  few = tasks.few_shot(task, shots, seed=1)
  assert few.name == f"{task.name}_k{shots}_s1"
  drawn = few.source.examples("train")
  labels = [label for _, label in drawn]
  assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(
    LABELS, shots
  )
  again = tasks.few_shot(task.name, shots, seed=1).source.examples("train")
  assert drawn == again
  assert drawn != tasks.few_shot(task, shots, seed=2).source.examples("train")
  assert set(drawn) <= set(
    tasks.few_shot(task, shots + 1, seed=1).source.examples("train")
  )
  assert texts(read(few, "test")) == texts(read(task, "test"))
  assert few.postprocessor.label_names == LABELS


def test_few_shot_without_classes_draws_k_in_all():
  task = text_tasks.register_text_task(
    next(new_names),
    text_tasks.ExamplesSource(
      lambda split: [(f"in {i}", f"out {i}") for i in range(9)]
    ),
    vocabulary=seqio.ByteVocabulary(),
  )
  assert len(tasks.few_shot(task, 4).source.examples("train")) == 4


def test_few_shot_draws_a_repeated_example_once():
  rows = [("same", "yes")] * 9 + [(f"text {i}", "yes") for i in range(3)]
  rows += [(f"other {i}", "no") for i in range(9)]
  task = tasks.register_classification_task(
    next(new_names),
    lambda: {"train": [{"text": t, "label": label} for t, label in rows]},
    template="{text}",
    label_names=("no", "yes"),
    splits=("train",),
  )
  for seed in range(8):
    drawn = tasks.few_shot(task, 4, seed).source.examples("train")
    assert len(set(drawn)) == len(drawn) == 8


def test_few_shot_bad_input():
  task = register()
  assert tasks.few_shot(task, None, 5) is task
  with pytest.raises(ValueError, match="shots must be at least 1"):
    tasks.few_shot(task, 0)
  other = seqio.Task("x", seqio.FunctionDataSource(_dataset, ["train"]), {})
  with pytest.raises(TypeError, match="FunctionDataSource"):
    tasks.few_shot(other, 4)


def _dataset(split, shuffle_files):
  raise NotImplementedError
