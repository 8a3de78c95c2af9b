"""The two stacks of T5: blocks, encoder and decoder.

Axis letters: B batch, L length, T target_length, D emb_dim, H num_heads,
K head_dim.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.model import layers
from mpt_jax.model.config import T5Config
from mpt_jax.model.cpu import segment_attention, target_attention


def _segment_bias(query_segments, key_segments):
  """[B, T], [B, L] int -> [B, 1, T, L] float32: 0 where one may look."""
  same = query_segments[:, :, None] == key_segments[:, None, :]
  mask = same & (key_segments > 0)[:, None, :]
  return jnp.where(mask, 0.0, layers.MASKED)[:, None]


class _Block(nn.Module):
  """What the blocks of both stacks share."""

  config: T5Config

  def _attention(self):
    c = self.config
    return layers.Attention(
      c.num_heads, c.head_dim, c.emb_dim, c.dropout_rate, jnp.dtype(c.dtype)
    )

  def _norm(self):
    return layers.RMSNorm(jnp.dtype(self.config.dtype))

  def _mlp(self):
    c = self.config
    return layers.MlpBlock(
      c.mlp_dim, c.mlp_activations, c.dropout_rate, jnp.dtype(c.dtype)
    )

  def _dropout(self):
    return nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))


class EncoderLayer(_Block):
  def setup(self):
    self.pre_attention_layer_norm = self._norm()
    self.attention = self._attention()
    self.pre_mlp_layer_norm = self._norm()
    self.mlp = self._mlp()
    self.dropout = self._dropout()

  def __call__(self, x, bias, segments, deterministic):
    y = self.pre_attention_layer_norm(x)
    if segments is None:
      y = self.attention(y, *self.attention.keys_values(y), bias, deterministic)
    else:
      y = self.attention.within_segments(y, bias, segments)
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return x + self.dropout(y, deterministic=deterministic)


class DecoderLayer(_Block):
  def setup(self):
    self.pre_self_attention_layer_norm = self._norm()
    self.self_attention = self._attention()
    self.pre_cross_attention_layer_norm = self._norm()
    self.encoder_decoder_attention = self._attention()
    self.pre_mlp_layer_norm = self._norm()
    self.mlp = self._mlp()
    self.dropout = self._dropout()

  def cross_keys_values(self, encoded):
    return self.encoder_decoder_attention.keys_values(encoded)

  def __call__(self, x, bias, cross, deterministic, cache=None):
    """Runs the block on [B, T, D], or on [B, 1, D] with a cache.

    Args:
      x: [B, T, D].
      bias: of the self-attention, broadcastable to [B, H, T, T].
      cross: (attention, x [B, T, D]) -> [B, T, D]: how the attention looks at
        the encoder's output.
      deterministic: no dropout.
      cache: (keys, values [B, H, T, K], index []) to write this position to.

    Returns:
      x [B, T, D] and the (updated) keys and values of the self-attention.
    """
    y = self.pre_self_attention_layer_norm(x)
    keys, values = self.self_attention.keys_values(y)
    if cache is not None:
      cached_keys, cached_values, index = cache
      keys = lax.dynamic_update_slice_in_dim(cached_keys, keys, index, 2)
      values = lax.dynamic_update_slice_in_dim(cached_values, values, index, 2)
    y = self.self_attention(y, keys, values, bias, deterministic)
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.pre_cross_attention_layer_norm(x)
    y = cross(self.encoder_decoder_attention, y)
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    x = x + self.dropout(y, deterministic=deterministic)
    return x, (keys, values)


class Encoder(nn.Module):
  config: T5Config
  longest_segment: int | None = None
  shortest_segment: int = 1

  def setup(self):
    c = self.config
    self.relpos_bias = layers.RelativePositionBias(
      c.num_heads, True, c.num_relpos_buckets, c.max_relpos_distance
    )
    self.layers = [EncoderLayer(c) for _ in range(c.num_encoder_layers)]
    self.encoder_norm = layers.RMSNorm(jnp.dtype(c.dtype))
    self.dropout = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))

  def __call__(self, x, segment_ids, deterministic):
    """[B, L, D], [B, L] -> tuple of hidden states [B, L, D], final one last."""
    x = self.dropout(x, deterministic=deterministic)
    if _goes_by_segments(self, deterministic):
      hidden = [x, *self._loop_by_segments(x, segment_ids)]
    else:
      length = x.shape[1]
      bias = self.relpos_bias(length, length)
      bias = bias + _segment_bias(segment_ids, segment_ids)  # [B, H, L, L]
      hidden = [x]
      for layer in self.layers:
        hidden.append(layer(hidden[-1], bias, None, deterministic))
    hidden[-1] = self.dropout(
      self.encoder_norm(hidden[-1]), deterministic=deterministic
    )
    return tuple(hidden)

  def _loop_by_segments(self, x, segment_ids):
    """Each layer's output [B, L, D], attention going by segments."""
    segments = segment_attention.find_segments(
      segment_ids, self.longest_segment, self.shortest_segment
    )
    bias = self.relpos_bias(segments.sizes[-1], segments.sizes[-1])
    return _loop_over_layers(
      self, EncoderLayer, lambda layer, x: layer(x, bias, segments, True), x
    )


def _loop_over_layers(stack, layer_class, call, x):
  """Each layer's output, of layers that are applied one after the other.

  One body is compiled for all layers: each with squares of its own, a step of
  T5-Base takes nearly twice as long to compile. The price is a copy of all
  layers' parameters in each step, unless "stacked" has it (`stack_layers`).

  Args:
    stack: the bound `Encoder` or `Decoder`.
    layer_class: of its layers.
    call: (layer, x) -> x, without dropout.
    x: [B, L, D].

  Returns:
    A list of [B, L, D].
  """
  stacked = stack.variables.get("stacked")
  if stacked is None:
    stacked = stack_layers(stack.variables["params"])
  layer = layer_class(stack.config, parent=None)

  def body(x, params):
    x = layer.apply({"params": params}, x, method=call)
    return x, x

  last, outputs = lax.scan(body, x, stacked)
  return [*(outputs[i] for i in range(len(stack.layers) - 1)), last]


def stack_layers(params):
  """The layers' parameters of a stack along a new first axis."""
  count = sum(name.startswith("layers_") for name in params)
  layers = (params[f"layers_{i}"] for i in range(count))
  return jax.tree.map(lambda *arrays: jnp.stack(arrays), *layers)


def _goes_by_segments(stack, deterministic):
  """That way makes no parameters and draws no dropout."""
  return (
    stack.longest_segment is not None
    and not stack.is_initializing()
    and (deterministic or stack.config.dropout_rate == 0)
  )


class Decoder(nn.Module):
  config: T5Config
  longest_segment: int | None = None

  def setup(self):
    c = self.config
    self.relpos_bias = layers.RelativePositionBias(
      c.num_heads, False, c.num_relpos_buckets, c.max_relpos_distance
    )
    self.layers = [DecoderLayer(c) for _ in range(c.num_decoder_layers)]
    self.decoder_norm = layers.RMSNorm(jnp.dtype(c.dtype))
    self.dropout = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))
    if not c.logits_via_embedding:
      self.logits_dense = layers.Dense(
        c.vocab_size, axes=("embed", "vocab"), dtype=jnp.dtype(c.dtype)
      )

  def __call__(
    self,
    x,
    encoded,
    encoder_segment_ids,
    segment_ids,
    cross_segment_ids,
    deterministic,
  ):
    """[B, T, D] -> tuple of hidden states [B, T, D], final one last."""
    length = x.shape[1]
    causal = jnp.where(
      jnp.tril(jnp.ones((length, length), bool)), 0.0, layers.MASKED
    )
    bias = self.relpos_bias(length, length) + causal[None, None]
    bias = bias + _segment_bias(segment_ids, segment_ids)  # [B, H, T, T]
    x = self.dropout(x, deterministic=deterministic)
    loop = _goes_by_segments(self, deterministic)
    if loop and self._suits_targets(length, encoder_segment_ids):
      cross = self._across_segments(
        encoded, encoder_segment_ids, cross_segment_ids
      )
    else:
      cross = self._across_rows(
        encoded, encoder_segment_ids, cross_segment_ids, deterministic
      )
    call = lambda layer, x: layer(x, bias, cross, deterministic)[0]
    hidden = [x]
    if loop:
      hidden += _loop_over_layers(self, DecoderLayer, call, x)
    else:
      for layer in self.layers:
        hidden.append(call(layer, hidden[-1]))
    hidden[-1] = self.dropout(
      self.decoder_norm(hidden[-1]), deterministic=deterministic
    )
    return tuple(hidden)

  def _suits_targets(self, length, encoder_segment_ids):
    """Whether to do without the keys and values of the encoder's states."""
    batch_size, encoder_length = encoder_segment_ids.shape
    return self.longest_segment is not None and target_attention.suits_targets(
      batch_size * length,
      encoder_segment_ids.size,
      min(self.longest_segment, encoder_length),
      self.config.head_dim,
    )

  def _across_rows(
    self, encoded, segment_ids, target_segment_ids, deterministic
  ):
    """Cross-attention of whole rows, each layer with its keys and values."""
    bias = _segment_bias(target_segment_ids, segment_ids)
    return lambda attention, x: attention(
      x, *attention.keys_values(encoded), bias, deterministic
    )

  def _across_segments(self, encoded, segment_ids, target_segment_ids):
    """Cross-attention that goes by segments, without keys and values."""
    pieces = target_attention.find_pieces(
      target_segment_ids, segment_ids, self.longest_segment
    )
    return lambda attention, x: attention.across_segments(x, encoded, pieces)

  def init_cache(self, encoded, encoder_segment_ids, max_length):
    """Prepares decoding one position at a time; see `T5.init_cache`."""
    c = self.config
    batch_size = encoder_segment_ids.shape[0]
    shape = (batch_size, c.num_heads, max_length, c.head_dim)
    zeros = jnp.zeros(shape, jnp.dtype(c.dtype))
    queries = jnp.ones((batch_size, 1), jnp.int32)
    cache = {
      "self": [(zeros, zeros) for _ in self.layers],
      "cross_bias": _segment_bias(queries, encoder_segment_ids),
    }
    if self._suits_targets(max_length, encoder_segment_ids):
      cache["states"] = encoded
    else:
      cache["cross"] = [
        layer.cross_keys_values(encoded) for layer in self.layers
      ]
    return cache

  def step(self, x, cache, index):
    """[B, 1, D] at position `index` -> final hidden state, new cache."""
    length = cache["self"][0][0].shape[2]
    bias = self.relpos_bias(length, length)  # [1, H, T, T]
    bias = lax.dynamic_slice_in_dim(bias, index, 1, axis=2)
    past = jnp.arange(length)[None, None, None, :] <= index
    bias = bias + jnp.where(past, 0.0, layers.MASKED)  # [1, H, 1, T]
    updated = []
    for i, layer in enumerate(self.layers):
      if "states" in cache:
        cross = lambda attention, x: attention.across_states(
          x, cache["states"], cache["cross_bias"]
        )
      else:
        cross = lambda attention, x, i=i: attention(
          x, *cache["cross"][i], cache["cross_bias"]
        )
      x, keys_values = layer(
        x, bias, cross, True, cache=(*cache["self"][i], index)
      )
      updated.append(keys_values)
    return self.decoder_norm(x), {**cache, "self": updated}
