"""MPT's composition of a prompt from P* and the factors, and their start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.prompts import multitask


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def test_compose_by_hand():
  # P* = [[1, 2], [3, 4]]. Task 0: u = (1, 2), v = (10, 1), so u vᵀ is
  # [[10, 1], [20, 2]] and P_0 = [[10, 2], [60, 8]]. Task 1: u = (0, -1),
  # v = (1, 5): [[0, 0], [-1, -5]] and P_1 = [[0, 0], [-3, -20]].
  found = multitask.compose_task_prompts(
    jnp.array([[1.0, 2.0], [3.0, 4.0]]),
    jnp.array([[[1.0], [2.0]], [[0.0], [-1.0]]]),
    jnp.array([[[10.0, 1.0]], [[1.0, 5.0]]]),
    jnp.array([1, 0, 1]),
  )
  first, second = [[10.0, 2.0], [60.0, 8.0]], [[0.0, 0.0], [-3.0, -20.0]]
  assert found.tolist() == [second, first, second]


def test_rank_two_is_the_sum_of_two_products():
  shared, columns, rows = _random(0, 4, 6), _random(1, 3, 4, 2), None
  rows = _random(2, 3, 2, 6)
  found = multitask.compose_task_prompts(
    shared[None], columns, rows, jnp.arange(3)
  )
  for k in range(3):
    matrix = sum(np.outer(columns[k, :, r], rows[k, r]) for r in range(2))
    np.testing.assert_allclose(found[k], shared * matrix, atol=1e-6)


def test_factors_of_ones_give_the_shared_prompt():
  shared = _random(0, 4, 6)
  found = multitask.compose_task_prompts(
    shared, np.ones((2, 4, 1)), np.ones((2, 1, 6)), jnp.array([0, 1])
  )
  np.testing.assert_array_equal(found, np.stack([shared, shared]))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_initial_factors_keep_the_shared_prompt(rank):
  columns, rows = multitask.init_factors(5, rank, 7)
  assert columns.shape == (5, rank) and rows.shape == (rank, 7)
  np.testing.assert_array_equal(columns @ rows, np.ones((5, 7)))

  # Ranks must be able to diverge: no two gradients are equal.
  def loss(c, r):
    return jnp.sum(jnp.sin(c @ r * _random(0, 5, 7)))

  column_grads, row_grads = jax.grad(loss, (0, 1))(columns, rows)
  both = np.concatenate([column_grads, row_grads.T])
  assert len({tuple(g) for g in both.T.tolist()}) == rank


def _source(num_slots=3, length=5, rank=1, emb_dim=6):
  return {
    "task_columns": _random(1, num_slots, length, rank),
    "task_rows": _random(2, num_slots, rank, emb_dim),
  }


def _mean_matrix(source):
  products = [
    c @ r
    for c, r in zip(source["task_columns"], source["task_rows"], strict=True)
  ]
  return sum(products) / len(products)


@pytest.mark.parametrize("rank", [3, 4])
def test_mean_matrix_is_exact_where_the_rank_allows_it(rank):
  source = _source()
  columns, rows = multitask.init_target_factors(source, "mean_matrix", rank, 6)
  assert columns.shape == (5, rank) and rows.shape == (rank, 6)
  np.testing.assert_allclose(columns @ rows, _mean_matrix(source), atol=1e-5)


def test_mean_matrix_of_rank_one_is_the_closest():
  source = _source()
  mean = _mean_matrix(source)
  columns, rows = multitask.init_target_factors(source, "mean_matrix", 1, 6)
  # Eckart and Young: the rest's squared norm is that of the singular values
  # left out.
  left_out = np.linalg.svd(mean, compute_uv=False)[1:]
  np.testing.assert_allclose(
    np.sum((mean - columns @ rows) ** 2), np.sum(left_out**2), rtol=1e-4
  )


def test_mean_matrix_of_equal_tasks_keeps_them():
  columns, rows = np.ones((4, 5, 1)), np.ones((4, 1, 6))
  found = multitask.init_target_factors(
    {"task_columns": columns, "task_rows": rows}, "mean_matrix", 1, 6
  )
  np.testing.assert_allclose(found[0] @ found[1], np.ones((5, 6)), atol=1e-6)
  assert np.all(found[0] > 0) and np.all(found[1] > 0)


def test_mean_matrix_with_a_rank_above_every_dimension():
  # The mean of a bank with D = 2 has at most two singular values.
  source = _source(length=5, emb_dim=2)
  columns, rows = multitask.init_target_factors(source, "mean_matrix", 4, 2)
  assert columns.shape == (5, 4) and rows.shape == (4, 2)
  np.testing.assert_allclose(columns @ rows, _mean_matrix(source), atol=1e-5)


def test_other_target_inits():
  source = _source(rank=2)

  def init(how, rank=2):
    return multitask.init_target_factors(
      source, how, rank, 6, task_names=("nli", "qa", "sst")
    )

  columns, rows = init("mean_factors")
  np.testing.assert_allclose(
    columns, sum(source["task_columns"]) / 3, atol=1e-6
  )
  np.testing.assert_allclose(rows, sum(source["task_rows"]) / 3, atol=1e-6)
  columns, rows = init("task:qa")
  np.testing.assert_array_equal(columns, source["task_columns"][1])
  np.testing.assert_array_equal(rows, source["task_rows"][1])
  columns, rows = init("shared_only", rank=3)
  np.testing.assert_array_equal(columns @ rows, np.ones((5, 6)))
  with pytest.raises(ValueError, match="task:squad.*nli, qa, sst"):
    init("task:squad")
  with pytest.raises(ValueError, match="mean.*mean_matrix"):
    init("mean")
  with pytest.raises(ValueError, match="rank 2.*rank=1"):
    init("mean_factors", rank=1)
