"""Attention by segments against attention over whole rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model.cpu import segment_attention

HEADS, HEAD_DIM = 2, 4


def whole_rows(queries, keys, values, table, segment_ids):
  """Masked attention over rows; table: [H, 2L - 1], bias by difference."""
  rows, length = segment_ids.shape

  def split(x):
    return x.reshape(rows, length, HEADS, HEAD_DIM).swapaxes(1, 2)

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

  def total(x):
    return jnp.sum(
      jnp.square(segment_attention.attend(x, x, x, bias, segments))
    )

  padding = segment_ids.reshape(-1) == 0
  other = np.where(padding[:, None, None], 1e6, x)
  made, wanted = jax.grad(total)(other), jax.grad(total)(x)
  np.testing.assert_array_equal(made, wanted)
  assert not np.any(np.asarray(made)[padding])
