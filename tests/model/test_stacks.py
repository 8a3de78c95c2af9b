"""The two stacks: the order of their parts, hidden states, and the cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model import layers
from mpt_jax.model.attention import Attention, segment_mask
from mpt_jax.model.objective import Model
from mpt_jax.model.stacks import Decoder, Encoder

LENGTH, TARGETS = 5, 4
# Two packed examples, and padding.
SEGMENTS = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 0, 0]])
TARGET_SEGMENTS = np.array([[1, 1, 2, 2], [1, 1, 1, 0]])


@pytest.fixture(scope="module")
def config(make_config):
  return make_config("1.1")


@pytest.fixture(scope="module")
def params(config, make_params):
  return make_params(Model(config, trainable="everything"))


def draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Parts:
  """The parts of one layer as functions, each with its own parameters."""

  def __init__(self, config, params):
    self.config, self.params = config, params

  def norm(self, name, x):
    return layers.RMSNorm().apply({"params": self.params[name]}, x)

  def mlp(self, x):
    c = self.config
    block = layers.MlpBlock(c.mlp_dim, c.mlp_activations)
    return block.apply({"params": self.params["mlp"]}, x)

  def attention(self, name, x, states, bias):
    c = self.config
    attention = Attention(c.num_heads, c.head_dim, c.emb_dim)

    def call(module):
      return module(x, *module.keys_values(states), bias)

    return attention.apply({"params": self.params[name]}, method=call)


def position_bias(params, length, bidirectional):
  bias = layers.RelativePositionBias(3, bidirectional)
  return bias.apply({"params": params["relpos_bias"]}, length, length)


def test_the_encoder_by_its_parts(config, params):
  own = params["encoder"]

  @jax.jit
  def by_parts(x):
    # Raffel et al. (2020), section 2.1: the norm stands before each part, and
    # outside of the residual path.
    bias = position_bias(own, LENGTH, True) + segment_mask(SEGMENTS, SEGMENTS)
    states = [x]
    for i in range(2):
      parts = Parts(config, own[f"layers_{i}"])
      y = parts.norm("pre_attention_layer_norm", x)
      x = x + parts.attention("attention", y, y, bias)
      x = x + parts.mlp(parts.norm("pre_mlp_layer_norm", x))
      states.append(x)
    last = layers.RMSNorm().apply({"params": own["encoder_norm"]}, x)
    return [*states[:-1], last]

  x = draw(0, 2, LENGTH, 16)
  run = jax.jit(
    lambda x: Encoder(config).apply({"params": own}, x, SEGMENTS, True)
  )
  found = run(x)
  assert len(found) == 3
  for a, b in zip(found, by_parts(x), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def decoder_arguments(config, params):
  x, encoded = draw(1, 2, TARGETS, 16), draw(2, 2, LENGTH, 16)
  return Decoder(config), {"params": params["decoder"]}, x, encoded


def test_the_decoder_by_its_parts(config, params):
  decoder, variables, x, encoded = decoder_arguments(config, params)
  segments, own = TARGET_SEGMENTS, params["decoder"]

  @jax.jit
  def by_parts(x):
    past = np.tril(np.ones((TARGETS, TARGETS), bool))
    bias = position_bias(own, TARGETS, False) + segment_mask(segments, segments)
    bias = jnp.where(past, bias, -1e9)
    across = segment_mask(segments, SEGMENTS)
    states = [x]
    for i in range(2):
      parts = Parts(config, own[f"layers_{i}"])
      y = parts.norm("pre_self_attention_layer_norm", x)
      x = x + parts.attention("self_attention", y, y, bias)
      y = parts.norm("pre_cross_attention_layer_norm", x)
      x = x + parts.attention("encoder_decoder_attention", y, encoded, across)
      x = x + parts.mlp(parts.norm("pre_mlp_layer_norm", x))
      states.append(x)
    last = layers.RMSNorm().apply({"params": own["decoder_norm"]}, x)
    return [*states[:-1], last]

  run = jax.jit(
    lambda x: decoder.apply(
      variables, x, encoded, SEGMENTS, segments, segments, True
    )
  )
  found = run(x)
  assert len(found) == 3
  real = segments > 0
  for a, b in zip(found, by_parts(x), strict=True):
    np.testing.assert_allclose(a[real], b[real], rtol=2e-4, atol=2e-5)


def test_one_position_at_a_time_gives_the_states_of_all(config, params):
  decoder, variables, x, encoded = decoder_arguments(config, params)
  segments = (SEGMENTS == 1).astype(np.int32)
  ones = np.ones((2, TARGETS), np.int32)

  def run(method, *arguments):
    return jax.jit(
      lambda *arrays: decoder.apply(
        variables, *arrays, *arguments, method=method
      )
    )

  *_, whole = run("__call__", True)(x, encoded, segments, ones, ones)
  # The cache is longer than the targets.
  cache = run("init_cache", TARGETS + 2)(encoded, segments)
  assert cache["self"][0][0].shape == (2, 3, TARGETS + 2, 4)
  step = run("step")
  for i in range(TARGETS):
    found, cache = step(x[:, i : i + 1], cache, i)
    np.testing.assert_allclose(found[:, 0], whole[:, i], rtol=2e-4, atol=2e-5)


def test_dropout_needs_no_key_where_the_rate_is_0(config, params):
  x = draw(0, 2, LENGTH, 16)
  encoder = Encoder(config)
  variables = {"params": params["encoder"]}

  def run(deterministic):
    return jax.jit(
      lambda x: encoder.apply(variables, x, SEGMENTS, deterministic)
    )

  for a, b in zip(run(False)(x), run(True)(x), strict=True):
    np.testing.assert_array_equal(a, b)
