"""The plan of one CPU against the plain plan."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.predictor import Predictor
from mpt_jax.model.config import T5Config
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.config import PromptConfig

ROOT = pathlib.Path(__file__).parents[3]

EXAMPLES = [
  {"inputs": np.array([7, 8, 9, 1]), "targets": np.array([5, 1]), "slot_id": 0},
  {"inputs": np.array([3, 1]), "targets": np.array([6, 7, 1]), "slot_id": 1},
  {
    "inputs": np.array([4, 5, 6, 7, 8, 1]),
    "targets": np.array([9, 1]),
    "slot_id": 1,
  },
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("trainable", ["prompt", "everything"])
def test_long_rows_by_segments_give_the_loss_of_packed_rows(dtype, trainable):
  config = T5Config.preset("t5_1_1_tiny", vocab_size=32, dtype=dtype)
  model = Model(
    config,
    PromptConfig(num_slots=2, prompt_length=3),
    PromptConfig(num_slots=2, prompt_length=3, rank=0),
    LossConfig(distill=DistillConfig(hidden_layers="all")),
    trainable,
  )
  by_segments = Model(
    config,
    model.prompt_config,
    model.teacher_config,
    model.loss_config,
    trainable,
    plan=BySegments(longest_segment=9, shortest_segment=4),
  )
  params = model.init_variables(jax.random.key(0))["params"]
  teacher = {"shared_prompt": jax.random.normal(jax.random.key(1), (2, 3, 64))}
  params, frozen = model.split_params(params)
  frozen["teacher_prompt"] = teacher

  def loss(model, **options):
    batch, _ = make_batch(
      EXAMPLES,
      BatchLayout(
        inputs_length=6,
        targets_length=4,
        prompt_length=3,
        num_slots=2,
        **options,
      ),
    )
    value = jax.value_and_grad(model.loss, has_aux=True)
    return value(params, frozen, batch)

  (packed, metrics), gradients = loss(model)
  (single, single_metrics), single_gradients = loss(by_segments, long_rows=True)
  # bfloat16 has 8 bits, and other shapes round in another order.
  rtol, atol = (2e-5, 1e-5) if dtype == "float32" else (0.05, 0.05)
  np.testing.assert_allclose(single, packed, rtol=rtol)

  def close(a, b):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)

  jax.tree.map(close, single_metrics, metrics)
  jax.tree.map(close, single_gradients, gradients)
  if trainable == "prompt":
    # The loop over layers that were stacked before the step is the same.
    prepared = by_segments.plan.prepare(frozen)
    kernel = prepared["encoder"]["layers"]["mlp"]["wo"]["kernel"]
    assert kernel.shape == (2, 128, 64)  # Layers, mlp_dim, emb_dim.
    restored = by_segments.plan.restore(prepared)
    assert jax.tree.structure(restored) == jax.tree.structure(frozen)
    frozen = prepared
    stacked, stacked_gradients = loss(by_segments, long_rows=True)
    np.testing.assert_array_equal(stacked[0], single)
    jax.tree.map(
      np.testing.assert_array_equal, stacked_gradients, single_gradients
    )


def test_a_plan_knows_the_lengths_and_rows_of_its_batches():
  config = BatchLayout(
    inputs_length=16, targets_length=4, prompt_length=3, row_multiple=8
  )
  plan = BySegments.for_batches(config)
  # The prompt and the longest input; the prompt and the end of sequence.
  assert plan == BySegments(longest_segment=19, shortest_segment=4)
  assert plan.rows(config) == dataclasses.replace(
    config, long_rows=True, row_multiple=1
  )


def test_dropout_is_refused(make_config, make_params, make_examples):
  model = Model(
    make_config(dropout_rate=0.1),
    PromptConfig(num_slots=2, prompt_length=3),
    plan=BySegments(13),
  )
  batch, _ = make_batch(
    make_examples(3, 2),
    BatchLayout(
      inputs_length=10, targets_length=6, prompt_length=3, num_slots=2
    ),
  )
  params, frozen = model.split_params(make_params(model))
  with pytest.raises(ValueError, match="dropout.*BySegments.*dropout_rate=0"):
    model.loss(params, frozen, batch, jax.random.key(0))


ONE_CPU = """
import json, pathlib, sys
import train_fixtures
from mpt_jax.data.batches import BatchConfig, make_batch
from mpt_jax.data.mixing import MixConfig
from mpt_jax.data.pipeline import ExampleStream
from mpt_jax.inference.predictor import Predictor
from mpt_jax.model import choice
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.slots import Slot
from mpt_jax.training import assembly
from mpt_jax.training.loop import train
folder = pathlib.Path(sys.argv[1])

assert choice.is_one_cpu()
task = train_fixtures.register_tiny_task(folder / "data")
t5 = train_fixtures.save_tiny_backbone(folder / "t5", num_encoder_layers=2)
slots = (Slot(task=task, seed=0), Slot(task=task, seed=1))
for name, row_length in (("long", None), ("rows", 19)):
  experiment = train_fixtures.tiny_experiment(
    slots,
    t5,
    batch=BatchConfig(
      inputs_length=16, targets_length=4, row_length=row_length
    ),
    mix=MixConfig(batch_size=400),
    total_steps=2,
  )
  parts = assembly.assemble(experiment)
  config = parts.layout
  assert config.long_rows == (name == "long")
  is_plain = type(parts.model.plan) is Dense
  assert is_plain == (name == "rows")
  if name == "long":
    # Several long rows, of which a step takes one at a time.
    names = [slot.data_name for slot in slots]
    stream = ExampleStream(parts.tasks, names, experiment.mix)
    batch, _ = make_batch(next(stream), config)
    assert len(batch["encoder_input_tokens"]) == 2
  train(experiment, model_dir=folder / name)

rows = json.loads((folder / "rows.json").read_text())
rows = [{**row, "task": slots[row["slot"]].name} for row in rows]
for method in ("rank", "decode"):
  predictor = Predictor(folder / "rows", method=method, batch_size=1000)
  made = predictor.predict(rows)
  (folder / f"{method}.json").write_text(json.dumps(made))
"""


def test_one_cpu_trains_and_predicts_by_segments_to_the_same_end(tmp_path):
  # More than 8,192 positions, so several batches, with rows of all lengths.
  lengths = (1, 9, 3, 40, 2, 5, 1, 1, 7) * 50
  rows = [
    {"text": "red house " * n, "slot": slot} for n in lengths for slot in (0, 1)
  ]
  (tmp_path / "rows.json").write_text(json.dumps(rows))
  made = subprocess.run(
    [sys.executable, "-c", ONE_CPU, str(tmp_path)],
    env={
      **os.environ,
      # One device, where the suite has eight.
      "XLA_FLAGS": "",
      "PYTHONPATH": os.pathsep.join(
        [str(ROOT / "tests" / "fixtures"), str(ROOT)]
      ),
    },
    capture_output=True,
    text=True,
  )
  assert made.returncode == 0, made.stderr
  long, rows_bank = (load_bank(tmp_path / name) for name in ("long", "rows"))
  np.testing.assert_allclose(long.composed, rows_bank.composed, atol=1e-4)
  for method in ("rank", "decode"):
    predictor = Predictor(tmp_path / "rows", method=method, batch_size=1000)
    names = predictor.bank.names
    expected = predictor.predict(
      [{**row, "task": names[row["slot"]]} for row in rows]
    )
    made = json.loads((tmp_path / f"{method}.json").read_text())
    for a, b in zip(made, expected, strict=True):
      if method == "decode":
        assert a["prediction"] == b["prediction"]
      else:
        np.testing.assert_allclose(
          list(a["scores"].values()), list(b["scores"].values()), atol=1e-4
        )
