"""The interface of a kind of prompt: the one class that defines it.

A kind defines the arrays of a bank and how they make its prompts. The network,
the optimizer, checkpoints, prompt files and commands read all that from here;
none of them knows a kind or an array by its name. A new kind is a file with one
subclass of `Kind`, given to `kinds.register_kind`.

A kind may have offsets beside its prompts: rows that are added to the
embeddings of the input's tokens, by their position in the input. Its arrays
then have the axis INPUTS.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank, S inputs_length,
G groups of slots that share arrays.
"""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# So many times the rows that are asked for are made at once, of whole prompts.
_AT_ONCE = 4

# Logical names of a leaf's axes: t5x's gin file has rules for these alone.
GROUPS, SLOTS = "prompt_groups", "prompt_slots"
LENGTH, RANK, EMBED = "prompt_length", "prompt_rank", "embed"
INPUTS = "prompt_inputs"


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One trained array of a bank.

  Attributes:
    axes: names of its axes. The first is GROUPS for an array with a row per
      group, which the group's slots share, or SLOTS for an array with a row per
      slot. The others are LENGTH, RANK, EMBED and INPUTS in any number and
      order.
    rate: the field of `OptimizerConfig` that holds the array's learning rate.
  """

  axes: tuple[str, ...]
  rate: str

  def __post_init__(self):
    first, *others = self.axes
    known = {LENGTH, RANK, EMBED, INPUTS}
    if first not in (GROUPS, SLOTS) or set(others) - known:
      raise ValueError(
        f"the axes of a leaf must be {GROUPS} or {SLOTS}, and then any of"
        f" {LENGTH}, {RANK}, {EMBED} and {INPUTS}, got {self.axes}"
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
    default_rank: R if neither the user nor a source gives one.
    default_length: P, likewise.
  """

  name: ClassVar[str]
  leaves: ClassVar[dict[str, Leaf]]
  default_rank: ClassVar[int] = 1
  default_length: ClassVar[int] = 100
  peft_type: ClassVar[str | None] = None
  peft_names: ClassVar[dict[str, str]] = {}

  @property
  def has_offsets(self) -> bool:
    """Whether the kind adds to the embeddings of the input's tokens."""
    return any(INPUTS in leaf.axes for leaf in self.leaves.values())

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

    The base class takes them from the prompts. It makes those of a large bank
    in parts, one after the other, so that the memory of a step does not grow
    with the number of slots.

    Args:
      params: the leaves.
      groups: [N] int, the group of each slot.
      slot_ids: [...] int in [0, N).
      positions: [...] int in [0, P), the row of the slot's prompt.

    Returns:
      [..., D].
    """
    return self._take(self.compose, LENGTH, params, groups, slot_ids, positions)

  def offsets(self, params, groups):
    """Makes what is added to the first S tokens of an input: [N, S, D].

    Only kinds with `has_offsets` have this method.
    """
    raise NotImplementedError

  def offset_rows(self, params, groups, slot_ids, tokens):
    """Makes rows of the offsets [..., D], see `rows`; tokens are in [0, S)."""
    return self._take(self.offsets, INPUTS, params, groups, slot_ids, tokens)

  def _take(self, make, axis, params, groups, slot_ids, numbers):
    """Takes rows of [N, size of `axis`, D], which `make` makes of a bank."""
    params = jax.tree.map(jnp.asarray, dict(params))
    sizes, num_slots = self.read_sizes(params), len(groups)
    at_once = max(1, _AT_ONCE * slot_ids.size // sizes[axis])
    if at_once >= num_slots:
      return make(params, groups)[slot_ids, numbers]

    def take(total, slots):
      part = make(*self._select(params, groups, slots))
      places = slot_ids - slots[0]
      rows = part[jnp.clip(places, 0, at_once - 1), numbers]
      is_here = (places >= 0) & (places < at_once)
      return jnp.where(is_here[..., None], rows, total), None

    # The last part may have slots after the last, which get the values of that.
    slots = jnp.arange(-(-num_slots // at_once) * at_once)
    nothing = jnp.zeros((*slot_ids.shape, sizes[EMBED]))
    # Recomputed in the backward pass, which would keep all parts.
    take = jax.checkpoint(take, prevent_cse=False)
    return lax.scan(take, nothing, slots.reshape(-1, at_once))[0]

  def _select(self, params, groups, slots):
    """Returns (leaves, groups) of a bank of some slots, in groups of one."""
    slots = jnp.minimum(slots, len(groups) - 1)
    rows = {SLOTS: slots, GROUPS: jnp.asarray(groups)[slots]}
    own = {k: params[k][rows[leaf.axes[0]]] for k, leaf in self.leaves.items()}
    return own, np.arange(len(slots))

  def bound(self, params, groups):
    """Returns an upper bound on the absolute values of each prompt: [N].

    The bound holds for the offsets too. None, the base class's answer, means
    that no bound is cheaper to compute than the prompts. If a number of a slot
    is not finite, its bound must not be finite either.

    Args:
      params: the leaves, as JAX's arrays.
      groups: [N] int, the group of each slot.
    """
    del params, groups
    return None

  def find_sound(self, params, groups, dtype):
    """Returns which prompts and offsets are finite in a T5's dtype: [N] bool.

    They are made only if there is no bound on them, or if it is large.

    Args:
      params: the leaves.
      groups: [N] int, the group of each slot.
      dtype: the dtype of the T5's activations.
    """
    params = jax.tree.map(jnp.asarray, dict(params))
    groups = jnp.asarray(groups)
    bound = self.bound(params, groups)

    def check(params, groups):
      finite = True
      for make in (self.compose, *([self.offsets] * self.has_offsets)):
        made = make(params, groups).astype(dtype)
        finite &= jnp.all(jnp.isfinite(made), axis=(1, 2))
      return finite

    if bound is None:
      return check(params, groups)

    def check_one(slot):
      return check(*self._select(params, groups, slot[None]))[0]

    # Below this, nothing can overflow. A bound that is NaN is not below.
    small = bound < float(jnp.finfo(dtype).max) / 4
    return lax.cond(
      jnp.all(small),
      lambda: jnp.ones(groups.shape, bool),
      lambda: lax.map(check_one, jnp.arange(len(groups))),
    )

  @abc.abstractmethod
  def start(self, rows, sizes, key):
    """Returns a slot's starting values, which make a prompt near `rows`.

    Args:
      rows: [P, D], the prompt to start from.
      sizes: the size of each axis, such as `sizes[RANK]`.
      key: PRNG key of the slot, for random starting values.

    Returns:
      The slot's row of each leaf, by name: the leaf's shape without the first
      axis.
    """

  def start_from(self, source, how, sizes, key):
    """Returns a slot's starting values from a trained bank.

    A prompt of this kind and these sizes is copied. Any other is composed, and
    the slot starts near it.

    Args:
      source: the `PromptBank`, of any kind.
      how: `Slot.init`. All kinds know "task:NAME", one prompt of the source,
        and "mean", the mean of its prompts.
      sizes: see `start`.
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
    if len(chosen) == 1 and set(source.params) == set(self.leaves):
      copied = {
        name: jnp.asarray(array[source.config.rows(name)[chosen[0]]])
        for name, array in source.params.items()
      }
      shapes = {
        name: tuple(sizes[axis] for axis in leaf.axes[1:])
        for name, leaf in self.leaves.items()
      }
      if all(copied[name].shape == shapes[name] for name in shapes):
        return copied
    rows = source.composed[np.asarray(chosen)].mean(axis=0)
    return self.start(jnp.asarray(rows), sizes, key)

  def read_sizes(self, params) -> dict[str, int]:
    """Returns the size of each axis that the leaves have.

    Raises:
      ValueError: an array has another number of axes than its leaf.
    """
    sizes = {}
    for name, leaf in self.leaves.items():
      if params[name].ndim != len(leaf.axes):
        raise ValueError(
          f"{name} must have the axes {', '.join(leaf.axes)}, got the shape"
          f" {params[name].shape}"
        )
      sizes |= zip(leaf.axes, params[name].shape, strict=True)
    return sizes

  def formulas(self, sizes) -> dict[str, str]:
    """Returns the number of parameters as text.

    Args:
      sizes: the size of each axis.

    Returns:
      {GROUPS or SLOTS: text}: the parameters in one row of all leaves of that
      kind, such as "100·64 + 2·768".
    """
    terms = {}
    for leaf in self.leaves.values():
      found = terms.setdefault(leaf.axes[0], {})
      factors = [sizes[axis] for axis in leaf.axes[1:]]
      found.setdefault(tuple(sorted(factors)), []).append(factors)
    return {
      first: " + ".join(_product(equal) for equal in found.values())
      for first, found in terms.items()
    }


def product_bound(left, right):
  """Bounds the absolute values of each product left[n] @ right[n].

  Args:
    left: [N, P, R].
    right: [N, R, D].

  Returns:
    [N], which is not finite if a number is not.

  >>> left, right = jnp.array([[[1.0, -2.0]]]), jnp.array([[[3.0], [-4.0]]])
  >>> product_bound(left, right).tolist()
  [11.0]
  """
  left, right = jnp.max(jnp.abs(left), axis=1), jnp.max(jnp.abs(right), axis=2)
  return jnp.sum(left * right, axis=1)


def _product(equal) -> str:
  """Writes lists of the same factors as one product, such as "2·768"."""
  count = [len(equal)] if len(equal) > 1 else []
  return "·".join(map(str, [*count, *equal[0]]))
