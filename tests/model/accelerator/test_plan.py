"""The plan of accelerators against the plain plan."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.model.accelerator.plan import KEEPS, Accelerated
from mpt_jax.model.network import T5
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.prompts.config import PromptConfig

LAYOUT = BatchLayout(
  inputs_length=10, targets_length=6, prompt_length=3, num_slots=2
)


@pytest.fixture(scope="module")
def distilling(make_config, make_params):
  """made(dtype) -> (model with `Dense`, trainable, frozen)."""

  def make(dtype="float32", trainable="prompt", **changes):
    model = Model(
      make_config("1.1", dtype=dtype, **changes),
      PromptConfig(num_slots=2, prompt_length=3),
      PromptConfig(num_slots=2, prompt_length=3, rank=0),
      LossConfig(distill=DistillConfig(hidden_layers="all")),
      trainable,
    )
    params, frozen = model.split_params(make_params(model))
    teacher = jax.random.normal(jax.random.key(1), (2, 3, 16))
    return (
      model,
      params,
      {**frozen, "teacher_prompt": {"shared_prompt": teacher}},
    )

  return make


@functools.partial(jax.jit, static_argnums=0)
def _value_and_grad(model, params, frozen, batch):
  value = jax.value_and_grad(model.loss, has_aux=True)
  return value(params, frozen, batch)


def _compare(found, expected, bound=1e-5):
  """Compares relative to the largest number of the tree, as for a norm."""
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))

  def close(found, expected):
    np.testing.assert_allclose(found / largest, expected / largest, atol=bound)

  jax.tree.map(close, found, expected)


def _run(model, params, frozen, batch):
  return _value_and_grad(model, params, model.plan.prepare(frozen), batch)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("keeps", KEEPS)
def test_losses_and_gradients_are_the_plain_ones(
  distilling, make_examples, keeps, pack
):
  model, *case = distilling()
  layout = dataclasses.replace(LAYOUT, pack=pack, num_rows=8)
  batch, _ = make_batch(make_examples(7, 2), layout)
  plan = Accelerated(platform="interpret", keeps=keeps)
  _compare(
    _run(dataclasses.replace(model, plan=plan), *case, batch),
    _run(model, *case, batch),
  )


def test_logits_in_parts_give_the_same_losses(distilling, make_examples):
  model, *case = distilling()
  batch, _ = make_batch(make_examples(7, 2), LAYOUT)
  # 40 pieces in 8 parts, as 40 is 8 · 5.
  plan = Accelerated(logits_bytes=1)
  targets = batch["decoder_target_tokens"].shape
  assert plan.vocabulary_chunks(model.config, targets) == 8
  for tied in (True, False):
    config = dataclasses.replace(model.config, logits_via_embedding=tied)
    plain = dataclasses.replace(model, config=config)
    other = dataclasses.replace(plain, plan=plan)
    _compare(_run(other, *case, batch), _run(plain, *case, batch))


def test_bfloat16_is_as_near(distilling, make_examples):
  model, *case = distilling("bfloat16")
  batch, _ = make_batch(make_examples(7, 2), LAYOUT)
  plan = Accelerated(platform="interpret")
  found, gradients = _run(dataclasses.replace(model, plan=plan), *case, batch)
  expected, plain = _run(model, *case, batch)
  _compare(found, expected, 1e-2)
  # Both round to 8 bits in each layer, in another order.
  _compare(gradients, plain, 3e-2)


def test_a_whole_t5_trains_with_plain_attention(distilling, make_examples):
  model, *case = distilling(trainable="everything")
  batch, _ = make_batch(make_examples(5, 2), LAYOUT)
  plan = Accelerated(keeps="projections")
  found = _run(dataclasses.replace(model, plan=plan), *case, batch)
  expected = _run(model, *case, batch)
  bias = found[1]["encoder"]["relpos_bias"]["rel_embedding"]
  assert np.abs(bias).max() > 1e-3
  _compare(found, expected)


def test_training_its_bias_with_fused_attention_is_refused(
  distilling, make_examples
):
  model, *case = distilling(trainable="everything")
  batch, _ = make_batch(make_examples(5, 2), LAYOUT)
  model = dataclasses.replace(model, plan=Accelerated(platform="interpret"))
  with pytest.raises(ValueError, match="no gradient of the relative position"):
    _run(model, *case, batch)


def test_a_mesh_gives_the_same_step(distilling, make_examples):
  model, *case = distilling(num_heads=4)
  batch, _ = make_batch(
    make_examples(8, 2), dataclasses.replace(LAYOUT, num_rows=8)
  )
  mesh = jax.make_mesh(
    (4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  plan = Accelerated(platform="interpret", keeps="nothing", mesh=mesh)
  data = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  _compare(
    _run(
      dataclasses.replace(model, plan=plan), *case, jax.device_put(batch, data)
    ),
    _run(model, *case, batch),
  )


def test_stacked_layers_have_t5x_names_at_the_boundary(distilling):
  model, _, frozen = distilling()
  plan = Accelerated()
  prepared = plan.prepare(frozen)
  assert "layers_0" not in prepared["encoder"]
  # Layers, emb_dim, mlp_dim.
  assert prepared["encoder"]["layers"]["mlp"]["wi_0"]["kernel"].shape == (
    2,
    16,
    24,
  )
  jax.tree.map(np.testing.assert_array_equal, plan.restore(prepared), frozen)
  # A T5 that trains is not prepared.
  assert plan.restore(frozen) == frozen
  # Parameters on a mesh stay divided.
  mesh = jax.make_mesh(
    (4, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  spec = jax.sharding.PartitionSpec(None, "model")
  kernels = {f"layers_{i}": {"kernel": np.ones((4, 6)) * i} for i in range(3)}
  placed = jax.device_put(
    {"encoder": kernels}, jax.sharding.NamedSharding(mesh, spec)
  )
  kernel = plan.prepare(placed)["encoder"]["layers"]["kernel"]
  assert kernel.shape == (3, 4, 6)
  stacked = jax.sharding.PartitionSpec(None, None, "model")
  assert kernel.sharding.spec == stacked


def test_decoding_gives_the_tokens_of_the_plain_plan(
  make_config, make_params, make_examples
):
  plain = T5(make_config(), PromptConfig(num_slots=2, prompt_length=3, rank=0))
  other = plain.clone(plan=Accelerated(platform="interpret"))
  params = make_params(Model(plain.config, plain.prompt_config))
  batch, _ = make_batch(
    make_examples(5, 2), dataclasses.replace(LAYOUT, pack=False)
  )
  decode = jax.jit(
    decoding.greedy_decode, static_argnames=("network", "max_length")
  )
  tokens = decode(plain, params, batch, max_length=6)
  # The outputs differ from row to row, so a wrong cache would show.
  assert len({tuple(row) for row in np.asarray(tokens).tolist()}) > 2
  np.testing.assert_array_equal(
    decode(other, other.plan.prepare(params), batch, max_length=6), tokens
  )


def test_dropout_is_refused(distilling, make_examples):
  model, *case = distilling(dropout_rate=0.1)
  batch, _ = make_batch(make_examples(3, 2), LAYOUT)
  model = dataclasses.replace(model, plan=Accelerated())
  with pytest.raises(ValueError, match="dropout.*Accelerated.*dropout_rate=0"):
    model.loss(*case, batch, jax.random.key(0))


def test_settings_are_checked():
  with pytest.raises(ValueError, match="platform 'gpu' is not one of"):
    Accelerated(platform="gpu")
  with pytest.raises(ValueError, match="keeps 'all' is not one of"):
    Accelerated(keeps="all")
