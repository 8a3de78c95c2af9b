"""Self-attention that goes through packed rows one segment at a time.

Attention over a whole packed row computes all pairs of its positions and then
masks those of different examples: with many short examples in a long row most
of them. Here a loop visits the segments, each in a square of the smallest of a
few fixed sizes that holds it, and nothing of [L, L] is kept for the backward
pass, which computes the weights again (as Dao et al., 2022, do). A loop of
small products suits a CPU, not a TPU or a GPU.

Axis letters: B batch, L length, M = B·L positions, H num_heads, K head_dim,
C the size of a square, S segments.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

# What a masked score becomes; finite, as in `layers`.
MASKED = -1e10
_STEP, _MOST_SIZES = 96, 6


def suits_devices() -> bool:
  """Whether this is the faster way here: on one CPU."""
  return jax.default_backend() == "cpu" and jax.device_count() == 1


def square_sizes(
  longest: int, num_positions: int, shortest: int = 1
) -> tuple[int, ...]:
  """The sizes of squares: evenly spaced, at most 6, the last holds `longest`.

  Args:
    longest: positions of the longest segment.
    num_positions: M, which no square exceeds.
    shortest: positions of the shortest. Smaller squares are left out, as each
      size is compiled.

  >>> square_sizes(356, 6144)
  (96, 192, 288, 384)
  >>> square_sizes(900, 6144)
  (192, 384, 576, 768, 960)
  >>> square_sizes(356, 356, shortest=101)
  (192, 288, 356)
  """
  step = _STEP * -(-longest // (_STEP * _MOST_SIZES))
  sizes = [n for n in range(step, longest + step, step) if n >= shortest]
  return tuple(sorted({min(size, num_positions) for size in sizes}))


@flax.struct.dataclass
class Segments:
  """Where the segments of a batch lie, the smallest squares first.

  Attributes:
    starts: [M] int32, first of the M positions; [S] of them are used.
    lengths: [M] int32.
    bounds: [sizes + 1] int32: segments bounds[i] to bounds[i + 1] go into
      squares of size i.
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
    longest: no segment has more positions. Not checked under jit: of a longer
      one only so many positions would be seen.
    shortest: no segment has fewer positions; they would only take longer.
  """
  rows, length = segment_ids.shape
  num_positions = rows * length
  before = jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
  first = ((segment_ids > 0) & (segment_ids != before)).reshape(-1)
  # A row's first position starts a segment even if the last row ended in one
  # of the same number: `before` is 0 there.
  real = segment_ids.reshape(-1) > 0
  index = jnp.where(real, jnp.cumsum(first) - 1, num_positions)
  lengths = jnp.zeros((num_positions,), jnp.int32)
  lengths = lengths.at[index].add(1, mode="drop")
  (starts,) = jnp.nonzero(first, size=num_positions, fill_value=0)
  sizes = square_sizes(longest, num_positions, shortest)
  size = jnp.searchsorted(jnp.array(sizes), lengths)
  size = jnp.where(lengths > 0, size, len(sizes))
  order = jnp.argsort(size)
  bounds = jnp.searchsorted(size[order], jnp.arange(len(sizes) + 1))
  return Segments(
    starts[order].astype(jnp.int32), lengths[order], bounds, sizes
  )


@jax.custom_vjp
def attend(queries, keys, values, bias, segments: Segments):
  """Attention of each position to the positions of its own segment.

  Args:
    queries: [M, H, K] float, not scaled (T5's are not).
    keys: [M, H, K].
    values: [M, H, K].
    bias: [H, C, C] float32 for the largest C: added to the scores of the
      segment's positions, so it may depend on differences of positions alone.
    segments: of `find_segments`.

  Returns:
    [M, H, K] in the dtype of the queries; 0 at padding.
  """
  return _forward(queries, keys, values, bias, segments)[0]


def _forward(queries, keys, values, bias, segments):
  def visit(square, carry):
    out, log_sums = carry
    scores = square.scores(queries, keys, bias)
    highest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)  # [H, C, C]
    sums = jnp.sum(weights, axis=-1, keepdims=True)
    y = jnp.einsum(
      "hql,lhk->qhk", weights.astype(out.dtype), square.cut(values)
    )
    y = y / jnp.swapaxes(sums, 0, 1).astype(y.dtype)
    log_sum = jnp.swapaxes(highest + jnp.log(sums), 0, 1)  # [C, H, 1]
    return square.put(out, y), square.put(log_sums, log_sum)

  start = (
    jnp.zeros_like(queries),
    jnp.zeros((*queries.shape[:2], 1), jnp.float32),
  )
  out, log_sums = _visit_all(segments, visit, start)
  return out, (queries, keys, values, bias, segments, out, log_sums)


def _backward(residuals, gradient):
  queries, keys, values, bias, segments, out, log_sums = residuals

  def visit(square, carry):
    d_queries, d_keys, d_values, d_bias = carry
    inside = square.inside
    scores = square.scores(queries, keys, bias)
    scores -= jnp.swapaxes(square.cut(log_sums), 0, 1)
    # Positions of the neighbours have other sums: exp could overflow there.
    scores = jnp.where(inside[:, None], scores, MASKED)
    weights = jnp.exp(scores)
    dy = jnp.where(inside[:, None, None], square.cut(gradient), 0)
    d_weights = jnp.einsum(
      "qhk,lhk->hql",
      dy,
      square.cut(values),
      preferred_element_type=jnp.float32,
    )
    mean = jnp.sum(
      (dy * square.cut(out)).astype(jnp.float32), axis=-1, keepdims=True
    )
    d_scores = weights * (d_weights - jnp.swapaxes(mean, 0, 1))
    size = inside.shape[0]
    d_bias = d_bias.at[:, :size, :size].add(d_scores)
    d_scores = d_scores.astype(dy.dtype)
    weights = weights.astype(dy.dtype)
    return (
      square.put(
        d_queries, jnp.einsum("hql,lhk->qhk", d_scores, square.cut(keys))
      ),
      square.put(
        d_keys, jnp.einsum("hql,qhk->lhk", d_scores, square.cut(queries))
      ),
      square.put(d_values, jnp.einsum("hql,qhk->lhk", weights, dy)),
      d_bias,
    )

  start = jax.tree.map(jnp.zeros_like, (queries, keys, values, bias))
  return *_visit_all(segments, visit, start), None


attend.defvjp(_forward, _backward)


class _Square:
  """One segment in the square of positions [start, start + size)."""

  def __init__(self, segments, index, size):
    num_positions = segments.starts.shape[0]
    first, length = segments.starts[index], segments.lengths[index]
    # A square at the end of the batch begins before its segment.
    self.start = jnp.minimum(first, num_positions - size)
    position = self.start + jnp.arange(size)
    self.inside = (position >= first) & (position < first + length)  # [C]

  def cut(self, x):
    """[M, H, K] -> [C, H, K]."""
    return lax.dynamic_slice_in_dim(x, self.start, self.inside.shape[0], 0)

  def put(self, x, y):
    """Writes [C, H, K] into [M, H, K], at the segment's positions only."""
    y = jnp.where(self.inside[:, None, None], y, self.cut(x))
    return lax.dynamic_update_slice_in_dim(x, y.astype(x.dtype), self.start, 0)

  def scores(self, queries, keys, bias):
    """[H, C, C] float32, masked where the key is another segment's."""
    size = self.inside.shape[0]
    scores = jnp.einsum(
      "qhk,lhk->hql",
      self.cut(queries),
      self.cut(keys),
      preferred_element_type=jnp.float32,
    )
    return jnp.where(self.inside, scores + bias[:, :size, :size], MASKED)


def _visit_all(segments, visit, carry):
  for i, size in enumerate(segments.sizes):
    carry = lax.fori_loop(
      segments.bounds[i],
      segments.bounds[i + 1],
      functools.partial(_visit_one, segments, size, visit),
      carry,
    )
  return carry


def _visit_one(segments, size, visit, index, carry):
  return visit(_Square(segments, index, size), carry)
