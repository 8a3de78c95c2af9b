"""Faults of single slots: a slot that diverges is frozen, the others go on.

The step finds out which slots have a value that is not finite, and the term
that had it first. Such a slot keeps its parameters and its optimizer state from
before that step. All of this is selection on the device, so a step waits for
nothing and a healthy slot gets the same numbers to the bit.

Axis letters: N num_slots, G groups of slots that share arrays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import GROUPS

# The terms in the order in which a step computes them. "prompt" is a prompt
# that was not finite before the step, "update" one that the step made so.
TERMS = ("prompt", "loss", "kl", "hidden", "gradient", "update")


class Fault(NamedTuple):
  """The first value of a slot that was not finite.

  Attributes:
    slot: name of the slot.
    step: the step that had it, counted from 1.
    term: one of `TERMS`.
  """

  slot: str
  step: int
  term: str

  def __str__(self):
    return f"{self.slot} at step {self.step} (first in: {self.term})"

  @property
  def fields(self) -> dict:
    """The fault as JSON values, for the slot's entry in a prompt file."""
    return {"step": self.step, "term": self.term}

  @property
  def report(self) -> str:
    """The line for the user when the slot is frozen."""
    return (
      f"{self} is not finite: this slot is frozen as it was before, and the"
      f" others go on; {self.advice}"
    )

  @property
  def advice(self) -> str:
    """What may help."""
    if self.term == "prompt":
      return "its values were damaged between two steps"
    if self.step == 1 and self.term != "update":
      # No update came before, so the learning rate had no part in it.
      return "check its start, its teacher and the weights of the T5"
    return "try a lower learning_rate or learning_rate_scale"


def init_faults(num_slots: int):
  """Returns [N, 2] int32 without a fault: (step, index of the term) each."""
  return jnp.zeros((num_slots, 2), jnp.int32)


def find_active(faults):
  """Returns which slots had no fault: [N, 2] int -> [N] bool."""
  return faults[:, 0] == 0


def record(faults, step, term: str, bad):
  """Records a fault of the slots that have had none.

  Args:
    faults: [N, 2] int32, see `init_faults`.
    step: [] int, the number of the step, from 1 on.
    term: one of `TERMS`.
    bad: [N] bool.

  Returns:
    The new [N, 2].
  """
  new = jnp.stack([step, jnp.int32(TERMS.index(term))])
  return jnp.where((bad & find_active(faults))[:, None], new, faults)


def read_faults(faults, names) -> list[Fault]:
  """Returns the faults of a bank, by step.

  Args:
    faults: [N, 2] int32.
    names: the names of the slots.
  """
  found = [
    Fault(name, int(step), TERMS[term])
    for name, (step, term) in zip(names, np.asarray(faults), strict=True)
    if step
  ]
  return sorted(found, key=lambda fault: fault.step)


def describe_all(faults: list[Fault]) -> str:
  """Says why a run in which all slots have a fault stops."""
  each = ", ".join(map(str, faults[:5]))
  more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
  advice = faults[0].advice
  if all(f.step == 1 and f.term not in ("prompt", "update") for f in faults):
    advice = (
      "no update came before and all starting prompts and teachers are finite,"
      " so look at the weights of the T5, or for starts that are too large"
    )
  return (
    f"no slot is left to train: {each}{more} are not finite; the run stopped at"
    f" its last checkpoint ({advice})"
  )


def select_rows(prompts: PromptConfig, chosen, new, old):
  """Returns the rows of the chosen slots from `new`, and the others from `old`.

  A row that several slots share comes from `new` if any of them is chosen.
  Leaves that are no arrays of the bank, such as Adam's count, come from `new`.

  Args:
    prompts: the bank.
    chosen: [N] bool.
    new: a tree whose leaves are named as the bank's arrays, such as the
      parameters or the state of their optimizer.
    old: a tree of the same structure.
  """
  groups = jnp.asarray(prompts.groups)
  of_groups = jnp.zeros((prompts.num_groups,), bool).at[groups].max(chosen)

  def select(path, new, old):
    leaf = prompts.leaves.get(getattr(path[-1], "key", None))
    if leaf is None:
      return new
    rows = of_groups if leaf.axes[0] == GROUPS else chosen
    return jnp.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)

  return jax.tree.map_with_path(select, new, old)
