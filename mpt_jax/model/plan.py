"""The plan: how the T5 attends, loops over layers and lays out batches.

A plan is an argument of `network.T5`. It decides everything that depends on the
hardware but does not change results: how attention is computed, whether layers
are looped over or unrolled, what the backward pass recomputes, and the shape of
a batch's rows. `Dense` is the plain plan and the base class of all others.

Axis letters: B batch, L length, T target_length, D emb_dim, H num_heads,
K head_dim.
"""

import dataclasses
from typing import ClassVar

from mpt_jax.model.attention import causal_mask, segment_mask


@dataclasses.dataclass(frozen=True)
class Dense:
  """Computes masked attention over whole rows, and unrolls the layers.

  Another plan is a subclass that overrides methods of this one. It must stay
  a frozen dataclass, because a plan is part of the static arguments of jitted
  functions, and it must use the same parameters: they are always created by
  this plan (`network.init_variables`).

  Attributes:
    one_shape: whether the batches of a run should have one shape, because
      compiling takes long (`packing.settle`).
  """

  one_shape: ClassVar[bool] = False

  def rows(self, layout):
    """Returns the `BatchLayout` that suits this plan."""
    return layout

  def vocabulary_chunks(self, config, target_shape):
    """Returns into how many parts the losses divide the vocabulary.

    Args:
      config: the `T5Config`.
      target_shape: (B, T) of the whole batch.
    """
    del config, target_shape
    return 1

  def prepare(self, frozen):
    """Converts the frozen parameters to the form that the steps use.

    Args:
      frozen: the frozen parameters with t5x's names; may be empty.

    Returns:
      A tree for `T5.apply`. It may hold copies under other names.
    """
    return frozen

  def restore(self, params):
    """Undoes `prepare`: returns only the parameters with t5x's names."""
    return params

  def loop(self, stack, call, x, each=None):
    """Applies the layers of a stack one after the other, like `lax.scan`.

    Args:
      stack: the bound `Encoder` or `Decoder`; it has `layers` and `variables`.
      call: (layer, x, own) -> (x, made).
      x: [B, L, D].
      each: a list with the pytree `own` of each layer. None sets `own` to None.

    Returns:
      The last x, and a list with `made` of each layer.
    """
    made = []
    for i, layer in enumerate(stack.layers):
      x, new = call(layer, x, None if each is None else each[i])
      made.append(new)
    return x, made

  def encoder_attention(self, position_bias, segment_ids, deterministic):
    """Prepares the self-attention of the encoder.

    Args:
      position_bias: the bound `layers.RelativePositionBias` of the encoder, or
        of one of its layers (`T5Config.relpos_in_layers`).
      segment_ids: [B, L] int. 0 is padding; positions with the same positive
        number are one example, which only attends to itself.
      deterministic: apply no dropout.

    Returns:
      A function (attention, x [B, L, D]) -> [B, L, D], which is called in each
      layer that has this table, with its `attention.Attention`.
    """
    length = segment_ids.shape[1]
    bias = position_bias(length, length)
    bias = bias + segment_mask(segment_ids, segment_ids)  # [B, H, L, L]

    def attend(attention, x):
      return attention(x, *attention.keys_values(x), bias, deterministic)

    return attend

  def decoder_attention(self, position_bias, segment_ids, deterministic):
    """Prepares the causal self-attention of the decoder.

    Args:
      position_bias: the bound `layers.RelativePositionBias` of the decoder, or
        of one of its layers.
      segment_ids: [B, T] int, see `encoder_attention`.
      deterministic: apply no dropout.

    Returns:
      A function (attention, x [B, T, D], keys, values [B, H, T, K]) ->
      [B, T, D].
    """
    length = segment_ids.shape[1]
    bias = position_bias(length, length) + causal_mask(length)
    bias = bias + segment_mask(segment_ids, segment_ids)  # [B, H, T, T]

    def attend(attention, x, keys, values):
      return attention(x, keys, values, bias, deterministic)

    return attend

  def cross_attention(
    self, config, encoded, encoder_segment_ids, segment_ids, deterministic
  ):
    """Prepares the decoder's attention to the encoder's output.

    Args:
      config: the `T5Config`.
      encoded: [B, L, D], the encoder's final states.
      encoder_segment_ids: [B, L] int.
      segment_ids: [B, T] int, the encoder's segment of each target.
      deterministic: apply no dropout.

    Returns:
      A function (attention, x [B, T, D]) -> [B, T, D].
    """
    del config
    bias = segment_mask(segment_ids, encoder_segment_ids)  # [B, 1, T, L]

    def attend(attention, x):
      return attention(x, *attention.keys_values(encoded), bias, deterministic)

    return attend

  def cross_cache(self, decoder, encoded, mask, max_length):
    """Prepares the decoder's attention to the encoder for cached decoding.

    Args:
      decoder: the bound `Decoder`.
      encoded: [B, L, D], the encoder's final states.
      mask: [B, 1, 1, L] float32, from `attention.segment_mask`.
      max_length: T, the largest number of decoded positions.

    Returns:
      A pytree that all layers share, and a list with a pytree for each layer.
      The first axis of all arrays is B.
    """
    del max_length
    keys_values = [layer.cross_keys_values(encoded) for layer in decoder.layers]
    return mask, keys_values

  def attend_cached(self, attention, x, shared, own):
    """Attends from one position x [B, 1, D] to the encoder: [B, 1, D].

    Args:
      attention: the layer's `attention.Attention`.
      x: [B, 1, D].
      shared: the pytree of `cross_cache` that all layers share.
      own: the pytree of `cross_cache` for this layer.
    """
    keys, values = own
    return attention(x, keys, values, shared)


DENSE = Dense()
