"""The bank of prompts as a Flax module, and its place in the encoder's input.

Axis letters: B batch, L length, P prompt_length, D emb_dim, N num_slots.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.partitioning import param_with_axes

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import recognise_kind


def prompt_rows(params, groups, positions, slot_ids):
  """Makes the rows of prompts that a batch has at its prompt positions.

  Args:
    params: the bank's arrays by name.
    groups: [N] int, the group of each slot.
    positions: [B, L] int in [0, P]: p is row p - 1 of the prompt, 0 no row.
    slot_ids: [B, L] int in [0, N), the slot of the prompt.

  Returns:
    [B, L, D]; values at position 0 are arbitrary.
  """
  rows = jnp.maximum(positions - 1, 0)
  return recognise_kind(params).rows(params, groups, slot_ids, rows)


def place_prompts(rows, embeddings, positions):
  """Puts rows of the prompts into the embedded input of the encoder.

  Args:
    rows: [B, L, D] floats, see `prompt_rows`.
    embeddings: [B, L, D] floats.
    positions: [B, L] int in [0, P]: 0 keeps the embedding.

  Returns:
    [B, L, D] of the dtype of `embeddings`.
  """
  is_prompt = (positions > 0)[..., None]
  return jnp.where(is_prompt, rows.astype(embeddings.dtype), embeddings)


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
