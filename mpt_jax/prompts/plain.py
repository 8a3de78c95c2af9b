"""Plain soft prompts: a teacher, prompt tuning, SPoT, a merged prompt."""

import jax.numpy as jnp

from mpt_jax.prompts.kind import EMBED, GROUPS, LENGTH, Kind, Leaf


class Plain(Kind):
  """The prompt itself is trained (Lester et al., 2021)."""

  name = "plain"
  leaves = {"shared_prompt": Leaf((GROUPS, LENGTH, EMBED), "learning_rate")}
  default_rank = 0
  peft_type = "PROMPT_TUNING"
  peft_names = {"prompt_embeddings": "shared_prompt"}

  def compose(self, params, groups):
    return jnp.asarray(params["shared_prompt"])[jnp.asarray(groups)]

  def rows(self, params, groups, slot_ids, positions):
    groups = jnp.asarray(groups)[slot_ids]
    return jnp.asarray(params["shared_prompt"])[groups, positions]

  def find_sound(self, params, groups, dtype):
    finite = jnp.isfinite(jnp.asarray(params["shared_prompt"]).astype(dtype))
    return jnp.all(finite, axis=(1, 2))[jnp.asarray(groups)]

  def start(self, rows, sizes, key):
    del sizes, key
    return {"shared_prompt": rows}


def plain_params(prompts) -> dict:
  """Returns the arrays of plain prompts [N, P, D], with a group for each."""
  return {"shared_prompt": prompts}
