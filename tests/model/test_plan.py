"""The decisions of a plan, shown by a plan in a single class."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.model import layers
from mpt_jax.model.attention import segment_mask
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.network import T5, init_variables
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig

STACKS = ("encoder", "decoder")
CONFIG = BatchLayout(
  inputs_length=10, targets_length=6, prompt_length=3, num_slots=2
)


def _take(tree, i):
  return jax.tree.map(lambda x: x[i], tree)


@dataclasses.dataclass(frozen=True)
class Blockwise(Dense):
  """A plan as one might write it for accelerators.

  Stacked layers replace t5x's in the frozen tree and are scanned over, each
  one is recomputed in the backward pass, the encoder's attention visits blocks
  of keys, adds a bias that it looks up by position, and never has scores of
  [B, H, L, L], and all batches have one shape.
  """

  block: int = 8

  def rows(self, batch_config):
    return dataclasses.replace(batch_config, row_length=29, num_rows=4)

  def prepare(self, frozen):
    def stack(params):
      own = [params[k] for k in sorted(params) if k.startswith("layers_")]
      rest = {k: v for k, v in params.items() if not k.startswith("layers_")}
      return {**rest, "layers": jax.tree.map(lambda *a: jnp.stack(a), *own)}

    return {k: stack(v) if k in STACKS else v for k, v in frozen.items()}

  def restore(self, params):
    def unstack(params):
      params = dict(params)
      stacked = params.pop("layers")
      count = len(stacked["mlp"]["wo"]["kernel"])
      own = {f"layers_{i}": _take(stacked, i) for i in range(count)}
      return {**params, **own}

    return {k: unstack(v) if k in STACKS else v for k, v in params.items()}

  def loop(self, stack, call, x, each=None):
    layer = stack.layers[0].clone()

    @jax.checkpoint
    def body(x, inputs):
      params, own = inputs
      return layer.apply({"params": params}, x, own, method=call)

    own = each and jax.tree.map(lambda *a: jnp.stack(a), *each)
    stacked = stack.variables["params"]["layers"]
    x, made = jax.lax.scan(body, x, (stacked, own))
    return x, [_take(made, i) for i in range(len(stack.layers))]

  def encoder_attention(self, position_bias, segment_ids, deterministic):
    assert deterministic
    length = segment_ids.shape[1]
    buckets = layers.relative_position_buckets(
      length, length, bidirectional=True
    )
    # From the distance -(L - 1) to L - 1.
    buckets = np.concatenate([buckets[:0:-1, 0], buckets[0]])
    by_distance = position_bias.rel_embedding[:, buckets]  # [H, 2L - 1]

    def attend(attention, x):
      queries = attention.queries(x)
      keys, values = attention.keys_values(x)
      highest = jnp.full((*queries.shape[:3], 1), -jnp.inf)
      sums, total = jnp.zeros(highest.shape), jnp.zeros(queries.shape)
      for start in range(0, length, self.block):
        own = slice(start, start + self.block)
        scores = jnp.einsum("bhqk,bhlk->bhql", queries, keys[:, :, own])
        positions = np.arange(length)
        distance = positions[None, own] - positions[:, None]
        scores += by_distance[None, :, distance + length - 1]
        scores += segment_mask(segment_ids, segment_ids[:, own])
        new = jnp.maximum(highest, jnp.max(scores, axis=-1, keepdims=True))
        weights, scale = jnp.exp(scores - new), jnp.exp(highest - new)
        sums = sums * scale + jnp.sum(weights, axis=-1, keepdims=True)
        part = jnp.einsum("bhql,bhlk->bhqk", weights, values[:, :, own])
        total, highest = total * scale + part, new
      return attention.output(total / sums)

    return attend

  def cross_cache(self, decoder, encoded, mask, max_length):
    def call(layer, x, _):
      return (x, layer.cross_keys_values(encoded))

    _, keys_values = self.loop(decoder, call, encoded)
    return mask, keys_values


def test_another_plan_trains_alike(make_config, make_params, make_examples):
  plain = Model(
    make_config("1.1"),
    PromptConfig(num_slots=2, prompt_length=3),
    PromptConfig(num_slots=2, prompt_length=3, rank=0),
    LossConfig(distill=DistillConfig(hidden_layers="all")),
  )
  other = dataclasses.replace(plain, plan=Blockwise())
  params, frozen = plain.split_params(make_params(plain))
  teacher = jax.random.normal(jax.random.key(1), (2, 3, 16))
  examples = make_examples(7, 2)

  def loss(model, frozen):
    batch, _ = make_batch(examples, model.plan.rows(CONFIG))
    frozen = {**frozen, "teacher_prompt": {"shared_prompt": teacher}}
    value = jax.value_and_grad(model.loss, has_aux=True)
    return batch, jax.jit(value)(params, frozen, batch)

  prepared = other.plan.prepare(frozen)
  assert "layers_0" not in prepared["encoder"]
  jax.tree.map(
    np.testing.assert_array_equal, other.plan.restore(prepared), frozen
  )
  _, expected = loss(plain, frozen)
  batch, made = loss(other, prepared)
  assert batch["encoder_input_tokens"].shape == (4, 29)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
    made,
    expected,
  )


def test_another_plan_decodes_alike(make_config, make_params, make_examples):
  plain = T5(make_config(), PromptConfig(num_slots=2, prompt_length=3, rank=0))
  other = plain.clone(plan=Blockwise())
  params = make_params(Model(plain.config, plain.prompt_config))
  config = dataclasses.replace(CONFIG, pack=False)
  batch, _ = make_batch(make_examples(5, 2), config)
  decode = jax.jit(
    decoding.greedy_decode, static_argnames=("network", "max_length")
  )
  tokens = decode(plain, params, batch, max_length=6)
  # The outputs differ from row to row, so a wrong cache would show.
  assert len({tuple(row) for row in np.asarray(tokens).tolist()}) > 2
  np.testing.assert_array_equal(
    decode(other, other.plan.prepare(params), batch, max_length=6), tokens
  )


@pytest.mark.parametrize("plan", [BySegments(13), Blockwise()])
def test_every_plan_has_the_parameters_of_the_plain_one(make_config, plan):
  network = T5(make_config(), PromptConfig(num_slots=2, prompt_length=3))
  made, expected = (
    jax.jit(functools.partial(init_variables, n))(jax.random.key(0))
    for n in (network.clone(plan=plan), network)
  )
  jax.tree.map(
    np.testing.assert_array_equal, made["params"], expected["params"]
  )
  assert made["params_axes"] == expected["params_axes"]


def test_equal_plans_share_a_compiled_program():
  plans = (Dense(), Dense(), BySegments(9), BySegments(9), BySegments(13))
  assert len(set(plans)) == 3
