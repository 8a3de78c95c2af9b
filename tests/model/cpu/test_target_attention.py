"""Attention of targets without keys and values = attention with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model.cpu import target_attention

HEADS, HEAD_DIM = 2, 4


# For each row the lengths of its segments and of their targets (0: none, above
# 8: several pieces), and what the row has room for.
TARGETS = [
  ([[5, 1, 70], [130], [3, 4], []], [[2, 9, 1], [17], [0, 3], []], 130, 20),
  ([[3, 4, 2]], [[8, 16, 1]], 9, 25),
  ([[200]], [[1]], 200, 1),
]


@pytest.mark.parametrize("rows, targets, length, target_length", TARGETS)
def test_targets_by_pieces_equal_keys_and_values_of_whole_rows(
  rows, targets, length, target_length
):
  segment_ids = np.zeros((len(rows), length), np.int32)
  target_ids = np.zeros((len(rows), target_length), np.int32)
  for ids, all_lengths in ((segment_ids, rows), (target_ids, targets)):
    for row, lengths in zip(ids, all_lengths, strict=True):
      runs = np.repeat(np.arange(1, len(lengths) + 1), lengths)
      row[: len(runs)] = runs
  width = 6
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  queries = draw(target_ids.size, HEADS, HEAD_DIM)
  states = draw(segment_ids.size, width)
  key, value = draw(width, HEADS, HEAD_DIM), draw(width, HEADS, HEAD_DIM)
  real = (target_ids.reshape(-1) > 0)[:, None, None]
  cotangent = jnp.where(real, draw(target_ids.size, HEADS, HEAD_DIM), 0)

  def by_pieces(queries, states):
    longest = max(n for row in rows for n in row)
    pieces = target_attention.find_pieces(
      target_ids, jnp.asarray(segment_ids), longest
    )
    asked = jnp.einsum("nhk,dhk->nhd", queries, key)
    y = target_attention.attend_across(asked, states, pieces)
    return jnp.einsum("nhd,dhk->nhk", y, value)

  def by_rows(queries, states):
    keys = jnp.einsum("md,dhk->hmk", states, key)
    values = jnp.einsum("md,dhk->hmk", states, value)

    def row_of(ids):
      return np.repeat(np.arange(len(rows)), ids.shape[1])

    same = (
      target_ids.reshape(-1)[:, None] == segment_ids.reshape(-1)[None, :]
    ) & (row_of(target_ids)[:, None] == row_of(segment_ids)[None, :])
    scores = jnp.einsum("nhk,hmk->hnm", queries, keys)
    weights = jax.nn.softmax(jnp.where(same, scores, -1e10))
    return jnp.where(real, jnp.einsum("hnm,hmk->nhk", weights, values), 0)

  y, gradients = jax.vjp(by_pieces, queries, states)
  expected, expected_gradients = jax.vjp(by_rows, queries, states)
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
  for made, wanted in zip(
    gradients(cotangent), expected_gradients(cotangent), strict=True
  ):
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-4)


def test_pieces_are_for_few_targets():
  suits = target_attention.suits_targets
  # 16 examples of about 200 positions with labels, and with texts.
  assert suits(64, 3328, 356, head_dim=64)
  assert not suits(16 * 64, 3328, 356, head_dim=64)
