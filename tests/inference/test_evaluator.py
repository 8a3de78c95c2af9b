"""The metric that chooses the best step of a task."""

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tfds_rows

from mpt_jax import tasks
from mpt_jax.inference.evaluator import EvalConfig, EvalTask, Evaluator
from mpt_jax.text import vocabularies


@pytest.fixture(scope="module", autouse=True)
def mocked(tmp_path_factory):
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    yield


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("glue_cola", "matthews"),
    ("glue_stsb", "pearson"),
    ("glue_mrpc", "accuracy"),
    ("super_glue_multirc", "f1a"),
    # The first value of SQuAD's function is the exact match.
    ("squad", "f1"),
    ("squad_k2", "f1"),
    ("e2e_nlg", "bleu"),
  ],
)
def test_a_paper_s_task_has_its_metric(name, expected):
  task = tasks.get_task(name.removesuffix("_k2"))
  task = tasks.with_vocabulary(task, seqio.ByteVocabulary())
  if name.endswith("_k2"):
    task = tasks.few_shot(task, 2)
  made = EvalTask(task, "validation")
  assert made.main_metric() == expected


def seqio_task(name, metric_fns):
  """A plain seqio task, without `mpt_jax.tasks.Dataset`."""
  rows = [{"inputs": "a b", "targets": "yes"}]
  generate = lambda: iter(rows)
  vocabulary = vocabularies.default_vocabulary()
  feature = seqio.Feature(vocabulary, add_eos=True)
  return seqio.Task(
    name,
    seqio.FunctionDataSource(
      lambda split, shuffle_files, seed=None: tf.data.Dataset.from_generator(
        generate,
        output_signature={
          k: tf.TensorSpec((), tf.string) for k in ("inputs", "targets")
        },
      ),
      splits=("validation",),
    ),
    output_features={"inputs": feature, "targets": feature},
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
    metric_fns=metric_fns,
  )


def first(targets, predictions):
  assert targets == predictions == ["yes"]
  return {"b": 1.0, "a": 2.0}


def second(targets, predictions):
  return {"c": 3.0}


def test_a_plain_seqio_task_has_the_first_value_or_the_one_asked_for():
  task = EvalTask(seqio_task("plain", [first, second]), "validation")
  assert task.main_metric() == "b"
  assert task.main_metric("c") == "c"
  with pytest.raises(ValueError, match="'d' is not among .* 'plain': b, a, c"):
    task.main_metric("d")


def test_without_metric_functions_there_is_no_best_step():
  task = EvalTask(seqio_task("bare", []), "validation")
  with pytest.raises(ValueError, match="'bare' has no metric_fns"):
    task.main_metric()


class KnownScores:
  """An engine that scores a target by its number of tokens."""

  num_prompts, targets_length = 2, 3

  def __init__(self, task):
    self.seen, self._task = [], task

  def rank(self, examples, advance):
    self.seen += examples
    advance(len(examples))
    return [np.array([-float(len(e.candidates[0]))]) for e in examples]

  def generate(self, examples, advance):
    advance(len(examples))
    return [self._task.vocabulary.encode("yes") for _ in examples]


def surprise(targets, scores):
  assert targets == ["yes"]
  return {"surprise": -sum(scores) / len(scores)}


def test_metric_functions_get_scores_as_seqio_gives_them():
  task = seqio_task("scored", [surprise, first])
  made = Evaluator([task, task], EvalConfig())
  # seqio puts the functions of predictions first.
  assert made.main_metrics() == ["b", "b"]
  engine = KnownScores(EvalTask(task, "validation"))
  progress = []
  rows = made(engine, lambda done, total: progress.append((done, total)))
  target = engine.seen[0].candidates[0]
  assert [example.prompt for example in engine.seen] == [0, 1]
  assert rows[0] == {
    "b": 1.0,
    "a": 2.0,
    "surprise": len(target),
    "num_examples": 1,
  }
  assert progress[-1] == (4, 4)


def test_metric_functions_that_only_t5x_can_call():
  def with_aux(targets, predictions, aux_values):
    return {}

  with pytest.raises(ValueError, match="'aux'.*with_aux takes aux_values"):
    EvalTask(seqio_task("aux", [with_aux]), "validation")
  with pytest.raises(ValueError, match="must have positional arguments"):
    EvalTask(seqio_task("odd", [lambda a, b: {}]), "validation")


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (lambda: {}["x"], "KeyError: 'x'"),
    (lambda: None, "AttributeError"),
    (lambda: {"a": "good"}, "could not convert string to float"),
    (lambda: {"a": np.ones(3)}, "TypeError"),
  ],
)
def test_a_metric_function_that_fails_is_named(value, message):
  def broken(targets, predictions):
    return value()

  task = EvalTask(seqio_task("broken", [broken]), "validation")
  expected = f"metric function broken of task 'broken' failed: .*{message}"
  with pytest.raises(ValueError, match=expected) as error:
    task.main_metric()
  assert "\n" not in str(error.value)
