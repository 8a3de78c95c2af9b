"""The bank of prompts as a Flax module, and its place in the encoder's input.

Axis letters: B batch, L length, P prompt_length, D emb_dim, N num_slots.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.partitioning import param_with_axes
from jax import lax

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import INPUTS
from mpt_jax.prompts.kinds import recognise_kind


def prompt_rows(params, groups, positions, slot_ids):
  """Makes the rows of prompts that a batch has at its prompt positions.

  Args:
    params: the bank's arrays by name.
    groups: [N] int, the group of each slot.
    positions: [B, L] int in [0, P]: p is row p - 1 of the prompt, 0 no row.
    slot_ids: [B, L] int in [0, N), the slot of the prompt.

  Returns:
    [B, L, D]. At position 0 there are the offsets of a kind that has such, and
    otherwise arbitrary values.
  """
  kind = recognise_kind(params)

  def rows(numbers):
    return kind.rows(params, groups, slot_ids, numbers)

  def offset_rows(numbers):
    return kind.offset_rows(params, groups, slot_ids, numbers)

  count = kind.read_sizes(params).get(INPUTS, 0)
  return _select(positions, rows, offset_rows, count)


def expanded_rows(prompts, prompt_length, positions, slot_ids):
  """Takes the rows of `prompt_rows` from the array of `kinds.expand_bank`.

  Args:
    prompts: [N, P + S, D].
    prompt_length: P.
    positions: see `prompt_rows`.
    slot_ids: see `prompt_rows`.
  """

  def rows(numbers):
    return prompts[slot_ids, numbers]

  def offset_rows(numbers):
    return prompts[slot_ids, prompt_length + numbers]

  count = prompts.shape[1] - prompt_length
  return _select(positions, rows, offset_rows, count)


def _select(positions, rows, offset_rows, count):
  """Returns prompts' rows, and at tokens the offsets, if there are any."""
  made = rows(jnp.maximum(positions - 1, 0))
  if not count:
    return made
  tokens = find_tokens(positions)
  offsets = offset_rows(jnp.clip(tokens, 0, count - 1))
  offsets = jnp.where((tokens < count)[..., None], offsets, 0)
  return jnp.where((positions > 0)[..., None], made, offsets)


def find_tokens(positions):
  """Finds the number of each token in its input, counted from 0.

  Args:
    positions: [B, L] int, see `prompt_rows`. Each example of a row begins with
      its prompt.

  Returns:
    [B, L] int: the distance to the example's last prompt position, less 1. It
    is -1 at prompt positions, and arbitrary at padding.

  >>> find_tokens(jnp.array([[1, 2, 0, 0, 0, 1, 2, 0]])).tolist()
  [[-1, -1, 0, 1, 2, -1, -1, 0]]
  """
  places = jnp.broadcast_to(jnp.arange(positions.shape[1]), positions.shape)
  last = lax.cummax(jnp.where(positions > 0, places, -1), axis=1)
  return places - last - 1


def place_prompts(rows, embeddings, positions, adds=False):
  """Puts rows of the prompts into the embedded input of the encoder.

  Args:
    rows: [B, L, D] floats, see `prompt_rows`.
    embeddings: [B, L, D] floats.
    positions: [B, L] int in [0, P]: 0 keeps the embedding.
    adds: whether the rows at position 0 are added to the embeddings.

  Returns:
    [B, L, D] of the dtype of `embeddings`.
  """
  is_prompt = (positions > 0)[..., None]
  rows = rows.astype(embeddings.dtype)
  tokens = embeddings + rows if adds else embeddings
  return jnp.where(is_prompt, rows, tokens)


class Prompts(nn.Module):
  """The bank as a Flax module that makes rows of its prompts.

  The parameters are the leaves of the bank's kind. `init` draws them from a
  standard normal distribution; experiments start from the values of
  `initialization.init_bank`.
  """

  config: PromptConfig
  emb_dim: int

  @nn.compact
  def __call__(self, positions, slot_ids):
    """Returns rows [B, L, D] float32; see `prompt_rows`."""
    c = self.config
    shapes = c.shapes(self.emb_dim)
    params = {
      name: param_with_axes(
        name,
        nn.initializers.normal(1.0),
        shapes[name],
        jnp.float32,
        axes=leaf.axes,
      )
      for name, leaf in c.leaves.items()
    }
    return prompt_rows(params, c.groups, positions, slot_ids)
