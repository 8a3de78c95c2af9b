"""The interface of a kind of prompt: the one class that defines it.

A kind defines the arrays of a bank and how they make its prompts. The network,
the optimizer, checkpoints, prompt files and commands read all that from here;
none of them knows a kind or an array by its name. A new kind is a file with one
subclass of `Kind`, given to `kinds.register_kind`.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank, G groups of
slots that share arrays.
"""

import abc
import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

# Logical names of a leaf's axes: t5x's gin file has rules for these alone.
GROUPS, SLOTS = "prompt_groups", "prompt_slots"
LENGTH, RANK, EMBED = "prompt_length", "prompt_rank", "embed"


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One trained array of a bank.

  Attributes:
    axes: names of its axes. The first is GROUPS for an array with a row per
      group, which the group's slots share, or SLOTS for an array with a row per
      slot. The others are LENGTH, RANK and EMBED in any number and order.
    rate: the field of `OptimizerConfig` that holds the array's learning rate.
  """

  axes: tuple[str, ...]
  rate: str

  def __post_init__(self):
    first, *others = self.axes
    if first not in (GROUPS, SLOTS) or set(others) - {LENGTH, RANK, EMBED}:
      raise ValueError(
        f"the axes of a leaf must be {GROUPS} or {SLOTS}, and then any of"
        f" {LENGTH}, {RANK} and {EMBED}, got {self.axes}"
      )


def start_names(init: str) -> tuple[str, ...]:
  """Returns the source tasks that `Slot.init` names; none stands for all.

  >>> start_names("best:glue_mnli,squad"), start_names("mean_matrix")
  (('glue_mnli', 'squad'), ())
  """
  kind, _, names = init.partition(":")
  if kind not in ("task", "best", "mean") or not names:
    return ()
  return (names,) if kind == "task" else tuple(names.split(","))


class Kind(abc.ABC):
  """One way to make the prompts [N, P, D] of a bank from trained arrays.

  Arrays that do not train, such as a random basis, are not leaves. `compose`
  makes them again from a fixed seed with NumPy's `RandomState`, whose numbers
  never change between versions. They take no space in checkpoints and files.

  Attributes:
    name: the kind's name in settings.
    leaves: the trained arrays by name. The names are those of the parameter
      tree, of checkpoints and of prompt files. No two kinds may have the same
      set of names, because the names identify the kind of a file.
    peft_type: PEFT's method for such prompts, or None if it has none. In that
      case they can be exported as merged prompts only.
    peft_names: PEFT's name of each tensor of `peft_type`, and ours.
  """

  name: ClassVar[str]
  leaves: ClassVar[dict[str, Leaf]]
  peft_type: ClassVar[str | None] = None
  peft_names: ClassVar[dict[str, str]] = {}

  @abc.abstractmethod
  def compose(self, params, groups):
    """Makes all prompts of a bank.

    Args:
      params: the leaves.
      groups: [N] int, the group of each slot.

    Returns:
      [N, P, D] prompts.
    """

  def rows(self, params, groups, slot_ids, positions):
    """Makes rows of the prompts, such as those that a batch has.

    The base class takes them from all prompts. A kind whose leaves are much
    smaller than the prompts makes the rows alone, so that the time and memory
    of a step do not grow with the number of slots.

    Args:
      params: the leaves.
      groups: [N] int, the group of each slot.
      slot_ids: [...] int in [0, N).
      positions: [...] int in [0, P), the row of the slot's prompt.

    Returns:
      [..., D].
    """
    return self.compose(params, groups)[slot_ids, positions]

  def find_sound(self, params, groups, dtype):
    """Returns which prompts are finite in a T5's dtype: [N] bool.

    Args:
      params: the leaves.
      groups: [N] int, the group of each slot.
      dtype: the dtype of the T5's activations.
    """
    finite = jnp.isfinite(self.compose(params, groups).astype(dtype))
    return jnp.all(finite, axis=(1, 2))

  @abc.abstractmethod
  def start(self, rows, rank, key):
    """Returns a slot's starting values, which make a prompt near `rows`.

    Args:
      rows: [P, D], the prompt to start from.
      rank: R.
      key: PRNG key of the slot, for random starting values.

    Returns:
      The slot's row of each leaf, by name: the leaf's shape without the first
      axis.
    """

  def start_from(self, source, how, rank, key):
    """Returns a slot's starting values from a trained bank.

    Args:
      source: the `PromptBank`, of any kind.
      how: `Slot.init`. All kinds know "task:NAME", one prompt of the source,
        and "mean", the mean of its prompts.
      rank: R.
      key: see `start`.

    Returns:
      The same as `start`.

    Raises:
      ValueError: `how` is unknown, or the source does not fit.
    """
    if how.partition(":")[0] not in ("task", "mean"):
      raise ValueError(
        f"init {how!r} does not lead from {source.config.kind} prompts to"
        f" {self.name} ones; use 'mean', or 'task:NAME' with one of"
        f" {', '.join(source.names)}"
      )
    chosen = [source.index(name) for name in start_names(how) or source.names]
    rows = source.composed[np.asarray(chosen)].mean(axis=0)
    return self.start(jnp.asarray(rows), rank, key)

  def formulas(self, sizes) -> dict[str, str]:
    """Returns the number of parameters as text.

    Args:
      sizes: the size of each axis.

    Returns:
      {GROUPS or SLOTS: text}: the parameters in one row of all leaves of that
      kind, such as "100·8 + 8·768".
    """
    terms = {}
    for leaf in self.leaves.values():
      product = "·".join(str(sizes[axis]) for axis in leaf.axes[1:])
      terms.setdefault(leaf.axes[0], []).append(product)
    return {first: " + ".join(found) for first, found in terms.items()}
