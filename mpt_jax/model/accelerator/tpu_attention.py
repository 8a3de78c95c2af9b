"""A Pallas kernel for T5's attention on TPUs, forward and backward.

One program of the grid computes the attention of a block of queries to all keys
of a row, for as many heads as fill 128 lanes. Its scores stay in fast memory:
neither scores nor weights nor a bias of [B, H, T, L] are written to the large
memory. The backward pass computes the scores again from queries and keys,
so that it needs no statistics of the forward pass.

The relative position bias depends on the distance of two positions alone. The
kernel gets one number for each head and distance, and rolls them into place:
row a of a block is shifted by a. Positions of other segments are masked by
comparing segment ids.

Queries, keys and values are [B, T, H·K], as the projections make them. To split
heads before the call would cost a transposed copy of each, and a last axis of
64 numbers takes the space of 128 on a TPU.

Axis letters: B batch, T queries, L keys, H num_heads, K head_dim, W distances.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from mpt_jax.data.packing import round_up
from mpt_jax.model.attention import MASKED

_LANES = 128
# The most scores of one head that a program computes, 1 MiB as float32. The
# backward pass holds some six arrays of this size in a chip's 16 MiB.
_SCORES = 512 * 512
# The most bytes of one head's keys, and thus of a row's length.
_KEYS = 2048 * 64 * 2


@dataclasses.dataclass(frozen=True)
class Shape:
  """The static arguments of the kernel.

  Attributes:
    num_heads: H.
    causal: whether a query attends to no later position.
    interpret: whether to interpret the kernel, on any device, for tests.
  """

  num_heads: int
  causal: bool = False
  interpret: bool = False


def fits(num_queries: int, num_keys: int, head_dim: int, dtype) -> bool:
  """Returns whether the kernel can compute rows of this shape.

  Args:
    num_queries: T.
    num_keys: L.
    head_dim: K.
    dtype: dtype of the queries.
  """
  size = max(num_queries, num_keys) * max(64, head_dim)
  return size * jnp.dtype(dtype).itemsize <= _KEYS


def padded(length: int) -> int:
  """Returns the length to which the kernel's callers pad queries or keys.

  >>> [padded(n) for n in (1, 62, 128, 129)]
  [16, 64, 128, 256]
  """
  return round_up(length, 16 if length <= _LANES else _LANES)


def distances(num_queries: int, num_keys: int):
  """Returns the distance, key minus query, of each of the W entries: [W] int.

  Entry w holds distance w for w < L, and entry W - d holds distance -d for
  d < T. The others are never used. W is a multiple of 128.

  >>> [int(x) for x in distances(3, 4)[[0, 1, 3, 126, 127]]]
  [0, 1, 3, -2, -1]
  """
  width = round_up(num_queries + num_keys, _LANES)
  index = np.arange(width)
  return np.where(index < num_keys, index, index - width)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(shape, queries, keys, values, bias, query_segments, key_segments):
  """Attends from each query to the keys of its segment.

  Args:
    shape: a `Shape`.
    queries: [B, T, H·K] float; T5 does not scale them.
    keys: [B, L, H·K].
    values: [B, L, H·K].
    bias: [H, W] float32, the bias of each entry of `distances`.
    query_segments: [B, T] int32.
    key_segments: [B, L] int32; 0 is padding, which is always masked.

  Returns:
    [B, T, H·K] in the dtype of the queries; values at padding are arbitrary.

  Raises:
    ValueError: `bias` is differentiated; this kernel has no gradient for it.
  """
  return _call_forward(
    shape, queries, keys, values, bias, query_segments, key_segments
  )


def _forward(shape, queries, keys, values, bias, *segments):
  if bias.perturbed:
    raise ValueError(
      "the fused attention has no gradient of the relative position bias; to"
      " train the whole T5, use Accelerated(attention='dense')"
    )
  arrays = [x.value for x in (queries, keys, values, bias, *segments)]
  return _call_forward(shape, *arrays), arrays


def _backward(shape, arrays, gradient):
  if isinstance(gradient, jax.custom_derivatives.SymbolicZero):
    return (None,) * 6
  return *_call_backward(shape, *arrays, gradient), None, None, None


attend.defvjp(_forward, _backward, symbolic_zeros=True)


@dataclasses.dataclass(frozen=True)
class _Grid:
  """How a call is divided into programs, and the blocks that each one gets."""

  batch: int
  num_queries: int
  num_keys: int
  num_heads: int
  head_dim: int
  width: int

  @classmethod
  def of(cls, shape, queries, keys, bias):
    batch, num_queries, features = queries.shape
    return cls(
      batch,
      num_queries,
      keys.shape[1],
      shape.num_heads,
      features // shape.num_heads,
      bias.shape[1],
    )

  @property
  def heads(self):
    """Heads of one program: as few as fill lanes, or all of them."""
    for count in range(1, self.num_heads):
      fills = count * self.head_dim % _LANES == 0
      if fills and self.num_heads % count == 0:
        return count
    return self.num_heads

  @property
  def block(self):
    """Queries of one program: all of a row, or whole lanes of them."""
    fitting = [
      block
      for block in range(_LANES, self.num_queries + 1, _LANES)
      if self.num_queries % block == 0 and block * self.num_keys <= _SCORES
    ]
    if self.num_queries * self.num_keys <= _SCORES or not fitting:
      return self.num_queries
    return max(fitting)

  @property
  def sizes(self):
    """The grid: groups of heads, rows, blocks of queries."""
    groups = self.num_heads // self.heads
    return groups, self.batch, self.num_queries // self.block

  def specs(self):
    """Returns the blocks of queries, of keys, of bias and of both segments."""
    features = self.heads * self.head_dim
    return (
      pl.BlockSpec((1, self.block, features), lambda h, b, i: (b, i, h)),
      pl.BlockSpec((1, self.num_keys, features), lambda h, b, i: (b, 0, h)),
      pl.BlockSpec((1, self.heads, self.width), lambda h, b, i: (h, 0, 0)),
      pl.BlockSpec((1, 1, self.block), lambda h, b, i: (b, 0, i)),
      pl.BlockSpec((1, 1, self.num_keys), lambda h, b, i: (b, 0, 0)),
    )

  def cost(self, num_products, num_queries, num_keys, dtype):
    """Estimates the cost of a call for the compiler, which sees none of it.

    Args:
      num_products: products of [T, K] with [K, L] or of that size per head.
      num_queries: arrays of [B, T, H·K] that are read or written.
      num_keys: arrays of [B, L, H·K] that are read or written. Each is moved
        once, because its block stays while the blocks of queries go by.
      dtype: dtype of these arrays.
    """
    scores = self.batch * self.num_heads * self.num_queries * self.num_keys
    features = self.batch * self.num_heads * self.head_dim
    arrays = num_queries * self.num_queries + num_keys * self.num_keys
    groups = self.sizes[0]
    segments = groups * self.batch * (self.num_queries + self.num_keys)
    moved = features * arrays * jnp.dtype(dtype).itemsize
    return pl.CostEstimate(
      flops=2 * num_products * scores * self.head_dim,
      transcendentals=scores,
      bytes_accessed=moved + 4 * (segments + self.num_heads * self.width),
    )


def _prepare(grid, shape, bias, query_segments, key_segments):
  """Returns the small arrays in the shapes of their blocks, and parameters."""
  arrays = (
    bias.reshape(-1, grid.heads, grid.width),
    query_segments[:, None],
    key_segments[:, None],
  )
  params = pltpu.CompilerParams(
    # Rows share the bias in scratch memory, so they are not divided over cores.
    dimension_semantics=("parallel", "arbitrary", "arbitrary"),
  )
  return arrays, dict(interpret=shape.interpret, compiler_params=params)


def _call_forward(shape, queries, keys, values, bias, *segments):
  grid = _Grid.of(shape, queries, keys, bias)
  of_queries, of_keys, *others = grid.specs()
  small, options = _prepare(grid, shape, bias, *segments)
  return pl.pallas_call(
    functools.partial(_forward_kernel, grid, shape.causal),
    grid=grid.sizes,
    in_specs=[of_queries, of_keys, of_keys, *others],
    out_specs=of_queries,
    out_shape=jax.ShapeDtypeStruct(queries.shape, queries.dtype),
    scratch_shapes=[_bias_scratch(grid)],
    cost_estimate=grid.cost(2, 2, 2, queries.dtype),
    name="t5_attention",
    **options,
  )(queries, keys, values, *small)


def _call_backward(shape, queries, keys, values, bias, *rest):
  *segments, gradient = rest
  grid = _Grid.of(shape, queries, keys, bias)
  of_queries, of_keys, *others = grid.specs()
  small, options = _prepare(grid, shape, bias, *segments)
  features = grid.heads * grid.head_dim
  sums = pltpu.VMEM((grid.num_keys, features), jnp.float32)
  return pl.pallas_call(
    functools.partial(_backward_kernel, grid, shape.causal),
    grid=grid.sizes,
    in_specs=[of_queries, of_keys, of_keys, *others, of_queries],
    out_specs=[of_queries, of_keys, of_keys],
    out_shape=[
      jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (queries, keys, values)
    ],
    scratch_shapes=[_bias_scratch(grid), sums, sums],
    cost_estimate=grid.cost(5, 3, 4, queries.dtype),
    name="t5_attention_backward",
    **options,
  )(queries, keys, values, *small, gradient)


def _bias_scratch(grid):
  return pltpu.VMEM((grid.heads, grid.block, grid.num_keys), jnp.float32)


def _forward_kernel(grid, causal, *refs):
  queries, keys, values, bias, *segments, out, placed = refs
  _place_bias(grid, bias, placed)
  mask = _mask(grid, causal, *segments)
  for head in range(grid.heads):
    own = slice(head * grid.head_dim, (head + 1) * grid.head_dim)
    scores = _product(queries[0, :, own], keys[0, :, own], 1, 1)
    weights, sums = _weights(scores, placed[head], mask)
    y = _product(weights.astype(out.dtype), values[0, :, own], 1, 0)
    out[0, :, own] = (y / sums).astype(out.dtype)


def _backward_kernel(grid, causal, *refs):
  queries, keys, values, bias, *segments, gradient = refs[:7]
  d_queries, d_keys, d_values, placed, key_sums, value_sums = refs[7:]
  _place_bias(grid, bias, placed)
  mask = _mask(grid, causal, *segments)

  @pl.when(pl.program_id(2) == 0)
  def _():
    key_sums[...] = jnp.zeros_like(key_sums)
    value_sums[...] = jnp.zeros_like(value_sums)

  for head in range(grid.heads):
    own = slice(head * grid.head_dim, (head + 1) * grid.head_dim)
    q, k, dy = queries[0, :, own], keys[0, :, own], gradient[0, :, own]
    weights, sums = _weights(_product(q, k, 1, 1), placed[head], mask)
    weights = weights / sums
    value_sums[:, own] += _product(weights.astype(dy.dtype), dy, 0, 0)
    d_weights = weights * _product(dy, values[0, :, own], 1, 1)
    means = jnp.sum(d_weights, axis=1, keepdims=True)
    d_scores = (d_weights - weights * means).astype(q.dtype)
    d_queries[0, :, own] = _product(d_scores, k, 1, 0).astype(q.dtype)
    key_sums[:, own] += _product(d_scores, q, 0, 0)

  @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
  def _():
    d_keys[0] = key_sums[...].astype(d_keys.dtype)
    d_values[0] = value_sums[...].astype(d_values.dtype)


def _product(a, b, axis_of_a, axis_of_b):
  """Contracts one axis of each, in float32."""
  return jax.lax.dot_general(
    a,
    b,
    (((axis_of_a,), (axis_of_b,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


def _weights(scores, bias, mask):
  """Returns exp(scores - highest) [T, L] and its sums [T, 1]."""
  scores = jnp.where(mask, scores + bias, MASKED)
  weights = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
  return weights, jnp.sum(weights, axis=1, keepdims=True)


def _place_bias(grid, bias, placed):
  """Fills `placed` [heads, T, L] with the bias of the program's queries.

  Where a row is one block of queries, all rows of the batch share it.
  """
  block = pl.program_id(2)
  is_first = (pl.program_id(1) == 0) | (grid.sizes[2] > 1)

  @pl.when(is_first)
  def _():
    for head in range(grid.heads):
      row = bias[0, head : head + 1, :]
      rows = jnp.broadcast_to(row, (grid.block, grid.width))
      # Entry [a, c] becomes row[(c - a - block · T) mod W].
      rows = pltpu.roll(rows, block * grid.block, 1, stride=1, stride_axis=0)
      placed[head] = rows[:, : grid.num_keys]


def _mask(grid, causal, query_segments, key_segments):
  """Returns which keys each query may attend to: [T, L] bool."""
  columns = jnp.broadcast_to(query_segments[0], (_LANES, grid.block))
  queries = columns.T[:, :1]  # [T, 1]
  keys = key_segments[0]  # [1, L]
  mask = (queries == keys) & (keys > 0)
  if causal:
    shape = (grid.block, grid.num_keys)
    query = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    query += pl.program_id(2) * grid.block
    mask &= query >= jax.lax.broadcasted_iota(jnp.int32, shape, 1)
  return mask
