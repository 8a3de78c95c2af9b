"""Evaluation under t5x: the native numbers, in t5x's form and its logs.

Needs t5x, as `test_adapter.py` does.
"""

import json
import types

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from program_runs import needs_t5x
from train_fixtures import save_tiny_backbone, tiny_experiment, tiny_tasks

from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import NotFiniteError
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.prompts.kinds import compose_bank
from mpt_jax.prompts.slots import make_slots

__all__ = ["tiny_tasks"]

pytestmark = needs_t5x


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny_tasks):
  from mpt_jax.t5x import data

  folder = tmp_path_factory.mktemp("evaluation")
  backbone = save_tiny_backbone(folder / "t5")
  return data.assemble(tiny_experiment(make_slots(tiny_tasks[:2]), backbone))


@pytest.fixture(scope="module")
def params(parts):
  made = parts.model.init_variables(jax.random.key(1))["params"]
  return {**parts.backbone.params, "prompt": made["prompt"]}


@pytest.fixture(scope="module")
def native(parts, params):
  """(metrics of each slot, predictions) without t5x."""
  config = parts.experiment.eval
  engine = Engine(
    parts.model.config,
    parts.backbone.params,
    compose_bank(params["prompt"], parts.model.groups),
    inputs_length=parts.layout.inputs_length,
    targets_length=parts.layout.targets_length,
    mesh=Mesh(np.reshape(jax.devices()[:1], (1, 1)), ("data", "model")),
    batch_size=config.num_rows,
    generation=config.generation,
  )
  evaluator = Evaluator(parts.tasks, config)
  predictions, scores = evaluator.predict(engine)
  return evaluator.metrics(predictions, scores), predictions


def mesh():
  devices = np.reshape(jax.devices(), (2, 2, 2))
  return Mesh(devices, ("replica", "data", "model"))


def test_metrics_are_the_native_ones_and_the_logs_have_them(
  parts, params, native, tmp_path
):
  from mpt_jax.t5x import tasks
  from mpt_jax.t5x.evaluation import Evaluation

  evaluation = Evaluation(parts, mesh(), str(tmp_path))
  metrics = evaluation(params, 5)
  assert metrics == native[0]
  for slot, own, made, name in zip(
    parts.experiment.slots, *native, evaluation.names, strict=True
  ):
    assert name in own
    folder, task = tmp_path / "inference_eval", tasks.PREFIX + slot.name
    file = folder / f"{task}-metrics.jsonl"
    (line,) = map(json.loads, file.read_text().splitlines())
    assert line["step"] == 5
    assert {k: line[k] for k in own} == pytest.approx(own)
    lines = folder / f"{task}-000005.jsonl"
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["prediction"] for row in rows] == list(made)
  # t5x gives the parameters away after an evaluation: they stay as they are.
  assert "prompt" in params


def test_t5xs_evaluator_takes_its_parameters_or_the_best_prompts(
  parts, params, native, tmp_path
):
  from mpt_jax.t5x import tasks
  from mpt_jax.t5x.evaluation import PromptEvaluator

  moved = jax.tree.map(lambda x: x + 1.0, params["prompt"])
  for prompts, own in ((None, params["prompt"]), (params["prompt"], moved)):
    evaluator = PromptEvaluator(
      feature_converter=tasks.PromptFeatureConverter(
        prompt_length=parts.experiment.prompt_length
      ),
      sequence_length=tasks.feature_lengths(parts),
      log_dir=str(tmp_path / "out" / "inference_eval"),
      experiment=parts.experiment,
      partitioner=types.SimpleNamespace(mesh=mesh()),
      prompts=prompts,
      mixture_or_task_name="of t5x",
    )
    state = types.SimpleNamespace(params={**params, "prompt": own})
    predict = types.SimpleNamespace(keywords={"train_state": state})
    done, outputs = evaluator.evaluate(
      compute_metrics=True, step=1, predict_fn=predict, score_fn=None
    )
    names = [tasks.PREFIX + slot.name for slot in parts.experiment.slots]
    expected = dict(zip(names, native[0], strict=True))
    assert done.result() == expected and outputs == {}
    silent, _ = evaluator.evaluate(
      compute_metrics=False, step=1, predict_fn=predict
    )
    assert silent.result() is None
    evaluator.close()
  # t5x compiles its functions for rows of these lengths.
  shapes = evaluator.model_feature_shapes
  assert shapes["decoder_target_tokens"] == (parts.layout.targets_length,)


@pytest.mark.parametrize(
  ("mode", "good", "bad"),
  [
    ("predict", [[5, 1], [6, 1]], [[5, 1], [-1, -1]]),
    ("predict_with_aux", [[5, 1], [6, 1]], [[5, 1], [-1, -1]]),
    # A score of -1 is a number like others.
    ("score", [-1.0, -2.0], [-1.0, float("nan")]),
    ("score", [-1.0, -2.0], [-1.0, -float("inf")]),
  ],
)
def test_answers_that_are_not_finite_are_not_written(mode, good, bad):
  import tensorflow as tf

  from mpt_jax.t5x.evaluation import write_finite

  written = []
  examples = tf.data.Dataset.from_tensor_slices({"task": ["a", "b"]})

  def write(path, answers, examples, mode, vocabulary):
    written.append((path, answers, mode, vocabulary))

  good, bad = ([np.array(x) for x in own] for own in (good, bad))
  write_finite("/out/chunk0", (good, {}), examples, mode, 7, write=write)
  assert written == [("/out/chunk0", (good, {}), mode, 7)]
  with pytest.raises(NotFiniteError, match="prompt 'b', example 2 of chunk0"):
    write_finite("/out/chunk0", (bad, {}), examples, mode, 7, write=write)
  assert len(written) == 1
