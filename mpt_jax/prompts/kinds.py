"""The kinds of prompt that are known, and what a bank's arrays say of theirs.

Axis letters: P prompt_length, D emb_dim, N num_slots, S inputs_length, G groups
of slots that share arrays.
"""

import jax.numpy as jnp

from mpt_jax.prompts.kind import Kind
from mpt_jax.prompts.multitask import Multitask
from mpt_jax.prompts.other_kinds.dept import ShortPromptWithOffsets
from mpt_jax.prompts.other_kinds.dpt import DecomposedPrompt
from mpt_jax.prompts.other_kinds.residual import ResidualPrompt
from mpt_jax.prompts.other_kinds.ulpt import UltraLowDimensionalPrompt
from mpt_jax.prompts.plain import Plain

KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind):
  """Makes a kind known to settings and prompt files.

  Raises:
    ValueError: another kind has the same name or the same names of arrays.
  """
  for known in KINDS.values():
    if known.name == kind.name or set(known.leaves) == set(kind.leaves):
      raise ValueError(
        f"the kind {kind.name!r} with the arrays {', '.join(kind.leaves)} is"
        f" not new: there is {known.name!r} with {', '.join(known.leaves)}"
      )
  KINDS[kind.name] = kind


for _kind in (
  Plain(),
  Multitask(),
  DecomposedPrompt(),
  UltraLowDimensionalPrompt(),
  ResidualPrompt(),
  ShortPromptWithOffsets(),
):
  register_kind(_kind)


def recognise_kind(names) -> Kind:
  """Returns the kind whose arrays have these names.

  Raises:
    ValueError: there is no such kind; the message lists the known kinds.
  """
  for kind in KINDS.values():
    if set(kind.leaves) == set(names):
      return kind
  known = "; ".join(f"{', '.join(k.leaves)} ({k.name})" for k in KINDS.values())
  raise ValueError(
    f"no kind of prompt has the arrays {', '.join(sorted(names)) or '(none)'};"
    f" the known ones are {known}"
  )


def read_sizes(params) -> dict[str, int]:
  """Returns the size of each axis that a bank's arrays have.

  Raises:
    ValueError: no kind of prompt has such arrays, or one has another number of
      axes.
  """
  return recognise_kind(params).read_sizes(params)


def compose_bank(prompt_params, groups):
  """Returns all prompts of a bank as plain soft prompts.

  Args:
    prompt_params: the bank's arrays by name. MPT's are "shared_prompt"
      [G, P, D], "task_columns" [N, P, R] and "task_rows" [N, R, D]. Plain
      prompts have "shared_prompt" alone.
    groups: [N] the group of each slot.

  Returns:
    [N, P, D] prompts.

  Raises:
    ValueError: no kind of prompt has arrays with these names, or the kind's
      prompts are not all that it adds to an input.
  """
  kind = recognise_kind(prompt_params)
  if kind.has_offsets:
    raise ValueError(
      f"{kind.name} prompts also add to the embeddings of the input's tokens,"
      " which a plain prompt cannot. So they cannot be merged, served, exported"
      " for other programs, teach, or start prompts of another kind or size"
    )
  return kind.compose(prompt_params, groups)


def expand_bank(prompt_params, groups):
  """Returns all that a bank puts into inputs, for `network.T5.encode`.

  Args:
    prompt_params: the bank's arrays by name.
    groups: [N] the group of each slot.

  Returns:
    [N, P + S, D]: each slot's prompt, and then what is added to the embeddings
    of the first S tokens. S is 0 for most kinds.

  Raises:
    ValueError: no kind of prompt has arrays with these names.
  """
  kind = recognise_kind(prompt_params)
  prompts = kind.compose(prompt_params, groups)
  if not kind.has_offsets:
    return prompts
  offsets = kind.offsets(prompt_params, groups)
  return jnp.concatenate([prompts, offsets], axis=1)
