"""What a look at the training examples finds before the first step."""

import json

import pytest
import seqio
import tensorflow as tf
from train_fixtures import register_tiny_task

from mpt_jax import tasks
from mpt_jax.data import first_look, slot_tasks
from mpt_jax.text import vocabularies

FEATURE = seqio.Feature(vocabularies.default_vocabulary(), add_eos=True)


def ids_task(examples, splits=("train",), features=None, preprocessors=()):
  """A seqio task over token ids."""

  def dataset(split, shuffle_files, seed=None):
    signature = {
      name: tf.TensorSpec((None,), tf.int32) for name in ("inputs", "targets")
    }
    return tf.data.Dataset.from_generator(
      lambda: iter(examples), output_signature=signature
    )

  return seqio.Task(
    "ids",
    seqio.FunctionDataSource(dataset, splits=splits),
    output_features=features or {"inputs": FEATURE, "targets": FEATURE},
    preprocessors=list(preprocessors),
  )


GOOD = {"inputs": [5, 1], "targets": [5, 1]}


def look(*examples, inputs_length=4, targets_length=3, **options):
  task = ids_task(examples, **options)
  return first_look.look([task], ["mine"], inputs_length, targets_length)


def test_nothing_to_say():
  assert look({"inputs": [5, 6, 7, 1], "targets": [9, 9, 1]}) == []


def test_the_share_that_is_cut():
  short = {"inputs": [5, 1], "targets": [9, 1]}
  long = {"inputs": [5, 6, 7, 8, 1], "targets": [9, 9, 9, 1]}
  # One of 25 is 4 %, two of 25 are 8 %.
  assert look(*[short] * 24, long) == []
  inputs, targets = look(*[short] * 23, long, long)
  assert inputs == (
    "slot 'mine': 8% of the inputs are longer than BatchConfig.inputs_length=4"
    " (in gin: TASK_FEATURE_LENGTHS['inputs']) and are cut (25 examples seen)"
  )
  assert "8% of the targets are longer" in targets


def test_many_slots_do_not_fill_the_terminal():
  made = []
  for i in range(14):
    task = ids_task([{"inputs": [5, 6, 7, 8, 1], "targets": [9, 1]}])
    task._name = f"ids_{i}"
    made.append(task)
  names = [task.name for task in made]
  warnings = first_look.look(made, names, 4, 3)
  assert len(warnings) == 11 and "'ids_9'" in warnings[9]
  assert warnings[10] == "and 4 more of this kind"


def test_all_targets_are_cut():
  long = {"inputs": [5, 1], "targets": [9, 9, 9, 1]}
  with pytest.raises(ValueError, match="'mine': all targets .*length=3"):
    look(long, long)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"inputs": [5, 8100, 1]}, "inputs .* ids from 1 to 8100; .* 1 to 7999"),
    ({"inputs": [5, 0, 1]}, "0 is padding"),
    ({"targets": [5, -1, 1]}, "ids from -1 to 5"),
    ({"inputs": [5, 6]}, "do not end in the end of sequence"),
    ({"inputs": [5, 1, 1]}, "end in the end of sequence .1. twice"),
    ({"targets": [5]}, "targets of its task do not end in the end"),
  ],
)
def test_ids_that_no_t5_has(changes, message):
  with pytest.raises(ValueError, match="slot 'mine': .*" + message):
    look({**GOOD, **changes})


def test_a_preprocessor_that_yields_no_ids():
  def to_float(ds):
    return ds.map(lambda x: {k: tf.cast(v, tf.float32) for k, v in x.items()})

  with pytest.raises(ValueError, match="'mine'.*"):
    look(GOOD, preprocessors=[to_float])

  def fail(ds):
    raise KeyError("column")

  with pytest.raises(ValueError, match="'ids' failed: KeyError"):
    look(GOOD, preprocessors=[fail])


def test_splits_that_are_missing_or_empty():
  with pytest.raises(ValueError, match="has no split 'train'; it has dev"):
    look(GOOD, splits=("dev",))
  with pytest.raises(ValueError, match="'train' of its task 'ids' is empty"):
    look()


def test_labels_are_compared_after_cutting(tmp_path):
  path = tmp_path / "rows.jsonl"
  labels = ("a good film", "a good book")
  path.write_text(
    "\n".join(json.dumps({"text": "x", "label": label}) for label in labels)
  )
  task = tasks.register_file_task(
    "first_look_cut", {"train": path}, template="{text}", label_names=labels
  )
  assert first_look.look([task], ["mine"], 9, 9) == []
  with pytest.raises(ValueError, match="slot 'mine': the labels 'a good film'"):
    first_look.look([task], ["mine"], 9, 3)


@pytest.mark.parametrize(
  ("features", "message"),
  [
    ({"targets": FEATURE}, "has no feature 'inputs', only targets"),
    ({"inputs": FEATURE, "text": FEATURE}, "no feature 'targets', only inputs"),
    (
      {
        "inputs": seqio.Feature(FEATURE.vocabulary, add_eos=False),
        "targets": FEATURE,
      },
      "'inputs' of the task 'ids' has add_eos=False",
    ),
    (
      {
        "inputs": FEATURE,
        "targets": seqio.Feature(FEATURE.vocabulary, rank=2),
      },
      "'targets' of the task 'ids' must be token ids .* rank=2 and dtype=int32",
    ),
    (
      {
        "inputs": seqio.Feature(FEATURE.vocabulary, dtype=tf.float32),
        "targets": FEATURE,
      },
      "rank=1 and dtype=float32",
    ),
  ],
)
def test_features_of_other_models(features, message):
  with pytest.raises(ValueError, match=message):
    slot_tasks.check_features(ids_task([GOOD], features=features))


def test_more_features_are_allowed():
  task = ids_task(
    [GOOD],
    features={
      "inputs": FEATURE,
      "targets": FEATURE,
      "audio": seqio.ContinuousFeature(dtype=tf.float32, rank=2),
    },
  )
  slot_tasks.check_features(task)
  other = seqio.ByteVocabulary()
  made = tasks.with_vocabulary(task, other)
  assert made.output_features["targets"].vocabulary is other
  assert made.output_features["audio"] == task.output_features["audio"]


def test_texts_in_memory_have_the_ids_of_their_dataset(tmp_path):
  task = tasks.get_task(register_tiny_task(tmp_path, num=300))
  found = first_look.sample(task, "slot")
  assert len(found) == 100  # Every third of 300 is not more than 128.
  dataset = list(
    task.get_dataset(None, "train", shuffle=False).as_numpy_iterator()
  )
  for example, expected in zip(found, dataset[::3], strict=True):
    for name in ("inputs", "targets"):
      assert example[name] == expected[name].tolist()
