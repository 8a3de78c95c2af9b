"""Banks made of banks: some of the slots, several banks, merged prompts."""

import collections
import itertools

import numpy as np

from mpt_jax.prompts.bank import PromptBank


def select(bank: PromptBank, names) -> PromptBank:
  """The bank of some slots only, in the order of their names.

  Raises:
    ValueError: no such slot, or one named twice.
  """
  chosen = [bank.index(name) for name in names]
  if len(set(chosen)) < len(chosen):
    raise ValueError(f"a prompt is named twice in {', '.join(names)}")
  old = [bank.groups[i] for i in chosen]
  kept = list(dict.fromkeys(old))
  params = {
    name: array[kept if name == "shared_prompt" else chosen]
    for name, array in bank.params.items()
  }
  return PromptBank(
    params,
    tuple(bank.names[i] for i in chosen),
    tuple(kept.index(g) for g in old),
    bank.backbone,
    tuple(bank.slots[i] for i in chosen),
  )


def merge(bank: PromptBank) -> PromptBank:
  """The bank as N plain prompts P* ∘ (u vᵀ), without factors."""
  return PromptBank(
    {"shared_prompt": bank.composed},
    bank.names,
    tuple(range(len(bank.names))),
    bank.backbone,
    bank.slots,
  )


def concatenate(banks) -> PromptBank:
  """The slots of several banks, one after the other; none share a P*.

  Raises:
    ValueError: prompts of different shapes or of different T5s, or two of one
      name.
  """
  first, *others = banks
  for bank in others:
    if bank.backbone != first.backbone:
      raise ValueError(
        f"{first.names[0]!r} and {bank.names[0]!r} belong to different T5s"
        f" (fingerprints {first.backbone} and {bank.backbone})"
      )
    shapes = [
      {k: v.shape[1:] for k, v in b.params.items()} for b in (first, bank)
    ]
    if shapes[0] != shapes[1]:
      raise ValueError(
        "prompts of one file must have one length, width and rank:"
        f" {first.names[0]!r} has {shapes[0]}, {bank.names[0]!r} {shapes[1]}."
        " Import them one by one"
      )
  groups, next_group = [], 0
  for bank in banks:
    groups += [next_group + g for g in bank.groups]
    next_group += bank.config.num_groups
  names = tuple(itertools.chain.from_iterable(b.names for b in banks))
  twice = [n for n, count in collections.Counter(names).items() if count > 1]
  if twice:
    raise ValueError(
      f"several prompts are called {', '.join(twice)}; name them all with"
      " --task"
    )
  return PromptBank(
    {
      k: np.concatenate([np.asarray(b.params[k]) for b in banks])
      for k in first.params
    },
    names,
    tuple(groups),
    first.backbone,
    tuple(itertools.chain.from_iterable(b.slots for b in banks)),
  )
