"""DePT: a short prompt, and offsets of low rank for the input's tokens.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank, S inputs_length.
"""

import math

import jax
import jax.numpy as jnp

from mpt_jax.prompts.kind import (
  EMBED,
  INPUTS,
  LENGTH,
  RANK,
  SLOTS,
  Kind,
  Leaf,
  product_bound,
)

# α. It is `lora_alpha` in the adapters that the authors published.
_ALPHA = 8


class ShortPromptWithOffsets(Kind):
  """x_i + α/√R · (A_k B_k)_i beside a prompt: DePT, Shi and Lipani (2024).

  arXiv 2309.05173. `short_prompt` [N, P, D] is the prompt, `offset_left`
  [N, S, R] is A and `offset_right` [N, R, D] is B. x_i is the embedding of
  token i of the input. With its authors' P = 40, R = 45 and S = 256, T5-Base
  trains 40·768 + (256 + 768)·45 = 76,800 numbers per task.
  """

  name = "dept"
  leaves = {
    "short_prompt": Leaf((SLOTS, LENGTH, EMBED), "learning_rate"),
    "offset_left": Leaf((SLOTS, INPUTS, RANK), "offset_learning_rate"),
    "offset_right": Leaf((SLOTS, RANK, EMBED), "offset_learning_rate"),
  }
  default_rank = 45
  default_length = 40

  def compose(self, params, groups):
    del groups
    return jnp.asarray(params["short_prompt"])

  def rows(self, params, groups, slot_ids, positions):
    del groups
    return jnp.asarray(params["short_prompt"])[slot_ids, positions]

  def offsets(self, params, groups):
    del groups
    left, right = _factors(params)
    return jnp.matmul(left, right, precision="highest")

  def bound(self, params, groups):
    del groups
    prompt = jnp.max(jnp.abs(params["short_prompt"]), axis=(1, 2))
    return prompt + product_bound(*_factors(params))

  def start(self, rows, sizes, key):
    """`rows`, and offsets of 0: A is normal and B is 0."""
    return {
      "short_prompt": rows,
      "offset_left": jax.random.normal(key, (sizes[INPUTS], sizes[RANK])),
      "offset_right": jnp.zeros((sizes[RANK], sizes[EMBED])),
    }


def _factors(params):
  """Returns A and α/√R · B."""
  left, right = map(
    jnp.asarray, (params["offset_left"], params["offset_right"])
  )
  return left, right * (_ALPHA / math.sqrt(left.shape[-1]))
