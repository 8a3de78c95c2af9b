"""Attention by segments against attention over whole rows."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.data.batches import BatchConfig, make_batch
from mpt_jax.model.config import T5Config
from mpt_jax.model.cpu import segment_attention
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.parametrization import PromptConfig

HEADS, HEAD_DIM = 2, 4
ROOT = pathlib.Path(__file__).parents[3]


def whole_rows(queries, keys, values, table, segment_ids):
  """Masked attention over rows; table: [H, 2L - 1], bias by difference."""
  rows, length = segment_ids.shape
  split = lambda x: x.reshape(rows, length, HEADS, HEAD_DIM).swapaxes(1, 2)
  scores = split(queries) @ split(keys).swapaxes(-1, -2)
  difference = np.arange(length)[None, :] - np.arange(length)[:, None]
  scores += table[:, difference + length - 1][None]
  mask = segment_ids[:, :, None] == segment_ids[:, None, :]
  scores = jnp.where(mask[:, None], scores, -1e10)
  y = jax.nn.softmax(scores) @ split(values)
  return y.swapaxes(1, 2).reshape(rows * length, HEADS, HEAD_DIM)


# Lengths of the segments of each row and what they leave free: segments that
# fill a row, that are longer than a square of the smallest size, of one
# position, a row that ends and one that begins with the same number, no
# segment at all.
ROWS = [
  ([[5, 1, 70, 20], [130], [1, 1, 100], []], 130),
  ([[3, 4, 2]], 10),
  ([[200], [96, 97]], 200),
  ([[200], [97, 100]], 200),
]


@pytest.mark.parametrize("rows, length", ROWS)
def test_segments_equal_masked_rows(rows, length):
  segment_ids = np.zeros((len(rows), length), np.int32)
  for row, lengths in zip(segment_ids, rows, strict=True):
    ends = np.cumsum([0, *lengths])
    for i in range(len(lengths)):
      row[ends[i] : ends[i + 1]] = i + 1
  longest = max(n for row in rows for n in row)
  shortest = min(n for row in rows for n in row)
  rng = np.random.default_rng(0)
  shape = (segment_ids.size, HEADS, HEAD_DIM)
  inputs = [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(3)]
  table = jnp.asarray(rng.normal(size=(HEADS, 2 * length - 1)), jnp.float32)
  real = (segment_ids.reshape(-1) > 0)[:, None, None]
  cotangent = jnp.asarray(np.where(real, rng.normal(size=shape), 0))

  def by_segments(queries, keys, values, table):
    segments = segment_attention.find_segments(segment_ids, longest, shortest)
    size = segments.sizes[-1]
    difference = np.arange(size)[None, :] - np.arange(size)[:, None]
    bias = table[:, difference + length - 1]
    return segment_attention.attend(queries, keys, values, bias, segments)

  def rowwise(queries, keys, values, table):
    return whole_rows(queries, keys, values, table, jnp.asarray(segment_ids))

  y, gradients = jax.vjp(by_segments, *inputs, table)
  expected, expected_gradients = jax.vjp(rowwise, *inputs, table)
  np.testing.assert_allclose(
    y, np.where(real, expected, 0), rtol=1e-5, atol=1e-6
  )
  for made, wanted in zip(
    gradients(cotangent), expected_gradients(cotangent), strict=True
  ):
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-5)


def test_what_lies_at_padding_is_not_looked_at():
  segment_ids = np.array([[1, 1, 0, 0], [1, 2, 2, 0]], np.int32)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(8, HEADS, HEAD_DIM)).astype(np.float32)
  segments = segment_attention.find_segments(segment_ids, 2)
  bias = jnp.zeros((HEADS, segments.sizes[-1], segments.sizes[-1]))
  total = lambda x: jnp.sum(
    jnp.square(segment_attention.attend(x, x, x, bias, segments))
  )
  padding = segment_ids.reshape(-1) == 0
  other = np.where(padding[:, None, None], 1e6, x)
  made, wanted = jax.grad(total)(other), jax.grad(total)(x)
  np.testing.assert_array_equal(made, wanted)
  assert not np.any(np.asarray(made)[padding])


EXAMPLES = [
  {"inputs": np.array([7, 8, 9, 1]), "targets": np.array([5, 1]), "task_id": 0},
  {"inputs": np.array([3, 1]), "targets": np.array([6, 7, 1]), "task_id": 1},
  {
    "inputs": np.array([4, 5, 6, 7, 8, 1]),
    "targets": np.array([9, 1]),
    "task_id": 1,
  },
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("trainable", ["prompt", "everything"])
def test_long_rows_by_segments_give_the_loss_of_packed_rows(dtype, trainable):
  config = T5Config.preset("t5_1_1_tiny", vocab_size=32, dtype=dtype)
  model = Model(
    config,
    PromptConfig(2, 3),
    PromptConfig(2, 3, 0),
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
      EXAMPLES, BatchConfig(6, 4, prompt_length=3, num_tasks=2, **options)
    )
    value = jax.value_and_grad(model.loss, has_aux=True)
    return value(params, frozen, batch)

  (packed, metrics), gradients = loss(model)
  (single, single_metrics), single_gradients = loss(by_segments, long_rows=True)
  # bfloat16 has 8 bits, and other shapes round in another order.
  rtol, atol = (2e-5, 1e-5) if dtype == "float32" else (0.05, 0.05)
  np.testing.assert_allclose(single, packed, rtol=rtol)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
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


def test_a_long_row_is_as_long_as_its_examples():
  config = BatchConfig(6, 4, prompt_length=3, num_tasks=2, long_rows=True)
  batch, stats = make_batch(EXAMPLES * 20, config)
  # 60 examples: 3 · 3 slots + 4 + 2 + 6 tokens for each three, 20 · 21 = 420
  # positions in steps of 128; 20 · (2 + 3 + 2) = 140 target tokens in steps of
  # 32.
  assert batch["encoder_input_tokens"].shape == (1, 512)
  assert batch["decoder_input_tokens"].shape == (1, 160)
  assert stats.num_tokens == 420 + 140
  assert batch["encoder_segment_ids"].max() == 60


def test_a_batch_of_no_examples_is_a_long_row_of_padding():
  config = BatchConfig(6, 4, prompt_length=3, num_tasks=2, long_rows=True)
  batch, stats = make_batch([], config, 2)
  assert batch["encoder_input_tokens"].shape == (2, 128)
  assert batch["decoder_input_tokens"].shape == (2, 32)
  assert not batch["encoder_segment_ids"].any()
  assert not batch["decoder_loss_weights"].any()
  assert stats.num_tokens == 0


def test_long_rows_have_about_3072_positions_at_most():
  config = BatchConfig(1000, 4, long_rows=True)
  example = {"inputs": np.full(1000, 5), "targets": np.array([5, 1])}
  batch, _ = make_batch([example] * 9, config)
  # Three rows hold 9,000 positions, three examples each; 3,000 in steps of
  # 2048 / 8 are 3,072.
  assert batch["encoder_input_tokens"].shape == (3, 3072)
  assert [row.max() for row in batch["encoder_segment_ids"]] == [3, 3, 3]
  assert batch["decoder_input_tokens"].shape == (3, 32)
  longer = {**example, "inputs": np.full(9000, 5)}
  config = BatchConfig(9000, 4, long_rows=True)
  batch, _ = make_batch([longer, example], config)
  # 9,000 positions alone are more than a row: 9 · 8192 / 8 = 9,216.
  assert batch["encoder_input_tokens"].shape == (2, 9216)


ONE_CPU = """
import pathlib, sys
import jax
import numpy as np
import train_fixtures
from mpt_jax.data import batches
from mpt_jax.data.batches import BatchConfig
from mpt_jax.inference import predictor as predict
from mpt_jax.model.cpu import segment_attention
from mpt_jax.prompts.bank import Slot
from mpt_jax.training import assembly
from mpt_jax.training.loop import train
folder = pathlib.Path(sys.argv[1])
task = train_fixtures.register_tiny_task(folder / "data")
t5 = train_fixtures.save_tiny_backbone(folder / "t5", num_encoder_layers=2)
# Several long rows, of which a step takes one at a time.
batches.LONG_ROW = 60
for name, row_length in (("single", None), ("rows", 19)):
  experiment = train_fixtures.tiny_experiment(
    (Slot(task, seed=0), Slot(task, seed=1)),
    t5,
    batch=BatchConfig(16, 4, row_length=row_length),
    total_steps=4,
  )
  # A length of rows that was chosen is kept.
  batch = assembly.assemble(experiment).experiment.batch
  assert batch.long_rows == (row_length is None)
  train(experiment, model_dir=folder / name)

rows = [{"text": "red house " * n} for n in (1, 9, 3, 40, 2, 5, 1, 1, 7)]
rows = [{**row, "task": slot} for row in rows for slot in (0, 1)]
for method, key in (("rank", "scores"), ("decode", "prediction")):
  made = []
  for suits in (True, False):
    segment_attention.suits_devices = lambda: suits
    # Of 8 rows of 19 positions the batches have fewer, to stay below 50.
    predict.LONG_ROW = 50
    predictor = predict.Predictor(folder / "rows", method=method, batch_size=8)
    names = predictor.bank.names
    made.append(
      predictor.predict([{**r, "task": names[r["task"]]} for r in rows])
    )
  for a, b in zip(*made):
    if key == "prediction":
      assert a[key] == b[key]
    else:
      np.testing.assert_allclose(
        list(a[key].values()), list(b[key].values()), atol=1e-4
      )
"""


def test_one_cpu_trains_and_predicts_by_segments_to_the_same_end(tmp_path):
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
  single, rows = (load_bank(tmp_path / name) for name in ("single", "rows"))
  np.testing.assert_allclose(single.composed, rows.composed, atol=1e-4)
