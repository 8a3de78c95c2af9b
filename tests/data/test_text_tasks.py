"""Tasks over rows in memory: tokens, labels, splits, order."""

import pytest
import seqio
from row_tasks import new_names, read, register, texts

from mpt_jax import tasks
from mpt_jax.data import metrics


def test_trimmed_features_keep_eos_and_the_whole_text():
  lengths = {"inputs": 5, "targets": 3}
  example = read(register(), sequence_length=lengths)[0]
  assert len(example["inputs"]) == 5 and example["inputs"][-1] == 1
  assert len(example["targets"]) == 3 and example["targets"][-1] == 1
  assert example["inputs_pretokenized"] == b"rate: text 0"


def test_label_postprocessor():
  post = tasks.LabelPostprocessor(("no", "yes"))
  assert [post("yes"), post(" no "), post("maybe"), post(b"yes")] == [
    1,
    0,
    -1,
    1,
  ]
  assert [post(1), post(7), post(-1)] == [1, -1, -1]
  assert post("yes", example={}, is_target=True) == 1


def test_each_epoch_is_a_new_permutation():
  task = register()
  seen = texts(
    task.get_dataset(
      None, "train", shuffle=True, seed=3, num_epochs=2
    ).as_numpy_iterator()
  )
  first, second = seen[:60], seen[60:]
  assert sorted(first) == sorted(second) == sorted(texts(read(task)))
  assert first != second
  assert first == texts(read(task, shuffle=True, seed=3))
  assert first != texts(read(task, shuffle=True, seed=4))


def test_shards_are_a_partition():
  task = register()
  parts = [
    texts(read(task, shard_info=seqio.ShardInfo(i, 4))) for i in range(4)
  ]
  assert sorted(sum(parts, [])) == sorted(texts(read(task)))


def test_with_vocabulary_changes_the_tokens_alone():
  task = register()
  other = tasks.with_vocabulary(task.name, seqio.ByteVocabulary(extra_ids=7))
  assert other.output_features["inputs"].vocabulary.vocab_size == 266
  assert texts(read(other)) == texts(read(task))
  assert other.metric_fns == task.metric_fns
  assert seqio.TaskRegistry.get(task.name) is task


def test_metrics_by_name():
  task = register(metric_fns=("accuracy", metrics.matthews))
  assert task.metric_fns == [metrics.accuracy, metrics.matthews]


def test_unknown_names_are_near_misses():
  with pytest.raises(ValueError, match="mean rotten_tomatoes"):
    tasks.get_task("rotten_tomatos")
  with pytest.raises(ValueError, match="There are: .*bbc_topic"):
    tasks.get_task("qqqqqqqq")


def test_unknown_label_and_split():
  task = tasks.register_classification_task(
    next(new_names),
    lambda: {"train": [{"text": "a", "label": "odd"}], "test": []},
    template="{text}",
    label_names=("no", "yes"),
    vocabulary=seqio.ByteVocabulary(),
    splits=("train", "test"),
  )
  with pytest.raises(ValueError, match="'odd' is not one of"):
    task.source.examples("train")
  with pytest.raises(ValueError, match="'test' is empty"):
    task.source.examples("test")
  with pytest.raises(ValueError, match="split must be one of"):
    task.source.examples("dev")
