"""The metric that chooses the best step of a task."""

import numpy as np
import pytest
import seqio
import tfds_rows
from plain_task import first, seqio_task

from mpt_jax import tasks
from mpt_jax.inference.eval_task import EvalTask


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
    ("e2e_nlg", "bleu_e2e"),
  ],
)
def test_a_paper_s_task_has_its_metric(name, expected):
  task = tasks.get_task(name.removesuffix("_k2"))
  task = tasks.with_vocabulary(task, seqio.ByteVocabulary())
  if name.endswith("_k2"):
    task = tasks.few_shot(task, 2)
  made = EvalTask(task, "validation")
  assert made.main_metric() == expected


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
