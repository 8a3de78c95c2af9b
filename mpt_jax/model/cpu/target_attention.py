"""Computes the attention of few targets to the encoder's packed states.

The decoder's targets attend to the states of their own segment. A loop visits a
few targets of one segment at a time. It does not compute keys and values: the
scores (x W_q) (E W_k)ᵀ equal (x W_q W_kᵀ) Eᵀ, and the outputs A (E W_v) equal
(A E) W_v. For two or three targets in a segment, this takes far fewer products
than two projections of each position, also in the backward pass. Like
`segment_attention`, it suits a CPU.

Axis letters: B batch, L length, M = B·L positions, T targets, N = B·T,
H num_heads, C positions of the longest segment, D emb_dim.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.model.attention import MASKED
from mpt_jax.model.cpu.segment_attention import (
  Window,
  find_runs,
  first_of_segment,
)

# The most targets of one segment that are visited at once.
_PIECE = 8


@flax.struct.dataclass
class Pieces:
  """Pieces of a few targets each, and the segment that each attends to.

  Attributes:
    starts: [N] int32, the first target of each piece.
    lengths: [N] int32, the number of targets of each piece, at most 8.
    segment_starts: [N] int32, the first position of the piece's segment.
    segment_lengths: [N] int32, the number of positions of that segment.
    count: [] int32, the number of pieces; later entries are not used.
    longest: positions of the longest segment, at most L.
  """

  starts: jax.Array
  lengths: jax.Array
  segment_starts: jax.Array
  segment_lengths: jax.Array
  count: jax.Array
  longest: int = flax.struct.field(pytree_node=False)


def suits_targets(
  num_targets: int, num_positions: int, longest: int, head_dim: int
) -> bool:
  """Returns whether pieces need fewer products than keys and values do.

  With H heads of K = D / H, a target takes 2·H·D products for each position of
  its segment, and the two projections take 2·D² for each position. The bound
  assumes that pieces waste as much again on padding.

  Args:
    num_targets: N.
    num_positions: M.
    longest: positions of the longest segment; all segments count as this long.
    head_dim: K.
  """
  return 2 * num_targets * longest <= num_positions * head_dim


def find_pieces(target_segment_ids, segment_ids, longest: int) -> Pieces:
  """Divides each segment's targets into pieces of at most 8.

  Args:
    target_segment_ids: [B, T] int, in runs: the segment of the same row that a
      target attends to; 0 is padding.
    segment_ids: [B, L] int, see `segment_attention.find_segments`.
    longest: see `segment_attention.find_segments`.
  """
  first = first_of_segment(target_segment_ids)
  index = jnp.arange(target_segment_ids.size)
  since = index - lax.cummax(jnp.where(first, index, 0))
  real = target_segment_ids.reshape(-1) > 0
  starts, lengths = find_runs(real & (since % _PIECE == 0), target_segment_ids)
  rows = starts // target_segment_ids.shape[1]
  own = segment_ids[rows] == target_segment_ids.reshape(-1)[starts][:, None]
  return Pieces(
    starts,
    lengths,
    rows * segment_ids.shape[1] + jnp.argmax(own, axis=-1),
    jnp.sum(own, axis=-1),
    jnp.sum(lengths > 0),
    min(longest, segment_ids.shape[1]),
  )


@jax.custom_vjp
def attend_across(queries, states, pieces: Pieces):
  """Attends from each target to the states of its segment.

  Args:
    queries: [N, H, D] float, already multiplied by the key projection.
    states: [M, D].
    pieces: the result of `find_pieces`.

  Returns:
    [N, H, D] in the dtype of the queries: weighted means of states, which the
    caller multiplies by the value projection; 0 at padding.
  """
  return _forward_across(queries, states, pieces)[0]


def _forward_across(queries, states, pieces):
  def visit(targets, segment, carry):
    out, log_sums = carry
    own = segment.cut(states)
    scores = _scores_across(targets.cut(queries), own, segment.inside)
    highest = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)  # [8, H, C]
    sums = jnp.sum(weights, axis=-1, keepdims=True)
    y = jnp.einsum("thc,cd->thd", weights.astype(own.dtype), own)
    y = y / sums.astype(y.dtype)
    return targets.put(out, y), targets.put(log_sums, highest + jnp.log(sums))

  start = (
    jnp.zeros_like(queries),
    jnp.zeros((*queries.shape[:2], 1), jnp.float32),
  )
  out, log_sums = _visit_pieces(pieces, len(states), visit, start)
  return out, (queries, states, pieces, out, log_sums)


def _backward_across(residuals, gradient):
  queries, states, pieces, out, log_sums = residuals

  def visit(targets, segment, carry):
    d_queries, d_states = carry
    own, asked = segment.cut(states), targets.cut(queries)
    inside = targets.inside[:, None, None]
    scores = _scores_across(asked, own, segment.inside)
    # At targets of other pieces, whose sums differ, exp could overflow.
    scores = jnp.where(inside, scores - targets.cut(log_sums), MASKED)
    weights = jnp.exp(scores)
    dy = jnp.where(inside, targets.cut(gradient), 0)
    d_weights = jnp.einsum(
      "thd,cd->thc", dy, own, preferred_element_type=jnp.float32
    )
    mean = jnp.sum(
      (dy * targets.cut(out)).astype(jnp.float32), axis=-1, keepdims=True
    )
    d_scores = (weights * (d_weights - mean)).astype(dy.dtype)
    weights = weights.astype(dy.dtype)
    d_own = jnp.einsum("thc,thd->cd", weights, dy)
    d_own += jnp.einsum("thc,thd->cd", d_scores, asked)
    # Other pieces of the segment add here, too; masked positions add 0.
    d_own = segment.cut(d_states) + d_own.astype(d_states.dtype)
    return (
      targets.put(d_queries, jnp.einsum("thc,cd->thd", d_scores, own)),
      lax.dynamic_update_slice_in_dim(d_states, d_own, segment.start, 0),
    )

  start = jax.tree.map(jnp.zeros_like, (queries, states))
  return *_visit_pieces(pieces, len(states), visit, start), None


attend_across.defvjp(_forward_across, _backward_across)


def _scores_across(queries, states, inside):
  """Scores [8, H, D] against [C, D]: [8, H, C] float32, masked outside."""
  scores = jnp.einsum(
    "thd,cd->thc", queries, states, preferred_element_type=jnp.float32
  )
  return jnp.where(inside, scores, MASKED)


def _visit_pieces(pieces, num_positions, visit, carry):
  num_targets = pieces.starts.shape[0]

  def visit_one(i, carry):
    targets = Window(
      pieces.starts[i], pieces.lengths[i], min(_PIECE, num_targets), num_targets
    )
    segment = Window(
      pieces.segment_starts[i],
      pieces.segment_lengths[i],
      pieces.longest,
      num_positions,
    )
    return visit(targets, segment, carry)

  return lax.fori_loop(0, pieces.count, visit_one, carry)
