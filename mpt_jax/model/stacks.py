"""The two stacks of T5: blocks, encoder and decoder.

The plan (`plan.Dense`) decides how the blocks attend and how the stacks loop
over them.

Axis letters: B batch, L length, T target_length, D emb_dim, H num_heads,
K head_dim.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from mpt_jax.model import layers
from mpt_jax.model.attention import MASKED, Attention, segment_mask
from mpt_jax.model.config import T5Config
from mpt_jax.model.plan import Dense


class _Block(nn.Module):
  """The parts that the blocks of both stacks share.

  A block has a `relpos_bias` if `T5Config.relpos_in_layers` says so.
  """

  config: T5Config

  def _attention(self):
    c = self.config
    return Attention(
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
  """Self-attention and the feed-forward block."""

  def setup(self):
    if self.config.relpos_in_layers:
      self.relpos_bias = _relpos_bias(self.config, bidirectional=True)
    self.pre_attention_layer_norm = self._norm()
    self.attention = self._attention()
    self.pre_mlp_layer_norm = self._norm()
    self.mlp = self._mlp()
    self.dropout = self._dropout()

  def __call__(self, x, attend, deterministic):
    """Runs the block on x [B, L, D]; see `Dense.encoder_attention`."""
    y = attend(self.attention, self.pre_attention_layer_norm(x))
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    return x + self.dropout(y, deterministic=deterministic)


class DecoderLayer(_Block):
  """Self-attention, attention to the encoder, and the feed-forward block."""

  def setup(self):
    if self.config.relpos_in_layers:
      self.relpos_bias = _relpos_bias(self.config, bidirectional=False)
    self.pre_self_attention_layer_norm = self._norm()
    self.self_attention = self._attention()
    self.pre_cross_attention_layer_norm = self._norm()
    self.encoder_decoder_attention = self._attention()
    self.pre_mlp_layer_norm = self._norm()
    self.mlp = self._mlp()
    self.dropout = self._dropout()

  def cross_keys_values(self, encoded):
    """Projects the encoder's output to keys and values [B, H, L, K]."""
    return self.encoder_decoder_attention.keys_values(encoded)

  def __call__(self, x, attend, attend_across, deterministic, cache=None):
    """Runs the block on [B, T, D], or on [B, 1, D] with a cache.

    Args:
      x: [B, T, D].
      attend: the self-attention, from `Dense.decoder_attention`.
      attend_across: the attention to the encoder, from `Dense.cross_attention`.
      deterministic: apply no dropout.
      cache: (keys, values [B, H, T, K], index [] or [B]); position `index` is
        written.

    Returns:
      x [B, T, D] and the (updated) keys and values of the self-attention.
    """
    y = self.pre_self_attention_layer_norm(x)
    keys, values = self.self_attention.keys_values(y)
    if cache is not None:
      cached_keys, cached_values, index = cache
      keys = _write(cached_keys, keys, index)
      values = _write(cached_values, values, index)
    y = attend(self.self_attention, y, keys, values)
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.pre_cross_attention_layer_norm(x)
    y = attend_across(self.encoder_decoder_attention, y)
    x = x + self.dropout(y, deterministic=deterministic)
    y = self.mlp(self.pre_mlp_layer_norm(x), deterministic)
    x = x + self.dropout(y, deterministic=deterministic)
    return x, (keys, values)


class Encoder(nn.Module):
  """The encoder's stack, from embeddings to final states."""

  config: T5Config
  plan: Dense = Dense()

  def setup(self):
    c = self.config
    if not c.relpos_in_layers:
      self.relpos_bias = _relpos_bias(c, bidirectional=True)
    self.layers = [EncoderLayer(c) for _ in range(c.num_encoder_layers)]
    self.encoder_norm = layers.RMSNorm(jnp.dtype(c.dtype))
    self.dropout = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))

  def __call__(self, x, segment_ids, deterministic):
    """Maps [B, L, D] to a tuple of hidden states [B, L, D], the final last."""
    deterministic = deterministic or self.config.dropout_rate == 0

    def prepare(relpos_bias):
      return self.plan.encoder_attention(
        relpos_bias, segment_ids, deterministic
      )

    attend_in = _for_each_layer(self, prepare)

    def call(layer, x, _):
      x = layer(x, attend_in(layer), deterministic)
      return x, x

    embedded = self.dropout(x, deterministic=deterministic)
    x, hidden = self.plan.loop(self, call, embedded)
    x = self.dropout(self.encoder_norm(x), deterministic=deterministic)
    return embedded, *hidden[:-1], x


class Decoder(nn.Module):
  """The decoder's stack, for whole targets or one position at a time."""

  config: T5Config
  plan: Dense = Dense()

  def setup(self):
    c = self.config
    if not c.relpos_in_layers:
      self.relpos_bias = _relpos_bias(c, bidirectional=False)
    self.layers = [DecoderLayer(c) for _ in range(c.num_decoder_layers)]
    self.decoder_norm = layers.RMSNorm(jnp.dtype(c.dtype))
    self.dropout = nn.Dropout(c.dropout_rate, broadcast_dims=(-2,))
    if not c.logits_via_embedding:
      self.logits_dense = layers.Linear(
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
    """Maps [B, T, D] to a tuple of hidden states [B, T, D], the final last."""
    deterministic = deterministic or self.config.dropout_rate == 0

    def prepare(relpos_bias):
      return self.plan.decoder_attention(
        relpos_bias, segment_ids, deterministic
      )

    attend_in = _for_each_layer(self, prepare)
    attend_across = self.plan.cross_attention(
      self.config,
      encoded,
      encoder_segment_ids,
      cross_segment_ids,
      deterministic,
    )

    def call(layer, x, _):
      x, _ = layer(x, attend_in(layer), attend_across, deterministic)
      return x, x

    embedded = self.dropout(x, deterministic=deterministic)
    x, hidden = self.plan.loop(self, call, embedded)
    x = self.dropout(self.decoder_norm(x), deterministic=deterministic)
    return embedded, *hidden[:-1], x

  def init_cache(self, encoded, encoder_segment_ids, max_length):
    """Prepares decoding one position at a time; see `T5.init_cache`."""
    c = self.config
    batch_size = encoder_segment_ids.shape[0]
    shape = (batch_size, c.num_heads, max_length, c.head_dim)
    zeros = jnp.zeros(shape, jnp.dtype(c.dtype))
    queries = jnp.ones((batch_size, 1), jnp.int32)
    mask = segment_mask(queries, encoder_segment_ids)
    shared, cross = self.plan.cross_cache(self, encoded, mask, max_length)
    return {
      "self": [(zeros, zeros) for _ in self.layers],
      "cross": cross,
      "shared": shared,
    }

  def step(self, x, cache, index):
    """Maps [B, 1, D] at position `index` to (final hidden state, new cache).

    `index` is [] for rows at one position, or [B] for rows at their own.
    """
    length = cache["self"][0][0].shape[2]

    def prepare(relpos_bias):
      bias = _bias_at(relpos_bias, index, length)
      return lambda attention, *arrays: attention(*arrays, bias)

    attend_in = _for_each_layer(self, prepare)

    def call(layer, x, own):
      keys_values, cross = own

      def attend_across(attention, x):
        return self.plan.attend_cached(attention, x, cache["shared"], cross)

      past = (*keys_values, index)
      return layer(x, attend_in(layer), attend_across, True, past)

    each = list(zip(cache["self"], cache["cross"], strict=True))
    x, updated = self.plan.loop(self, call, x, each)
    return self.decoder_norm(x), {**cache, "self": updated}


def _relpos_bias(config, bidirectional):
  return layers.RelativePositionBias(
    config.num_heads,
    bidirectional,
    config.num_relpos_buckets,
    config.max_relpos_distance,
  )


def _for_each_layer(stack, prepare):
  """Prepares attention with the table of the stack, or with that of a layer.

  Args:
    stack: the bound `Encoder` or `Decoder`.
    prepare: `layers.RelativePositionBias` -> a way to attend.

  Returns:
    A function: the bound layer -> its way to attend.
  """
  if stack.config.relpos_in_layers:
    return lambda layer: prepare(layer.relpos_bias)
  shared = prepare(stack.relpos_bias)
  return lambda layer: shared


def _bias_at(relpos_bias, index, length):
  """The causal bias of one position, [B or 1, H, 1, T] float32.

  Args:
    relpos_bias: the bound `layers.RelativePositionBias`.
    index: the position, [] or [B] int.
    length: T.
  """
  bias = relpos_bias(length, length)  # [1, H, T, T]
  if jnp.ndim(index):
    bias = jnp.swapaxes(bias[0][:, index], 0, 1)[:, :, None]  # [B, H, 1, T]
    past = jnp.arange(length)[None] <= index[:, None]
    past = past[:, None, None]
  else:
    bias = lax.dynamic_slice_in_dim(bias, index, 1, axis=2)
    past = jnp.arange(length)[None, None, None, :] <= index
  return bias + jnp.where(past, 0.0, MASKED)


def _write(cached, new, index):
  """Writes new [B, H, 1, K] at `index` [] or [B] of cached [B, H, T, K]."""
  if not jnp.ndim(index):
    return lax.dynamic_update_slice_in_dim(cached, new, index, 2)
  return cached.at[jnp.arange(len(cached)), :, index].set(new[:, :, 0])
