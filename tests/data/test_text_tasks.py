"""Tasks over rows in memory: tokens, labels, splits, few-shot, order."""

import itertools
import subprocess
import sys

import pytest
import seqio

from mpt_jax import tasks
from mpt_jax.data import metrics, text_tasks
from mpt_jax.tasks.public import sources

_names = (f"text_task_{i}" for i in itertools.count())
LABELS = ("bad", "good", "fair")


def make_rows(num_train=60):
  train = [
    {"text": f"text {i}", "label": LABELS[i % 3]} for i in range(num_train)
  ]
  rest = [{"text": f"other {i}", "label": LABELS[i % 3]} for i in range(6)]
  return {"train": train, "validation": rest, "test": rest}


def register(name=None, num_train=60, **kwargs):
  return tasks.register_classification_task(
    name or next(_names),
    lambda: make_rows(num_train),
    template="rate: {text}",
    label_names=LABELS,
    vocabulary=seqio.ByteVocabulary(),
    **kwargs,
  )


def read(task, split="train", **kwargs):
  kwargs = {"shuffle": False, **kwargs}
  ds = task.get_dataset(kwargs.pop("sequence_length", None), split, **kwargs)
  return list(ds.as_numpy_iterator())


def texts(examples):
  return [example["inputs_pretokenized"].decode() for example in examples]


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
    next(_names),
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
    next(_names),
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
    next(_names),
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


def test_every_dataset_has_a_plain_and_a_prefixed_task():
  for name, source in sources.SOURCES.items():
    for suffix in ("", "_prefixed"):
      task = tasks.get_task(name + suffix)
      assert task.postprocessor.label_names == source.label_names
      assert set(task.splits) == {"train", "validation", "test"}
  held_out = [n for n, s in sources.SOURCES.items() if s.held_out]
  assert sorted(held_out) == [
    "bbc_topic",
    "spam",
    "vader_amazon",
    "vader_nyt",
    "vader_tweets",
  ]


def test_split_rows_repeats_no_text():
  rows = [{"text": f"Text  {i % 5000}", "label": "a"} for i in range(9000)]
  splits = sources.split_rows(rows)
  kept = [row["text"] for split in splits.values() for row in split]
  assert len(kept) == len(set(kept)) == 5000
  # A tenth of 5,000 for test, then a tenth of the 4,500 left.
  assert len(splits["test"]) == 500 and len(splits["validation"]) == 450
  assert splits == sources.split_rows(rows[::-1])


def test_split_rows_keeps_official_test_rows():
  rows = [
    {"text": "same", "label": "a", "split": "train"},
    {"text": "SAME", "label": "a", "split": "test"},
    *({"text": f"t{i}", "label": "a", "split": "train"} for i in range(20)),
  ]
  splits = sources.split_rows(rows)
  assert splits["test"] == [{"text": "SAME", "label": "a"}]
  assert len(splits["train"]) == 18 and len(splits["validation"]) == 2


ALONE = """
import sys
from mpt_jax import tasks
heavy = {"seqio", "tensorflow", "jax"} & set(sys.modules)
assert not heavy, heavy
assert tasks.get_task("glue_mnli").name == "glue_mnli"
try:
  tasks.nothing
except AttributeError as error:
  assert "no attribute 'nothing'" in str(error)
else:
  raise AssertionError
"""
AFTER_SEQIO = """
import seqio
from mpt_jax import tasks
assert seqio.get_mixture_or_task("super_glue_record").name
"""


@pytest.mark.parametrize("code", [ALONE, AFTER_SEQIO])
def test_the_registry_is_light_to_import(code):
  made = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert made.returncode == 0, made.stderr
