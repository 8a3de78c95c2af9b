"""Attention that goes through packed rows one segment at a time.

Attention over a whole packed row computes all pairs of its positions and then
masks the pairs of different examples, which are most pairs if many short
examples share a long row. Here a loop visits the segments. Each segment is
computed as a square of positions, of the smallest of a few fixed sizes that
holds it. No array of [L, L] is kept for the backward pass, which computes the
weights again (as Dao et al., 2022, do). A loop of small products suits a CPU,
but neither a TPU nor a GPU.

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

# The number of sizes of squares. Each size is compiled; fewer sizes waste more
# work on padding.
_MOST_SIZES = 4


def square_sizes(
  longest: int, num_positions: int, shortest: int = 1
) -> tuple[int, ...]:
  """The sizes of squares: at most 4, evenly spaced up to `longest`.

  Args:
    longest: positions of the longest segment.
    num_positions: M, which no square exceeds.
    shortest: positions of the shortest.

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
  """The places of a batch's segments, those of the smallest squares first.

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
    segment_ids: [B, L] int: 0 is padding, runs of one positive number are a
      segment.
    longest: positions of the longest segment. This is not checked under jit:
      of a longer segment only the first positions would be seen.
    shortest: positions of the shortest segment. Shorter ones would be computed
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
  """[B, L] int -> [M] bool.

  The first position of a row starts a segment even if the row before ended in
  a segment of the same number.
  """
  before = jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
  return ((segment_ids > 0) & (segment_ids != before)).reshape(-1)


def find_runs(first, segment_ids):
  """Finds where runs start and how long they are.

  Args:
    first: [M] bool, True at the first position of each run.
    segment_ids: [B, L] int, 0 at positions of no run.

  Returns:
    starts and lengths, both [M] int32; behind the last run they are 0.
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
  """Attention of each position to the positions of its own segment.

  Args:
    queries: [M, H, K] float, not scaled (T5's are not).
    keys: [M, H, K].
    values: [M, H, K].
    bias: [H, C, C] float32 for the largest C. It is added to the scores of a
      segment's positions, counted from the segment's first, so it may depend
      on differences of positions alone.
    segments: what `find_segments` returns.

  Returns:
    [M, H, K] in the dtype of the queries; 0 at padding.
  """
  return _forward(queries, keys, values, bias, segments)[0]


def _heads_first(*arrays):
  """[M, H, .] -> [H, M, .]: each head's square is one block of memory."""
  return tuple(jnp.swapaxes(x, 0, 1) for x in arrays)


def _forward(queries, keys, values, bias, segments):
  queries, keys, values = _heads_first(queries, keys, values)

  def visit(square, carry):
    out, log_sums = carry
    scores = _scores(square, queries, keys, bias)
    highest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)  # [H, C, C]
    sums = jnp.sum(weights, axis=-1, keepdims=True)
    y = jnp.einsum(
      "hql,hlk->hqk", weights.astype(out.dtype), square.cut(values, 1)
    )
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
    # exp could overflow at the neighbours' positions, whose sums differ.
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
  """[H, C, C] float32, masked where the key is not of the segment."""
  size = square.inside.shape[0]
  scores = jnp.einsum(
    "hqk,hlk->hql",
    square.cut(queries, 1),
    square.cut(keys, 1),
    preferred_element_type=jnp.float32,
  )
  return jnp.where(square.inside, scores + bias[:, :size, :size], MASKED)


class Window:
  """A run of positions, seen as the `size` positions from `start` on."""

  def __init__(self, first, length, size, num_positions):
    # At the end of the batch the window begins before the run does.
    self.start = jnp.minimum(first, num_positions - size)
    position = self.start + jnp.arange(size)
    self.inside = (position >= first) & (position < first + length)  # [C]

  def cut(self, x, axis=0):
    """Returns the window's part of x, whose positions are on this axis."""
    return lax.dynamic_slice_in_dim(x, self.start, self.inside.shape[0], axis)

  def put(self, x, y, axis=0):
    """Returns x with y in place of the run's positions."""
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
