"""The metric that chooses the best step of a task."""

import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
import tfds_rows

from mpt_jax import tasks
from mpt_jax.data import vocabularies
from mpt_jax.inference.evaluator import EvalTask
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.training import run_folder


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


def test_each_group_keeps_its_best_step_by_its_own_metric():
  # Slots 0 and 1 share P*, slot 2 has its own.
  config = T5Config.preset("t5_tiny")
  model = Model(
    config, PromptConfig(num_tasks=3, prompt_length=1, rank=1, groups=(0, 0, 1))
  )
  tree = lambda value: {
    "prompt": {
      "shared_prompt": np.full((2, 1, 64), value),
      "task_columns": np.full((3, 1, 1), value),
      "task_rows": np.full((3, 1, 64), value),
    }
  }
  update = functools.partial(
    run_folder.update_best, model=model, names=("f1", "accuracy", "accuracy")
  )
  metrics = lambda *values: [
    {"f1": values[0], "em": 1.0},
    {"accuracy": values[1]},
    {"accuracy": values[2]},
  ]
  best = run_folder.init_best(model, tree(0.0))
  best = update(best, tree(1.0), metrics(0.2, 0.6, 0.5), step=1)
  # The first group's mean falls from 0.4 to 0.35, the second's rises.
  best = update(best, tree(2.0), metrics(0.1, 0.6, 0.7), step=2)
  # The first group's rises to 0.45, the second's stays.
  best = update(best, tree(3.0), metrics(0.4, 0.5, 0.7), step=3)
  np.testing.assert_allclose(best["metric"], [0.45, 0.7], rtol=1e-6)
  assert best["step"].tolist() == [3, 2]
  np.testing.assert_allclose(best["values"], [0.4, 0.5, 0.7], rtol=1e-6)
  shared = best["prompt"]["shared_prompt"]
  assert shared[:, 0, 0].tolist() == [3.0, 2.0]
  assert best["prompt"]["task_columns"][:, 0, 0].tolist() == [3.0, 3.0, 2.0]
