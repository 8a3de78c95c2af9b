"""Computes the attention of packed rows one segment at a time.

Attention over a whole packed row computes all pairs of its positions and then
masks the pairs of different examples. If many short examples share a long row,
these are most pairs. Here a loop visits the segments. It computes each segment
as a square of scores, with the smallest of a few fixed sizes that holds the
segment. The backward pass recomputes the weights, so no [L, L] array is kept
(Dao et al., 2022). A loop of small products suits a CPU, but not a TPU or GPU.

`target_attention` does the same for the decoder's attention to the encoder.

Axis letters: B batch, L length, M = B·L positions, H num_heads, K head_dim,
C the size of a square, S segments.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.model.attention import MASKED

# The largest number of square sizes. Each size is compiled; fewer sizes waste
# more work on padding.
_MOST_SIZES = 4


def square_sizes(
  longest: int, num_positions: int, shortest: int = 1
) -> tuple[int, ...]:
  """Returns at most 4 sizes of squares, evenly spaced up to `longest`.

  Args:
    longest: positions of the longest segment.
    num_positions: M, the largest possible size.
    shortest: positions of the shortest segment.

  >>> square_sizes(356, 6144, shortest=101)
  (168, 232, 296, 360)
  >>> square_sizes(356, 356)
  (96, 184, 272, 356)
  >>> square_sizes(12, 6144)
  (8, 16)
  """
  shortest = min(shortest, longest)
  sizes = set()
  for i in range(1, _MOST_SIZES + 1):
    size = shortest + (longest - shortest) * i // _MOST_SIZES
    sizes.add(min(-(-size // 8) * 8, num_positions))
  return tuple(sorted(sizes))


@flax.struct.dataclass
class Segments:
  """The segments of a batch, sorted by the size of their squares.

  Attributes:
    starts: [M] int32, the first position of each segment; the first S entries
      are used.
    lengths: [M] int32, the number of positions of each segment.
    bounds: [len(sizes) + 1] int32: segments bounds[i] to bounds[i + 1] go into
      squares of size sizes[i].
    sizes: see `square_sizes`.
  """

  starts: jax.Array
  lengths: jax.Array
  bounds: jax.Array
  sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)


def find_segments(segment_ids, longest: int, shortest: int = 1) -> Segments:
  """Finds the segments of packed rows.

  Args:
    segment_ids: [B, L] int. 0 is padding; a run of one positive number is a
      segment.
    longest: positions of the longest segment. This cannot be checked under jit;
      only the first positions of a longer segment would be computed.
    shortest: positions of the shortest segment. Shorter segments are computed
      correctly, but in squares that are larger than necessary.
  """
  starts, lengths = find_runs(first_of_segment(segment_ids), segment_ids)
  sizes = square_sizes(longest, segment_ids.size, shortest)
  size = jnp.searchsorted(jnp.array(sizes), lengths)
  size = jnp.where(lengths > 0, size, len(sizes))
  order = jnp.argsort(size)
  bounds = jnp.searchsorted(size[order], jnp.arange(len(sizes) + 1))
  return Segments(starts[order], lengths[order], bounds, sizes)


def first_of_segment(segment_ids):
  """Marks the first position of each segment: [B, L] int -> [M] bool.

  A segment never continues in the next row, even if the numbers are equal.
  """
  before = jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
  return ((segment_ids > 0) & (segment_ids != before)).reshape(-1)


def find_runs(first, segment_ids):
  """Finds where runs start and how long they are.

  Args:
    first: [M] bool, True at the first position of each run.
    segment_ids: [B, L] int, 0 at positions outside all runs.

  Returns:
    starts and lengths, both [M] int32; entries after the last run are 0.
  """
  num_positions = segment_ids.size
  real = segment_ids.reshape(-1) > 0
  index = jnp.where(real, jnp.cumsum(first) - 1, num_positions)
  lengths = jnp.zeros((num_positions,), jnp.int32)
  lengths = lengths.at[index].add(1, mode="drop")
  (starts,) = jnp.nonzero(first, size=num_positions, fill_value=0)
  return starts.astype(jnp.int32), lengths


@jax.custom_vjp
def attend(queries, keys, values, bias, segments: Segments):
  """Attends from each position to the positions of its own segment.

  Args:
    queries: [M, H, K] float; T5 does not scale them.
    keys: [M, H, K].
    values: [M, H, K].
    bias: [H, C, C] float32 for the largest C. It is added to the scores of a
      segment's positions, counted from the segment's first. It must depend on
      differences of positions only.
    segments: the result of `find_segments`.

  Returns:
    [M, H, K] in the dtype of the queries; 0 at padding.
  """
  return _forward(queries, keys, values, bias, segments)[0]


def _heads_first(*arrays):
  """Swaps [M, H, .] to [H, M, .]; a head's square is then contiguous."""
  return tuple(jnp.swapaxes(x, 0, 1) for x in arrays)


def _forward(queries, keys, values, bias, segments):
  queries, keys, values = _heads_first(queries, keys, values)

  def visit(square, carry):
    out, log_sums = carry
    scores = _scores(square, queries, keys, bias)
    highest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)  # [H, C, C]
    sums = jnp.sum(weights, axis=-1, keepdims=True)
    # The weights of a neighbour's positions are 0, but 0 · ∞ would be NaN.
    own = jnp.where(square.inside[:, None], square.cut(values, 1), 0)
    y = jnp.einsum("hql,hlk->hqk", weights.astype(out.dtype), own)
    y = y / sums.astype(y.dtype)
    log_sum = highest + jnp.log(sums)  # [H, C, 1]
    return square.put(out, y, 1), square.put(log_sums, log_sum, 1)

  start = (
    jnp.zeros_like(queries),
    jnp.zeros((*queries.shape[:2], 1), jnp.float32),
  )
  out, log_sums = _visit_all(segments, visit, start)
  residuals = queries, keys, values, bias, segments, out, log_sums
  return jnp.swapaxes(out, 0, 1), residuals


def _backward(residuals, gradient):
  queries, keys, values, bias, segments, out, log_sums = residuals
  (gradient,) = _heads_first(gradient)
  means = jnp.sum(
    (gradient * out).astype(jnp.float32), axis=-1, keepdims=True
  )  # [H, M, 1]

  def visit(square, carry):
    d_queries, d_keys, d_values, d_bias = carry
    inside = square.inside[:, None]
    scores = _scores(square, queries, keys, bias) - square.cut(log_sums, 1)
    # At positions of other segments, whose sums differ, exp could overflow.
    weights = jnp.exp(jnp.where(inside, scores, MASKED))
    dy = jnp.where(inside, square.cut(gradient, 1), 0)
    d_weights = jnp.einsum(
      "hqk,hlk->hql",
      dy,
      square.cut(values, 1),
      preferred_element_type=jnp.float32,
    )
    d_scores = weights * (d_weights - square.cut(means, 1))
    size = square.inside.shape[0]
    d_bias = d_bias.at[:, :size, :size].add(d_scores)
    d_scores = d_scores.astype(dy.dtype)
    weights = weights.astype(dy.dtype)
    products = (
      (d_queries, jnp.einsum("hql,hlk->hqk", d_scores, square.cut(keys, 1))),
      (d_keys, jnp.einsum("hql,hqk->hlk", d_scores, square.cut(queries, 1))),
      (d_values, jnp.einsum("hql,hqk->hlk", weights, dy)),
    )
    return *(square.put(x, y, 1) for x, y in products), d_bias

  start = jax.tree.map(jnp.zeros_like, (queries, keys, values, bias))
  *gradients, d_bias = _visit_all(segments, visit, start)
  return *_heads_first(*gradients), d_bias, None


attend.defvjp(_forward, _backward)


def _scores(square, queries, keys, bias):
  """Returns scores [H, C, C] float32, masked outside the segment."""
  size = square.inside.shape[0]
  scores = jnp.einsum(
    "hqk,hlk->hql",
    square.cut(queries, 1),
    square.cut(keys, 1),
    preferred_element_type=jnp.float32,
  )
  return jnp.where(square.inside, scores + bias[:, :size, :size], MASKED)


class Window:
  """A window of `size` positions from `start` on, which contains a run."""

  def __init__(self, first, length, size, num_positions):
    # Near the end of the batch, the window begins before the run.
    self.start = jnp.minimum(first, num_positions - size)
    position = self.start + jnp.arange(size)
    self.inside = (position >= first) & (position < first + length)  # [C]

  def cut(self, x, axis=0):
    """Returns the window's part of x, with positions on this axis."""
    return lax.dynamic_slice_in_dim(x, self.start, self.inside.shape[0], axis)

  def put(self, x, y, axis=0):
    """Returns x with the run's positions replaced by those of y."""
    inside = jnp.expand_dims(self.inside, range(1, x.ndim - axis))
    y = jnp.where(inside, y, self.cut(x, axis)).astype(x.dtype)
    return lax.dynamic_update_slice_in_dim(x, y, self.start, axis)


def _visit_all(segments, visit, carry):
  num_positions = segments.starts.shape[0]

  def visit_one(size, index, carry):
    first, length = segments.starts[index], segments.lengths[index]
    return visit(Window(first, length, size, num_positions), carry)

  for i, size in enumerate(segments.sizes):
    carry = lax.fori_loop(
      segments.bounds[i],
      segments.bounds[i + 1],
      functools.partial(visit_one, size),
      carry,
    )
  return carry
