"""T5 1.0 and 1.1 in Flax Linen, with prompts in the token stream.

Parameters have t5x's names, so t5x checkpoints load by name. `prompt` is the
only subtree that T5 does not have. Axis letters: B batch,
L length, T target_length, D emb_dim, V vocab_size, H num_heads, K head_dim.
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
from jax import lax

from mpt_jax.model import layers
from mpt_jax.model.config import T5Config
from mpt_jax.model.plan import Dense
from mpt_jax.model.stacks import Decoder, Encoder
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.module import Prompts, expanded_rows, place_prompts


@flax.struct.dataclass
class Output:
  """The result of a forward pass.

  Attributes:
    logits: [B, T, V] float32, or None if they were not asked for.
    encoder_hidden: tuple of [B, L, D]: the embeddings, the output of each
      block but the last, and the normed final states. Without `all_hidden` it
      holds only the final states.
    decoder_hidden: the same for the decoder, [B, T, D] each.
  """

  logits: Any
  encoder_hidden: tuple
  decoder_hidden: tuple


class T5(nn.Module):
  """An encoder-decoder Transformer whose inputs may hold prompt positions.

  Where `encoder_prompt_positions` is above 0, the embedding of the token is
  replaced by row `position - 1` of the prompt of slot `encoder_slot_ids`. At
  tokens, a kind of prompt may add to the embedding (`Kind.has_offsets`).

  Attributes:
    config: the shape of the T5.
    prompt_config: the bank of prompts, or None for a T5 without prompts.
    plan: how attention is computed and layers are looped over. It depends on
      the hardware and changes no result; `Dense` is the plain one.
  """

  config: T5Config
  prompt_config: PromptConfig | None = None
  plan: Dense = Dense()

  def setup(self):
    c = self.config
    self.token_embedder = layers.Embed(
      c.vocab_size, c.emb_dim, jnp.dtype(c.dtype)
    )
    self.encoder = Encoder(c, self.plan)
    self.decoder = Decoder(c, self.plan)
    if self.prompt_config is not None:
      self.prompt = Prompts(self.prompt_config, c.emb_dim)

  def encode(
    self,
    encoder_input_tokens,
    encoder_segment_ids,
    encoder_prompt_positions=None,
    encoder_slot_ids=None,
    deterministic=True,
    prompts=None,
    rows=None,
  ):
    """Runs the encoder.

    Args:
      encoder_input_tokens: [B, L] int in [0, V); ignored at prompt positions.
      encoder_segment_ids: [B, L] int. 0 is padding; positions with the same
        positive number are one example, which only attends to itself.
      encoder_prompt_positions: [B, L] int in [0, P]; 0 means that a position
        holds a token.
      encoder_slot_ids: [B, L] int in [0, N), the slot of each position.
      deterministic: apply no dropout.
      prompts: [N, P + S, D] of `kinds.expand_bank` to use instead of the bank
        in the parameters; they also need `prompt_config`, which says P.
      rows: [B, L, D] rows of prompts for this batch to use instead of both;
        see `prompts.module.prompt_rows`.

    Returns:
      A tuple of num_encoder_layers + 1 hidden states [B, L, D].
    """
    x = self.token_embedder(encoder_input_tokens)
    if self.prompt_config is not None:
      where = encoder_prompt_positions, encoder_slot_ids
      adds = self.prompt_config.find_kind().has_offsets
      if rows is None and prompts is not None:
        length = self.prompt_config.prompt_length
        rows = expanded_rows(prompts, length, *where)
        adds = prompts.shape[1] > length
      elif rows is None:
        rows = self.prompt(*where)
      x = place_prompts(rows, x, encoder_prompt_positions, adds)
    return self.encoder(x, encoder_segment_ids, deterministic)

  def decode(
    self,
    encoded,
    encoder_segment_ids,
    decoder_input_tokens,
    decoder_segment_ids,
    decoder_cross_segment_ids=None,
    deterministic=True,
    with_logits=True,
  ):
    """Runs the decoder on whole targets (teacher forcing).

    Args:
      encoded: [B, L, D], the encoder's final states.
      encoder_segment_ids: [B, L] int.
      decoder_input_tokens: [B, T] int, targets shifted right.
      decoder_segment_ids: [B, T] int for the decoder's self-attention.
      decoder_cross_segment_ids: [B, T] int for the attention to the encoder;
        the decoder's own by default. They differ if several candidate targets
        are scored for one input.
      deterministic: apply no dropout.
      with_logits: False gives None in place of the logits.

    Returns:
      logits [B, T, V] float32 and the tuple of hidden states [B, T, D].
    """
    if decoder_cross_segment_ids is None:
      decoder_cross_segment_ids = decoder_segment_ids
    hidden = self.decoder(
      self.token_embedder(decoder_input_tokens),
      encoded,
      encoder_segment_ids,
      decoder_segment_ids,
      decoder_cross_segment_ids,
      deterministic,
    )
    return self.logits(hidden[-1]) if with_logits else None, hidden

  def logits(self, x):
    """Maps final decoder states [B, T, D] to logits [B, T, V] float32."""
    if self.config.logits_via_embedding:
      return self.token_embedder.attend(x * self.config.emb_dim**-0.5)
    return self.decoder.logits_dense(x).astype(jnp.float32)

  def logits_from(self, x, start, size):
    """Computes the logits of `size` pieces of the vocabulary.

    Args:
      x: [B, T, D], final decoder states.
      start: [] int, the first piece.
      size: number of pieces.

    Returns:
      [B, T, size] float32, a part of `logits`.
    """
    dtype = jnp.dtype(self.config.dtype)
    if self.config.logits_via_embedding:
      table = jnp.asarray(self.token_embedder.embedding)
      part = lax.dynamic_slice_in_dim(table, start, size, 0).T
      x = x * self.config.emb_dim**-0.5
    else:
      kernel = self.decoder.logits_dense.variables["params"]["kernel"]
      part = lax.dynamic_slice_in_dim(jnp.asarray(kernel), start, size, 1)
    return jnp.matmul(
      x.astype(dtype), part.astype(dtype), preferred_element_type=jnp.float32
    )

  def init_cache(self, encoded, encoder_segment_ids, max_length):
    """Makes the cache for decoding up to `max_length` positions.

    Args:
      encoded: [B, L, D].
      encoder_segment_ids: [B, L] int; each row holds one example, whose
        segment is 1.
      max_length: T, the largest number of decoded positions.

    Returns:
      A pytree of arrays whose first axis is B.
    """
    return self.decoder.init_cache(encoded, encoder_segment_ids, max_length)

  def decode_step(self, tokens, cache, index):
    """Decodes tokens [B] at position `index` -> logits [B, V], new cache.

    `index` is [] for rows at one position, or [B] for rows at their own.
    """
    x = self.token_embedder(tokens[:, None])
    x, cache = self.decoder.step(x, cache, index)
    return self.logits(x)[:, 0], cache

  def __call__(
    self,
    batch,
    deterministic=True,
    all_hidden=False,
    prompts=None,
    rows=None,
    with_logits=True,
  ) -> Output:
    """Runs both stacks on a batch of `mpt_jax.data.batches.make_batch`."""
    encoder_hidden = self.encode(
      batch["encoder_input_tokens"],
      batch["encoder_segment_ids"],
      batch.get("encoder_prompt_positions"),
      batch.get("encoder_slot_ids"),
      deterministic,
      prompts,
      rows,
    )
    logits, decoder_hidden = self.decode(
      encoder_hidden[-1],
      batch["encoder_segment_ids"],
      batch["decoder_input_tokens"],
      batch["decoder_segment_ids"],
      batch.get("decoder_cross_segment_ids"),
      deterministic,
      with_logits,
    )
    if not all_hidden:
      encoder_hidden, decoder_hidden = encoder_hidden[-1:], decoder_hidden[-1:]
    return Output(logits, encoder_hidden, decoder_hidden)


def init_variables(network: T5, key):
  """Returns random {"params", "params_axes"}: values and logical axes.

  All plans use the parameters that `Dense` creates.
  """
  tokens = jnp.zeros((1, 2), jnp.int32)
  batch = {
    f"{stack}_{name}": tokens
    for stack in ("encoder", "decoder")
    for name in ("input_tokens", "segment_ids", "prompt_positions", "slot_ids")
  }
  return network.clone(plan=Dense()).init(key, batch)
