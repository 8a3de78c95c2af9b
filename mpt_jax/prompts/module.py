"""The bank of prompts as a Flax module, and its place in the encoder's input.

Axis letters: B batch, L length, P prompt_length, D emb_dim, N num_slots.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.partitioning import param_with_axes

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import compose_bank


def place_prompts(prompts, embeddings, positions, slot_ids):
  """Puts rows of the prompts into the embedded input of the encoder.

  Args:
    prompts: [N, P, D] floats.
    embeddings: [B, L, D] floats.
    positions: [B, L] int in [0, P]: 0 keeps the embedding, p takes row p - 1
      of the prompt.
    slot_ids: [B, L] int in [0, N), the slot of the prompt.

  Returns:
    [B, L, D] of the dtype of `embeddings`.
  """
  rows = prompts[slot_ids, jnp.maximum(positions - 1, 0)]  # [B, L, D]
  is_prompt = (positions > 0)[..., None]
  return jnp.where(is_prompt, rows.astype(embeddings.dtype), embeddings)


class Prompts(nn.Module):
  """The bank as a Flax module that composes all its prompts.

  The parameters are the leaves of the bank's kind. `init` draws them from a
  standard normal distribution; experiments start from the values of
  `initialization.init_bank`.
  """

  config: PromptConfig
  emb_dim: int

  @nn.compact
  def __call__(self):
    """Returns the prompts [N, P, D] float32."""
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
    return compose_bank(params, c.groups)
