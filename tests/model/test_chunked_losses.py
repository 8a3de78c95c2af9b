"""Losses of logits in chunks against those of whole logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model import chunked_losses, losses

VOCAB, CHUNKS = 24, 4
STARTS = jnp.arange(CHUNKS) * (VOCAB // CHUNKS)


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(0, 2, shape).astype(np.float32)


STATES, TEACHER, KERNEL = (
  _random(0, 2, 3, 5),
  _random(1, 2, 3, 5),
  _random(2, 5, VOCAB),
)
# The first and the last piece of a chunk, and of the vocabulary.
TARGETS = jnp.array([[0, 5, 6], [23, 11, 17]])


def _part(states, kernel):
  def part(start):
    return states @ jax.lax.dynamic_slice_in_dim(
      kernel, start, VOCAB // CHUNKS, 1
    )

  return part


def _compare(chunked, whole, arrays):
  """Compares values [2, 3] and gradients with respect to all arrays."""
  weights = jnp.asarray(_random(3, 2, 3))

  def run(function):
    def total(*arrays):
      values = function(*arrays)
      return jnp.sum(values * weights), values

    grad = jax.grad(total, range(len(arrays)), has_aux=True)
    return jax.jit(grad)(*arrays)

  def close(found, expected):
    # Gradients reach 40, and sums of them cancel.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=4e-5)

  jax.tree.map(close, run(chunked), run(whole))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(smoothing):
  _compare(
    lambda x, kernel: chunked_losses.token_losses(
      _part(x, kernel), TARGETS, STARTS, smoothing, 0.1
    ),
    lambda x, kernel: losses.cross_entropy(x @ kernel, TARGETS, smoothing, 0.1),
    (STATES, KERNEL),
  )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl(temperature):
  # A teacher does not train.
  teacher = _part(TEACHER, KERNEL)
  _compare(
    lambda x, kernel: chunked_losses.kl_divergence(
      teacher, _part(x, kernel), STARTS, temperature
    ),
    lambda x, kernel: losses.kl_divergence(
      TEACHER @ KERNEL, x @ kernel, temperature
    ),
    (STATES, KERNEL),
  )


def test_the_kl_of_equal_logits_and_its_gradient_are_zero():
  def total(x):
    kl = chunked_losses.kl_divergence(
      _part(STATES, KERNEL), _part(x, KERNEL), STARTS
    )
    return kl.sum(), kl

  gradient, values = jax.grad(total, has_aux=True)(jnp.asarray(STATES))
  # Both sums of exponentials are the same number.
  np.testing.assert_array_equal(values, 0)
  np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_chunks_divide_the_vocabulary():
  # mT5's 250,112 = 2**8 · 977 pieces of 512 targets are 488.5 MiB.
  assert chunked_losses.count_chunks(250_112, 512, 2**24) == 32
  # An odd number has no such part.
  assert chunked_losses.count_chunks(251, 512, 2**10) == 1
