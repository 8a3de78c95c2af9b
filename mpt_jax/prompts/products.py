"""Rows of products of low rank, made without the whole products.

Axis letters: P rows, D emb_dim, N num_slots, R rank.
"""

import jax
import jax.numpy as jnp
from jax import lax


def product_rows(left, right, slot_ids, positions):
  """Computes rows of the products left[n] @ right[n], one by one.

  Memory and time depend on the number of rows that are asked for and on R, not
  on N or P. All sums are in the arrays' own precision, on every device.

  Args:
    left: [N, P, R].
    right: [N, R, D].
    slot_ids: [...] int in [0, N).
    positions: [...] int in [0, P).

  Returns:
    [..., D].

  >>> left, right = jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), jnp.ones((1, 2, 3))
  >>> product_rows(left, right, jnp.array([0]), jnp.array([1])).tolist()
  [[7.0, 7.0, 7.0]]
  """

  def add(total, own):
    column, row = own  # [..., 1], [N, D]
    return total + column * row[slot_ids], None

  columns = jnp.moveaxis(left[slot_ids, positions], -1, 0)[..., None]
  rows = jnp.moveaxis(right, 1, 0)
  product = columns[0] * rows[0][slot_ids]
  if len(columns) > 1:
    # Recomputed in the backward pass, which would keep [R, ..., D].
    add = jax.checkpoint(add, prevent_cse=False)
    product, _ = lax.scan(add, product, (columns[1:], rows[1:]))
  return product


def product_bound(left, right):
  """Bounds the absolute values of each product left[n] @ right[n].

  Args:
    left: [N, P, R].
    right: [N, R, D].

  Returns:
    [N], which is not finite if a number is not.
  """
  return jnp.sum(_largest(left, 1) * _largest(right, 2), axis=1)


def _largest(x, axis):
  return jnp.max(jnp.abs(x), axis=axis)
