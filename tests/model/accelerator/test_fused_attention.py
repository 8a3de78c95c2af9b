"""The kernel, interpreted, against the plain attention of `Dense`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model.accelerator import tpu_attention
from mpt_jax.model.accelerator.fused_attention import Fused
from mpt_jax.model.attention import causal_mask, segment_mask
from mpt_jax.model.layers import RelativePositionBias

# Segments of each row, by length. 0 stands for a segment of padding.
ROWS = {
  "odd lengths": [[3, 5, 9], [17]],
  "one segment": [[32], [32]],
  "many segments": [[1] * 20, [2] * 9],
  "an empty row": [[], [7, 4]],
  "more than a block": [[100, 31, 70], [201]],
}


def _ids(rows, length):
  ids = np.zeros((len(rows), length), np.int32)
  for row, sizes in zip(ids, rows, strict=True):
    filled = np.repeat(np.arange(len(sizes)) + 1, sizes)
    row[: len(filled)] = filled
  return ids


def _plain(queries, keys, values, bias, query_ids, key_ids, num_heads, causal):
  """`attention.Attention` without its projections."""

  def split(x):
    return jnp.swapaxes(x.reshape(*x.shape[:2], num_heads, -1), 1, 2)

  bias = bias + segment_mask(query_ids, key_ids)
  if causal:
    bias = bias + causal_mask(queries.shape[1])
  scores = jnp.einsum(
    "bhqk,bhlk->bhql",
    split(queries),
    split(keys),
    preferred_element_type=jnp.float32,
  )
  weights = jax.nn.softmax(scores + bias, axis=-1).astype(queries.dtype)
  y = jnp.einsum("bhql,bhlk->bhqk", weights, split(values))
  return jnp.swapaxes(y, 1, 2).reshape(queries.shape)


def _compare(platform, query_ids, key_ids, *, dtype, heads, causal, across):
  """Compares values and gradients at the queries that are no padding."""
  num_heads, head_dim = heads
  keys = jax.random.split(jax.random.key(0), 5)
  length = query_ids.shape[1]
  lengths = (length, key_ids.shape[1], key_ids.shape[1], length)
  *arrays, target = (
    jax.random.normal(key, (len(query_ids), n, num_heads * head_dim)) * scale
    for key, n, scale in zip(
      keys, lengths, (head_dim**-0.5, 1, 1, 1), strict=False
    )
  )
  arrays = [x.astype(dtype) for x in arrays]
  table = RelativePositionBias(num_heads, not causal)
  variables = table.init(keys[4], 1, 1)
  table = table.bind(
    jax.tree.map(lambda x: jnp.float32(3) * x, {"params": variables["params"]})
  )
  fused = Fused(platform, num_heads, causal)
  by_distance = None if across else table.by_distance
  bias = fused.bias(by_distance, length, key_ids.shape[1])
  dense_bias = 0.0 if across else table(length, length)
  inside = jnp.asarray(query_ids > 0)[..., None]

  def run(attend):
    def loss(*arrays):
      y = jnp.where(inside, attend(*arrays), 0)
      return jnp.sum(y.astype(jnp.float32) * target), y

    grad = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    (_, y), gradients = jax.jit(grad)(*arrays)
    return y, gradients

  found = run(lambda *x: fused(*x, bias, query_ids, key_ids))
  expected = run(
    lambda *x: _plain(*x, dense_bias, query_ids, key_ids, num_heads, causal)
  )
  bound = 1e-5 if dtype == "float32" else 1e-2

  def close(found, expected):
    found, expected = (np.asarray(x, np.float32) for x in (found, expected))
    assert found.dtype == np.float32 and np.abs(expected).max() > 0.1
    # The bound is relative to the largest number, as for a norm.
    largest = max(1, np.abs(expected).max())
    np.testing.assert_allclose(found / largest, expected / largest, atol=bound)

  jax.tree.map(close, found, expected)


@pytest.mark.parametrize("platform", ["interpret", "xla"])
@pytest.mark.parametrize("case", ROWS)
def test_rows_attend_as_by_the_plain_attention(case, platform):
  longest = max(sum(sizes) for sizes in ROWS[case])
  ids = _ids(ROWS[case], longest + 1)
  _compare(
    platform,
    ids,
    ids,
    dtype="float32",
    heads=(2, 64),
    causal=False,
    across=False,
  )


@pytest.mark.parametrize("platform", ["interpret", "xla"])
@pytest.mark.parametrize("heads", [(3, 4), (4, 64), (1, 128)])
def test_targets_attend_to_earlier_ones(heads, platform):
  ids = _ids([[3, 1, 7], [2, 0, 5]], 13)
  _compare(
    platform,
    ids,
    ids,
    dtype="float32",
    heads=heads,
    causal=True,
    across=False,
  )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_targets_attend_to_inputs(dtype):
  # The third segment has no targets, and the second row no inputs.
  _compare(
    "interpret",
    _ids([[2, 4], [3]], 7),
    _ids([[30, 103, 8], [5]], 150),
    dtype=dtype,
    heads=(2, 64),
    causal=False,
    across=True,
  )


def test_bfloat16_is_as_near():
  ids = _ids([[9, 21], [13]], 32)
  _compare(
    "interpret",
    ids,
    ids,
    dtype="bfloat16",
    heads=(4, 32),
    causal=False,
    across=False,
  )


def test_blocks_of_queries_share_their_keys():
  # 2 heads of 64 and rows of 1,024: two blocks of 256 queries or more.
  shape = tpu_attention.Shape(2, interpret=True)
  x = jnp.zeros((1, 1024, 128))
  grid = tpu_attention._Grid.of(shape, x, x, jnp.zeros((2, 2048)))
  assert grid.block == 256 and grid.sizes == (1, 1, 4)
  ids = _ids([[500, 524]], 1024)
  _compare(
    "interpret",
    ids,
    ids,
    dtype="float32",
    heads=(2, 64),
    causal=False,
    across=False,
  )


def test_a_mesh_divides_rows_and_heads():
  mesh = jax.make_mesh(
    (2, 2), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  ids = _ids([[5, 6], [9], [3, 3], [12]], 12)
  x, y, z = (
    jax.random.normal(jax.random.key(i), (4, 12, 4 * 32)) for i in range(3)
  )
  one, many = Fused("interpret", 4), Fused("interpret", 4, mesh=mesh)
  bias = jax.random.normal(
    jax.random.key(3), (4, len(tpu_attention.distances(16, 16)))
  )
  call = functools.partial(jax.jit, static_argnums=0)(
    lambda fused, *arrays: fused(*arrays, bias, ids, ids)
  )
  np.testing.assert_allclose(call(many, x, y, z), call(one, x, y, z), atol=1e-6)


def test_the_bias_is_not_trained_in_silence():
  ids = _ids([[3]], 3)
  x = jnp.ones((1, 3, 128))
  fused = Fused("interpret", 2)

  def loss(scale):
    bias = scale * jnp.ones((2, len(tpu_attention.distances(16, 16))))
    return fused(x, x, x, bias, ids, ids).sum()

  with pytest.raises(ValueError, match="no gradient of the relative position"):
    jax.grad(loss)(1.0)


def test_the_cost_is_that_of_the_arrays_and_products():
  # 1 row of 16 queries and 128 keys, 2 heads of 64, bfloat16. Two products of
  # 16 x 128 x 64 for each head, two operations each; queries, output, keys and
  # values of 128 features; segment ids of 16 + 128 positions; a bias of
  # W = 256 for each head.
  shape = tpu_attention.Shape(2)
  queries, keys = jnp.zeros((1, 16, 128)), jnp.zeros((1, 128, 128))
  grid = tpu_attention._Grid.of(shape, queries, keys, jnp.zeros((2, 256)))
  cost = grid.cost(2, 2, 2, jnp.bfloat16)
  assert cost.flops == 2 * 2 * 2 * 16 * 128 * 64
  assert cost.transcendentals == 2 * 16 * 128
  assert cost.bytes_accessed == (
    2 * 128 * (16 + 16 + 128 + 128) + 4 * (16 + 128 + 2 * 256)
  )
