"""The shape of a bank of prompts.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank, S inputs_length,
G groups of slots that share arrays.
"""

import dataclasses
import math

import numpy as np

from mpt_jax.io.checks import check_fields, whole
from mpt_jax.prompts.kind import (
  EMBED,
  GROUPS,
  INPUTS,
  LENGTH,
  RANK,
  SLOTS,
  Kind,
  Leaf,
)
from mpt_jax.prompts.kinds import KINDS, read_sizes, recognise_kind
from mpt_jax.prompts.multitask import Multitask
from mpt_jax.prompts.plain import Plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig:
  """The shape of a bank of prompts.

  Attributes:
    num_slots: N, prompts in the bank.
    prompt_length: P, rows of one prompt.
    rank: R, rank of the factors of each slot: 1 in the paper. 0 makes plain
      soft prompts (a teacher, prompt tuning, SPoT), whatever `kind` is.
    groups: for each of the N slots the group it belongs to, counted from 0
      without gaps. Slots of one group share the kind's arrays for groups, and
      groups are independent of each other in training. None makes one group of
      all slots if the kind has arrays for groups and for slots, and otherwise a
      group for each slot.
    kind: how prompts are made from arrays, a key of `KINDS`.
    inputs_length: S, tokens of the longest input, for a kind with offsets.
      Other kinds have none.
  """

  num_slots: int
  prompt_length: int = 100
  rank: int = 1
  groups: tuple[int, ...] | None = None
  kind: str = Multitask.name
  inputs_length: int | None = None

  def __post_init__(self):
    check_fields(self, whole, "num_slots", "prompt_length", low=1)
    check_fields(self, whole, "rank", low=0)
    if self.rank == 0:
      object.__setattr__(self, "kind", Plain.name)
    elif self.kind not in KINDS or self.is_plain:
      named = ", ".join(k for k in KINDS if k != Plain.name)
      raise ValueError(
        f"Experiment.prompt_kind must be one of {named}, got {self.kind!r};"
        " rank=0 makes plain prompts"
      )
    if self.find_kind().has_offsets:
      check_fields(self, whole, "inputs_length", low=1)
    else:
      object.__setattr__(self, "inputs_length", None)
    groups = self.groups
    if groups is None:
      groups = [0] * self.num_slots
      if not self.can_share:
        groups = range(self.num_slots)
    groups = tuple(int(g) for g in groups)
    distinct = set(groups)
    if len(groups) != self.num_slots or distinct != set(range(len(distinct))):
      raise ValueError(
        f"PromptConfig.groups must hold, for each of the {self.num_slots}"
        " slots, a group counted from 0 without gaps, got"
        f" {self.groups}"
      )
    object.__setattr__(self, "groups", groups)

  @classmethod
  def of_params(cls, params, groups) -> "PromptConfig":
    """Returns the shape of a bank with these arrays.

    Args:
      params: the arrays by name.
      groups: the group of each slot.

    Raises:
      ValueError: no kind has such arrays, or they do not fit each other or the
        groups.
    """
    sizes = read_sizes(params)
    kind = recognise_kind(params).name
    rank = 0 if kind == Plain.name else sizes.get(RANK, 1)
    config = cls(
      num_slots=len(groups),
      prompt_length=sizes[LENGTH],
      rank=rank,
      groups=tuple(groups),
      kind=kind,
      inputs_length=sizes.get(INPUTS),
    )
    expected = config.shapes(sizes[EMBED])
    found = {name: tuple(params[name].shape) for name in expected}
    if found != expected:
      raise ValueError(
        "the arrays do not fit each other: the shapes should be"
        f" {expected}, got {found}"
      )
    return config

  @property
  def is_plain(self) -> bool:
    return self.kind == Plain.name

  @property
  def num_groups(self) -> int:
    return max(self.groups) + 1

  def find_kind(self) -> Kind:
    return KINDS[self.kind]

  @property
  def leaves(self) -> dict[str, Leaf]:
    """The arrays by name."""
    return self.find_kind().leaves

  @property
  def can_share(self) -> bool:
    """Whether the kind has arrays that slots share and arrays of each slot."""
    return {leaf.axes[0] for leaf in self.leaves.values()} == {GROUPS, SLOTS}

  def sizes(self, emb_dim: int) -> dict[str, int]:
    """The size of each axis of the leaves."""
    return {
      GROUPS: self.num_groups,
      SLOTS: self.num_slots,
      LENGTH: self.prompt_length,
      RANK: self.rank,
      EMBED: emb_dim,
      INPUTS: self.inputs_length,
    }

  def shapes(self, emb_dim: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array."""
    sizes = self.sizes(emb_dim)
    return {
      name: tuple(sizes[axis] for axis in leaf.axes)
      for name, leaf in self.leaves.items()
    }

  def rows(self, name: str) -> np.ndarray:
    """[N] int: the row of the array `name` that belongs to each slot."""
    if self.leaves[name].axes[0] == GROUPS:
      return np.asarray(self.groups)
    return np.arange(self.num_slots)

  def num_parameters(self, emb_dim: int) -> int:
    """Trainable parameters of the bank.

    For MPT these are (P·D) per group and (P + D)·R per slot. With one slot
    this is the paper's (l·d) + (l + d), with a group of τ targets
    (l·d) + (l + d)·τ.

    >>> PromptConfig(num_slots=1).num_parameters(768)
    77668
    >>> PromptConfig(num_slots=8).num_parameters(768)
    83744
    """
    sizes = self.sizes(emb_dim)
    each = self.num_parameters_each(emb_dim)
    return sum(count * sizes[first] for first, count in each.items())

  def num_parameters_each(self, emb_dim: int) -> dict[str, int]:
    """The parameters of one group (GROUPS) and of one slot (SLOTS).

    >>> PromptConfig(num_slots=8).num_parameters_each(768)
    {'prompt_groups': 76800, 'prompt_slots': 868}
    """
    each = {GROUPS: 0, SLOTS: 0}
    for name, (_, *row) in self.shapes(emb_dim).items():
      each[self.leaves[name].axes[0]] += math.prod(row)
    return each
