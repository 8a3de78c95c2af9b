"""Slots as seqio tasks, and their rows beside those of this library's batches.

Nothing here needs t5x.
"""

import types

import numpy as np
import pytest
import seqio
import tensorflow as tf
from train_fixtures import register_tiny_task, tiny_experiment

from mpt_jax.data.batches import BatchConfig, BatchLayout, make_batch
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.prompts.slots import make_slots
from mpt_jax.t5x import tasks
from mpt_jax.text import vocabularies

P, INPUTS, TARGETS = 3, 12, 4


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  """What `tasks` reads of an assembled experiment: slots, tasks and lengths."""
  folder = tmp_path_factory.mktemp("t5x_tasks")
  names = [register_tiny_task(folder, num, num) for num in (6, 3)]
  slots = make_slots(names)
  batch = types.SimpleNamespace(inputs_length=INPUTS, targets_length=TARGETS)
  return types.SimpleNamespace(
    experiment=types.SimpleNamespace(slots=slots, batch=batch),
    tasks=slot_tasks(slots, vocabularies.default_vocabulary_path()),
  )


def test_lengths_are_those_of_the_experiment(parts):
  assert tasks.feature_lengths(parts) == {
    "inputs": INPUTS,
    "targets": TARGETS,
    "slot_ids": 1,
  }


def rows_of(name, parts, split="train"):
  return list(
    seqio.get_mixture_or_task(name)
    .get_dataset(tasks.feature_lengths(parts), split, shuffle=False)
    .as_numpy_iterator()
  )


def test_each_slot_is_a_task_with_its_number(parts):
  mixture = seqio.get_mixture_or_task(tasks.register_slots(parts))
  names = [f"mpt.{slot.name}" for slot in parts.experiment.slots]
  assert [task.name for task in mixture.tasks] == names
  for number, (name, task) in enumerate(zip(names, parts.tasks, strict=True)):
    rows, original = rows_of(name, parts), rows_of(task.name, parts)
    assert len(rows) == len(original) > 0
    for row, plain in zip(rows, original, strict=True):
      np.testing.assert_array_equal(row["inputs"], plain["inputs"])
      assert row["slot_ids"].tolist() == [number]
      assert row["task"].decode() == parts.experiment.slots[number].name


def test_the_slots_of_a_later_experiment_take_their_place(parts):
  tasks.register_slots(parts)
  turned = types.SimpleNamespace(
    experiment=types.SimpleNamespace(
      slots=parts.experiment.slots[::-1], batch=parts.experiment.batch
    ),
    tasks=parts.tasks[::-1],
  )
  tasks.register_slots(turned)
  first = f"mpt.{turned.experiment.slots[0].name}"
  assert rows_of(first, parts)[0]["slot_ids"].tolist() == [0]


def test_mixed_examples_take_turns_until_all_are_done(parts):
  rows = rows_of(tasks.register_mixed(parts), parts)
  # Six examples of the first slot and three of the second.
  ids = [row["slot_ids"].tolist() for row in rows]
  assert ids == [[0], [1], [0], [1], [0], [1], [0], [0], [0]]
  names = [slot.name for slot in parts.experiment.slots]
  assert [row["task"].decode() for row in rows] == [names[i] for (i,) in ids]


def test_rows_equal_those_of_make_batch(parts):
  """The converter and `make_batch` are written apart, for the same model."""
  name = tasks.register_mixed(parts)
  rows = rows_of(name, parts)
  ds = tf.data.Dataset.from_generator(
    lambda: (
      {k: row[k] for k in ("inputs", "targets", "slot_ids")} for row in rows
    ),
    output_signature={
      k: tf.TensorSpec([None], tf.int32)
      for k in ("inputs", "targets", "slot_ids")
    },
  )
  converter = tasks.PromptFeatureConverter(prompt_length=P)
  found = converter(ds, tasks.feature_lengths(parts))
  arrays = list(found.as_numpy_iterator())
  expected, _ = make_batch(
    [
      {
        **{k: row[k] for k in ("inputs", "targets")},
        "slot_id": row["slot_ids"][0],
      }
      for row in rows
    ],
    BatchLayout(
      inputs_length=INPUTS,
      targets_length=TARGETS,
      prompt_length=P,
      num_slots=2,
      pack=False,
    ),
  )
  assert set(arrays[0]) == set(expected)
  for name in expected:
    made = np.stack([row[name] for row in arrays])
    # `make_batch` rounds the lengths of its rows up.
    rest = expected[name].shape[1] - made.shape[1]
    made = np.pad(made, ((0, 0), (0, rest)))
    np.testing.assert_array_equal(made, expected[name], err_msg=name)


def test_packed_rows_are_refused():
  with pytest.raises(ValueError, match="pack must be False"):
    tasks.PromptFeatureConverter(pack=True, prompt_length=P)


def test_plain_rows_are_those_of_the_native_batches():
  examples = [
    {"inputs": [7, 8, 1], "targets": [5, 1], "slot_ids": [1]},
    {"inputs": [9, 1], "targets": [6, 4, 1], "slot_ids": [0]},
  ]
  spec = tf.TensorSpec([None], tf.int32)
  dataset = tf.data.Dataset.from_generator(
    lambda: iter(examples),
    output_signature={name: spec for name in examples[0]},
  )
  converter = tasks.PromptFeatureConverter(prompt_length=2)
  rows = list(converter(dataset, {"inputs": 4, "targets": 4, "slot_ids": 1}))
  config = BatchLayout(
    inputs_length=4,
    targets_length=4,
    prompt_length=2,
    num_slots=2,
    pack=False,
    num_rows=2,
    length_multiple=1,
  )
  expected, _ = make_batch(
    [
      {
        "inputs": np.array(x["inputs"]),
        "targets": np.array(x["targets"]),
        "slot_id": x["slot_ids"][0],
      }
      for x in examples
    ],
    config,
  )
  for i, row in enumerate(rows):
    assert row.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(row[name], array[i], err_msg=name)


def test_mixed_tasks_keep_what_all_have_and_end_with_the_last(tmp_path):
  names = [register_tiny_task(tmp_path, num) for num in (3, 5)]
  slots = make_slots(names)
  parts = types.SimpleNamespace(
    experiment=tiny_experiment(
      slots, "default", batch=BatchConfig(inputs_length=6, targets_length=4)
    ),
    tasks=slot_tasks(slots, None),
  )
  name = tasks.register_mixed(parts)
  examples = list(
    seqio.get_mixture_or_task(name)
    .get_dataset(tasks.feature_lengths(parts), "train", shuffle=False)
    .as_numpy_iterator()
  )
  ids = [int(x["slot_ids"][0]) for x in examples]
  assert ids == [0, 1, 0, 1, 0, 1, 1, 1]
  for example, i in zip(examples, ids, strict=True):
    assert example["task"].decode() == names[i]
    # The inputs are cut, and the end of sequence (1) is kept.
    assert len(example["inputs"]) <= 6 and example["inputs"][-1] == 1
