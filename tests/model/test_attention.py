"""Multi-head attention against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.model.attention import MASKED, Attention

HEADS, HEAD_DIM, WIDTH = 2, 3, 5


def _case():
  attention = Attention(HEADS, HEAD_DIM, WIDTH)
  rng = np.random.default_rng(0)

  def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

  x, states = draw(1, 4, WIDTH), draw(1, 6, WIDTH)
  bias = draw(1, HEADS, 4, 6)
  bias[..., 5] = MASKED  # Nobody looks at the last position.
  bias[:, :, 3] = MASKED  # The last query looks at nothing.
  inner = HEADS * HEAD_DIM
  kernels = {k: draw(WIDTH, inner) for k in ("query", "key", "value")}
  kernels["out"] = draw(inner, WIDTH)
  return attention, kernels, x, states, bias


def _apply(attention, kernels, x, states, bias):
  def call(module):
    return module(x, *module.keys_values(states), bias)

  params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
  return attention.apply({"params": params}, method=call)


def test_attention_by_its_definition():
  attention, kernels, x, states, bias = _case()
  made = _apply(attention, kernels, x, states, bias)
  expected = np.zeros((4, WIDTH))
  for head in range(HEADS):
    own = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
    query = x[0] @ kernels["query"][:, own]
    key = states[0] @ kernels["key"][:, own]
    value = states[0] @ kernels["value"][:, own]
    # T5 does not divide by the square root of the head's width.
    scores = query @ key.T + bias[0, head]
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    expected += weights @ value @ kernels["out"][own]
  np.testing.assert_allclose(made[0], expected, rtol=1e-4, atol=1e-5)


def test_a_fully_masked_row_is_finite_and_masked_positions_count_for_nothing():
  attention, kernels, x, states, bias = _case()
  made = _apply(attention, kernels, x, states, bias)
  assert np.isfinite(made).all()
  states[0, 5] = 100.0
  other = _apply(attention, kernels, x, states, bias)
  np.testing.assert_array_equal(made[0, :3], other[0, :3])


def test_dropout_leaves_the_mean_of_the_weights():
  attention = Attention(HEADS, HEAD_DIM, WIDTH, dropout_rate=0.5)
  _, kernels, x, states, bias = _case()
  bias = np.zeros_like(bias)
  params = {name: {"kernel": kernel} for name, kernel in kernels.items()}

  def call(module):
    return module(x, *module.keys_values(states), bias, False)

  @jax.jit
  @jax.vmap
  def apply(key):
    return attention.apply(
      {"params": params}, method=call, rngs={"dropout": key}
    )

  made = apply(jax.random.split(jax.random.key(0), 4000))
  assert not np.array_equal(made[0], made[1])
  expected = _apply(attention, kernels, x, states, jnp.asarray(bias))
  error = np.std(made, axis=0) / np.sqrt(4000)
  assert (np.abs(np.mean(made, axis=0) - expected) < 5 * error).all()
