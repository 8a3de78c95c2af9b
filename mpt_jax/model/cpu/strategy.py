"""The plan for one CPU, which attends example by example.

Packed rows are long and have hardly any padding. The encoder attends within
each example (`segment_attention`). If an example has few targets, they attend
to the encoder's states without computing keys and values (`target_attention`).
The encoder and the decoder loop over their layers, so XLA compiles one body for
all layers of a stack.

Axis letters: B batch, L length, T target_length, D emb_dim, H num_heads,
K head_dim, M = B·L positions, N = B·T targets, S layers.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.model.cpu import segment_attention, target_attention
from mpt_jax.model.plan import Dense


@dataclasses.dataclass(frozen=True)
class BySegments(Dense):
  """Computes the attention of packed rows one example at a time.

  A segment is one example of a row, including its prompt. The results equal
  those of `Dense` up to rounding.

  Attributes:
    longest_segment: positions of the longest example. This cannot be checked
      under jit; only so many positions of a longer one would be computed.
    shortest_segment: positions of the shortest example. A larger number saves
      time.
  """

  longest_segment: int
  shortest_segment: int = 1

  @classmethod
  def for_batches(cls, layout):
    """Makes the plan for batches of this `BatchLayout`."""
    c = layout
    # Every example has at least its prompt and the end of sequence.
    return cls(c.prompt_length + c.inputs_length, c.prompt_length + 1)

  def rows(self, layout):
    return dataclasses.replace(layout, long_rows=True, row_multiple=1)

  def prepare(self, frozen):
    """Adds layer-stacked copies, so that no step has to stack the layers.

    They are under "layers" of each stack. If the T5 trains, it is not part of
    `frozen` and gets no copies.
    """
    return {
      name: {**params, "layers": _stack_layers(params)}
      if name in ("encoder", "decoder")
      else params
      for name, params in frozen.items()
    }

  def restore(self, params):
    return {
      name: {k: v for k, v in params[name].items() if k != "layers"}
      if name in ("encoder", "decoder")
      else params[name]
      for name in params
    }

  def loop(self, stack, call, x, each=None):
    """Scans over the layers, so XLA compiles one body for all of them.

    Unrolled, a step of T5-Base takes nearly twice as long to compile. The scan
    needs a stacked copy of all layers' parameters, which each step makes unless
    `prepare` did. Cached decoding is unrolled, because a scan would copy its
    caches as well.
    """
    if each is not None:
      return super().loop(stack, call, x, each)
    params = stack.variables["params"]
    stacked = params.get("layers") or _stack_layers(params)
    layer = stack.layers[0].clone()

    def body(x, own):
      return layer.apply({"params": own}, x, None, method=call)

    x, made = lax.scan(body, x, stacked)
    return x, [made[i] for i in range(len(stack.layers))]

  def encoder_attention(self, position_bias, segment_ids, deterministic):
    _check_no_dropout(deterministic)
    segments = segment_attention.find_segments(
      segment_ids, self.longest_segment, self.shortest_segment
    )
    bias = position_bias(segments.sizes[-1], segments.sizes[-1])

    def attend(attention, x):
      return _within_segments(attention, x, bias[0], segments)

    return attend

  def cross_attention(
    self, config, encoded, encoder_segment_ids, segment_ids, deterministic
  ):
    _check_no_dropout(deterministic)
    if not self._suits_targets(
      config, segment_ids.size, encoder_segment_ids.shape
    ):
      return super().cross_attention(
        config, encoded, encoder_segment_ids, segment_ids, deterministic
      )
    pieces = target_attention.find_pieces(
      segment_ids, encoder_segment_ids, self.longest_segment
    )

    def attend(attention, x):
      return _across_segments(attention, x, encoded, pieces)

    return attend

  def cross_cache(self, decoder, encoded, mask, max_length):
    batch_size, length = encoded.shape[:2]
    if not self._suits_targets(
      decoder.config, batch_size * max_length, (batch_size, length)
    ):
      return super().cross_cache(decoder, encoded, mask, max_length)
    return (mask, encoded), [None] * len(decoder.layers)

  def attend_cached(self, attention, x, shared, own):
    if own is not None:
      return super().attend_cached(attention, x, shared, own)
    mask, states = shared
    return _across_states(attention, x, states, mask)

  def _suits_targets(self, config, num_targets, encoder_shape):
    """Returns whether to avoid computing the encoder's keys and values."""
    batch_size, length = encoder_shape
    return target_attention.suits_targets(
      num_targets,
      batch_size * length,
      min(self.longest_segment, length),
      config.head_dim,
    )


def _check_no_dropout(deterministic):
  if not deterministic:
    raise ValueError(
      "dropout is not implemented in the plan BySegments; set dropout_rate=0"
      " or use the plan Dense()"
    )


def _stack_layers(params):
  """Stacks the parameters of the layers along a new first axis [S, ...]."""
  count = sum(name.startswith("layers_") for name in params)
  layers = (params[f"layers_{i}"] for i in range(count))
  return jax.tree.map(lambda *arrays: jnp.stack(arrays), *layers)


def _within_segments(attention, x, bias, segments):
  """Computes the self-attention of packed rows, segment by segment.

  Args:
    attention: the layer's `attention.Attention`.
    x: [B, L, D].
    bias: [H, C, C] float32, where C is the largest of `segments.sizes`.
    segments: a `segment_attention.Segments`.

  Returns:
    [B, L, D].
  """
  heads = (-1, attention.num_heads, attention.head_dim)
  y = segment_attention.attend(
    attention.query(x).reshape(heads),
    attention.key(x).reshape(heads),
    attention.value(x).reshape(heads),
    bias,
    segments,
  )
  return attention.join(y.reshape(*x.shape[:-1], -1))


def _across_segments(attention, x, states, pieces):
  """Attends to the states of packed rows, a few targets at a time.

  Args:
    attention: the layer's `attention.Attention`.
    x: [B, T, D].
    states: [B', L, D], the encoder's states.
    pieces: a `target_attention.Pieces`.

  Returns:
    [B, T, D].
  """
  queries = _queries_with_keys(attention, x.reshape(-1, x.shape[-1]))
  y = target_attention.attend_across(
    queries, states.reshape(-1, states.shape[-1]), pieces
  )
  return _values_of_means(attention, y).reshape(x.shape)


def _across_states(attention, x, states, mask):
  """Attends from one position per row to states, without keys and values.

  Args:
    attention: the layer's `attention.Attention`.
    x: [B, 1, D].
    states: [B, L, D], the encoder's states.
    mask: [B, 1, 1, L] float32.

  Returns:
    [B, 1, D].
  """
  queries = _queries_with_keys(attention, x[:, 0])
  # With so few queries, XLA's product is fast in this order of axes.
  scores = jnp.einsum(
    "bld,bhd->blh", states, queries, preferred_element_type=jnp.float32
  )
  weights = jax.nn.softmax(scores + mask[:, 0, 0, :, None], axis=1)
  means = jnp.einsum("blh,bld->bhd", weights.astype(attention.dtype), states)
  return _values_of_means(attention, means)[:, None]


def _queries_with_keys(attention, x):
  """Computes x W_q W_kᵀ per head, [N, D] -> [N, H, D], to score states."""
  queries = attention.query(x)
  queries = queries.reshape(-1, attention.num_heads, attention.head_dim)
  return jnp.einsum("nhk,dhk->nhd", queries, _by_heads(attention, "key"))


def _values_of_means(attention, y):
  """Maps weighted means of states [N, H, D] to the output [N, D]."""
  values = jnp.einsum("nhd,dhk->nhk", y, _by_heads(attention, "value"))
  return attention.join(values.reshape(len(y), -1))


def _by_heads(attention, name):
  """Returns the kernel of the projection `name` as [D, H, K]."""
  kernel = attention.variables["params"][name]["kernel"]
  kernel = kernel.astype(attention.dtype)
  return kernel.reshape(-1, attention.num_heads, attention.head_dim)
