"""The layers against plain NumPy and numbers by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model import layers


def draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_linear_is_a_product():
  x, kernel = draw(0, 2, 3, 4), draw(1, 4, 5)
  linear = layers.Linear(5, ("embed", "mlp"))
  found = linear.apply({"params": {"kernel": kernel}}, x)
  np.testing.assert_allclose(found, x @ kernel, rtol=1e-5, atol=1e-6)
  half = layers.Linear(5, ("embed", "mlp"), dtype=jnp.bfloat16)
  found = half.apply({"params": {"kernel": kernel}}, jnp.asarray(x))
  assert found.dtype == jnp.bfloat16


def test_a_kernel_starts_with_the_variance_of_its_fan_in():
  # A truncated normal of variance 1 / 400, times the scale.
  def make(scale):
    return layers.Linear(500, ("embed", "mlp"), init_scale=scale).init(
      jax.random.key(0), jnp.zeros((1, 400))
    )["params"]["kernel"]

  kernel = make(1.0)
  assert kernel.shape == (400, 500) and kernel.dtype == jnp.float32
  assert float(kernel.std()) == pytest.approx(1 / 20, rel=0.01)
  np.testing.assert_allclose(make(0.5), 0.5 * kernel, rtol=1e-6)


def test_norm_by_hand():
  # The mean square of (3, 4) is 12.5; nothing is subtracted.
  x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  scale = jnp.array([1.0, 10.0])
  found = layers.RMSNorm().apply({"params": {"scale": scale}}, x)
  root = math.sqrt(12.5)
  np.testing.assert_allclose(found[0], [3 / root, 40 / root], rtol=1e-5)
  # A row of zeros is no division by zero.
  assert found[1].tolist() == [0.0, 0.0]


def test_norm_is_computed_in_float32():
  # 300 squared is no number of float16's range, and bfloat16 has 8 bits.
  x = jnp.full((1, 4), 300.5, jnp.bfloat16)
  norm = layers.RMSNorm(jnp.bfloat16)
  found = norm.apply({"params": {"scale": jnp.ones(4)}}, x)
  assert found.dtype == jnp.bfloat16
  assert found.tolist() == [[1.0] * 4]


def gelu(x):
  """Hendrycks and Gimpel (2016), with the tangent that T5 1.1 uses."""
  inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
  return 0.5 * x * (1 + np.tanh(inner))


@pytest.mark.parametrize(
  ("activations", "function"),
  [
    (("relu",), lambda a: np.maximum(a, 0)),
    (("gelu", "linear"), lambda a, b: gelu(a) * b),
    (("silu", "linear"), lambda a, b: a / (1 + np.exp(-a)) * b),
  ],
)
def test_feed_forward_by_its_definition(activations, function):
  names = ["wi"] if len(activations) == 1 else ["wi_0", "wi_1"]
  x = draw(0, 2, 3, 4)
  kernels = {name: draw(i, 4, 6) for i, name in enumerate(names, 1)}
  kernels["wo"] = draw(9, 6, 4)
  params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
  found = layers.MlpBlock(6, activations).apply({"params": params}, x)
  branches = [x @ kernels[name] for name in names]
  expected = function(*branches) @ kernels["wo"]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_feed_forward_drops_units_of_all_positions():
  block = layers.MlpBlock(64, ("linear",), dropout_rate=0.5)
  params = {
    "wi": {"kernel": jnp.ones((1, 64))},
    "wo": {"kernel": jnp.eye(64)[:, :1]},
  }
  # The first unit alone reaches the output, at three positions of four rows.
  x = jnp.ones((40, 3, 1))
  rngs = {"dropout": jax.random.key(0)}
  found = block.apply({"params": params}, x, deterministic=False, rngs=rngs)
  values = np.asarray(found)[..., 0]
  assert {*values.ravel().tolist()} == {0.0, 2.0}
  assert (values == values[:, :1]).all()
  assert (block.apply({"params": params}, x) == 1.0).all()


def test_buckets_by_hand():
  # Of 8 buckets in two directions 4 are left for each: 0 and 1 by themselves,
  # 2 + 2 · log(n / 2) / log(8) from there on, where 16 is the last distance.
  found = layers.relative_position_buckets(
    1, 40, bidirectional=True, num_buckets=8, max_distance=16
  )
  assert found.dtype == np.int32
  # log(6 / 2) / log(8) = 0.53, and for 5 it is 0.44: the step is at 6.
  assert found[0].tolist() == [0, 5] + [6] * 4 + [7] * 34
  past = layers.relative_position_buckets(
    40, 1, bidirectional=True, num_buckets=8, max_distance=16
  )
  assert past[:, 0].tolist() == [0, 1] + [2] * 4 + [3] * 34


def test_the_decoder_has_no_buckets_for_the_future():
  found = layers.relative_position_buckets(
    300, 300, bidirectional=False, num_buckets=32, max_distance=128
  )
  future = np.triu(np.ones((300, 300), bool))
  assert (found[future] == 0).all() and (found[~future] > 0).all()
  # 16 distances have a bucket each; from 128 on there is one. Between them,
  # 16 · log(18 / 16) / log(8) = 0.91 and 16 · log(19 / 16) / log(8) = 1.3.
  assert found[15:20, 0].tolist() == [15, 16, 16, 16, 17]
  assert {*found[128:, 0].tolist()} == {31}


def test_a_bias_is_looked_up_for_each_head():
  table = draw(0, 3, 32)
  bias = layers.RelativePositionBias(3, bidirectional=True)
  found = bias.apply({"params": {"rel_embedding": table}}, 4, 6)
  assert found.shape == (1, 3, 4, 6) and found.dtype == jnp.float32
  buckets = layers.relative_position_buckets(4, 6, bidirectional=True)
  for query in range(4):
    for key in range(6):
      expected = table[:, buckets[query, key]]
      np.testing.assert_array_equal(found[0, :, query, key], expected)


def test_embeddings_and_logits():
  table = draw(0, 7, 4)
  embed = layers.Embed(7, 4)
  variables = {"params": {"embedding": table}}
  tokens = jnp.array([[6, 0, 6]])
  np.testing.assert_array_equal(
    embed.apply(variables, tokens)[0], table[[6, 0, 6]]
  )
  x = draw(1, 2, 3, 4)
  logits = embed.apply(variables, x, method="attend")
  np.testing.assert_allclose(logits, x @ table.T, rtol=1e-4, atol=1e-5)
  # Sums over D are kept in float32.
  half = embed.apply(variables, x.astype(jnp.bfloat16), method="attend")
  assert half.dtype == jnp.float32
