"""Rows of products of low rank, and the bound on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.prompts import products


def _random(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype("f4")


@pytest.mark.parametrize("rank", [1, 3])
def test_rows_and_gradients_are_those_of_the_whole_products(rank):
  factors = _random(0, 3, 5, rank), _random(1, 3, rank, 4)
  slots, positions = np.array([[0, 2], [2, 1]]), np.array([[4, 0], [0, 3]])
  weights = _random(2, 2, 2, 4)

  def by_rows(factors):
    left, right = map(jnp.asarray, factors)
    rows = products.product_rows(left, right, slots, positions)
    return jnp.sum(rows * weights), rows

  def by_products(factors):
    rows = jnp.einsum("npr,nrd->npd", *factors)[slots, positions]
    return jnp.sum(rows * weights), rows

  made = jax.value_and_grad(by_rows, has_aux=True)(factors)
  expected = jax.value_and_grad(by_products, has_aux=True)(factors)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    made,
    expected,
  )


def test_the_bound_by_hand():
  left = np.array([[[1.0, -2.0], [-3.0, 0.0]]])
  right = np.array([[[0.5, -1.0], [4.0, 0.0]]])
  # Largest of the columns 3 and 2, of the rows 1 and 4: 3·1 + 2·4. The product
  # itself is [[-7.5, -1], [-1.5, 3]].
  assert products.product_bound(left, right).tolist() == [11.0]
  left[0, 1, 0] = np.inf
  right[0, 0] = 0.0
  assert not np.isfinite(products.product_bound(left, right)).any()
