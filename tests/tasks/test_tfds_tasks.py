"""Tasks over TFDS: inputs of metrics, few-shot, errors, new datasets."""

import itertools

import pytest
import seqio
import tfds_rows
from tfds_rows import eval_task, examples, postprocessed

from mpt_jax import tasks
from mpt_jax.data.labels import label_names
from mpt_jax.inference.eval_task import EvalTask
from mpt_jax.tasks import forms, splits, tfds_tasks
from mpt_jax.tasks.benchmarks import datasets

_names = (f"tfds_task_{i}" for i in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def mocked(tmp_path_factory):
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    yield


# The metrics if every predicted text is right, over all labelled rows outside
# of train.
RIGHT = {
  "glue_cola": {"matthews": 1, "accuracy": 1},
  "glue_mrpc": {"accuracy": 1, "f1": 1},
  "glue_qqp": {"accuracy": 1, "f1": 1},
  "glue_stsb": {"pearson": 1, "spearman": 1},
  # None of the two rows is an entailment: F1 is 0 there, and 2/3 on average.
  "super_glue_cb": {"accuracy": 1, "f1_macro": 2 / 3},
  "super_glue_multirc": {"f1a": 1, "em": 1},
  "super_glue_record": {"em": 1, "f1": 1},
  "squad": {"em": 1, "f1": 1},
  **dict.fromkeys(datasets.MRQA, {"em": 1, "f1": 1}),
  "e2e_nlg": {"bleu_e2e": 100, "bleu": 100},
  "web_nlg": {"bleu_webnlg": 100, "bleu": 100},
}


NAMES = sorted(
  name
  for name in seqio.TaskRegistry.names()
  if name.removesuffix("_prefixed") in datasets.DATASETS
  and name != "e2e_nlg_2017"
)


@pytest.mark.parametrize("name", NAMES)
def test_right_texts_are_right(name):
  plain = name.removesuffix("_prefixed")
  dataset = datasets.DATASETS[plain]
  halved = dataset.splits.division == "halve"
  targets, predictions = [], []
  for split in ("validation", "test") if halved else ("test",):
    task = eval_task(name, split)
    texts = [x["targets_pretokenized"].decode() for x in task.examples]
    targets += task.targets
    predictions += postprocessed(task, texts)
  made = {}
  for metric_fn in task.task.metric_fns:
    made.update(metric_fn(targets, predictions))
  assert made == pytest.approx(RIGHT.get(plain, {"accuracy": 1}))
  kind = {forms.Answers: "f1", forms.Score: "pearson"}
  special = {"glue_cola": "matthews", "super_glue_multirc": "f1a"}
  special |= {"e2e_nlg": "bleu_e2e", "web_nlg": "bleu_webnlg"}
  expected = special.get(plain, kind.get(type(dataset.form), "accuracy"))
  assert task.main_metric() == expected and expected in made
  names = label_names(task.task)
  if isinstance(dataset.form, forms.Labels):
    assert set(texts) <= set(names)
    assert (names == ("0", "1", "2")[: len(names)]) == (plain == name)
  else:
    assert names is None


@pytest.mark.parametrize("name", ["glue_mnli", "squad", "super_glue_multirc"])
def test_training_stream_and_few_shot(name):
  task = tasks.with_vocabulary(name, seqio.ByteVocabulary())
  few = tasks.few_shot(task, 1, seed=2)
  by_class = label_names(task)
  labels = [target for _, target in few.source.examples("train")]
  all_labels = {target for _, target in task.source.examples("train")}
  assert sorted(labels) == sorted(all_labels) if by_class else len(labels) == 1
  ds = few.get_dataset(
    {"inputs": 12, "targets": 4}, "train", shuffle=True, seed=0, num_epochs=2
  )
  rows = list(ds.as_numpy_iterator())
  assert len(rows) == 2 * len(labels)
  assert all(row["inputs"][-1] == 1 for row in rows)
  # Evaluation of a few-shot task is that of the task.
  assert EvalTask(few, "test").targets == eval_task(name).targets


def test_both_forms_of_a_task_are_split_alike():
  for name in ("glue_cola", "glue_sst2", "super_glue_multirc"):
    for split in ("train", "validation", "test"):
      plain = [target for _, target in examples(name, split)]
      words = tasks.get_task(f"{name}_prefixed").postprocessor
      named = [t for _, t in examples(f"{name}_prefixed", split)]
      assert plain == [str(words.label_names.index(word)) for word in named]


def test_unlabelled_rows_are_errors():
  def read(dataset):
    task = tfds_tasks.register_dataset(next(_names), dataset)
    return task.source.examples("test")

  own = splits.Splits("own", test="test")
  for form, tfds_name, template in (
    (forms.Labels(("a", "b")), "glue/cola:2.*.*", "{sentence}"),
    (forms.Score(), "glue/stsb:2.*.*", "{sentence1}"),
    (forms.Answers(), "super_glue/record:1.*.*", "{query}"),
  ):
    with pytest.raises(ValueError, match="split 'test': .*an unlabelled row"):
      read(tfds_tasks.Dataset(tfds_name, template, form, own))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      dict(template="{txt}"),
      "no field 'txt'; the rows.*label, text.*mean text",
    ),
    (dict(form=forms.Labels(("a", "b"), field="lab")), "no field 'lab'"),
    (dict(form=forms.References(target="summary")), "no field 'summary'"),
    (dict(key_fields=("id",)), "no field 'id'"),
  ],
)
def test_a_field_that_is_not_there(changes, message):
  values = dict(template="{text}", form=forms.Labels(("a", "b")))
  dataset = tfds_tasks.Dataset(
    "yelp_polarity_reviews:0.*.*", splits=splits.CARVE, **(values | changes)
  )
  task = tfds_tasks.register_dataset(next(_names), dataset)
  with pytest.raises(ValueError, match=f"split 'train': .*{message}"):
    task.source.examples("train")


def test_a_dataset_of_ones_own():
  task = tasks.register_dataset(
    next(_names),
    tasks.Dataset(
      "yelp_polarity_reviews:0.*.*",
      template="review: {text}",
      form=forms.Labels(("bad", "good")),
      splits=splits.Splits("carve", test="test"),
      digits=False,
    ),
    vocabulary=seqio.ByteVocabulary(),
  )
  assert task.source.examples("test") == [("review: Fine. \\n Good.", "good")]
  assert task.template == "review: {text}"
  with pytest.raises(ValueError, match="registered already"):
    tasks.register_dataset(task.name, datasets.DATASETS["squad"])
