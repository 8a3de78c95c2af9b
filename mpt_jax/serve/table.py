"""The table of prompts: rows of fixed arrays that grow by doubling.

A prompt P* ∘ u vᵀ of rank one stays factors: u [P] and v [D] are a row, and P*
is kept once for all rows that share it. Any other prompt is a composed row
[P, D]. Writing a row moves no other row and compiles nothing, because a batch
gets only the prompts of its own examples, see `Table.prompt`.

Axis letters: P prompt_length, D emb_dim, C capacity.
"""

import hashlib
import threading

import numpy as np

from mpt_jax.io.finite import check_finite
from mpt_jax.prompts.kind import GROUPS

FIRST_CAPACITY = 64


class _Rows:
  """Arrays [C, ...] with free rows; C doubles when there is none."""

  def __init__(self, **shapes):
    self._shapes = shapes
    self.arrays = {
      name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()
    }
    self._free, self.capacity = [], 0

  def write(self, **values) -> int:
    """Writes a free row; returns its number."""
    if not self._free:
      old, self.capacity = self.capacity, max(FIRST_CAPACITY, 2 * self.capacity)
      for name, shape in self._shapes.items():
        grown = np.zeros((self.capacity, *shape), np.float32)
        grown[:old] = self.arrays[name]
        self.arrays[name] = grown
      self._free = list(range(self.capacity - 1, old - 1, -1))
    row = self._free.pop()
    for name, value in values.items():
      self.arrays[name][row] = value
    return row

  def release(self, row):
    self._free.append(row)

  @property
  def used(self) -> int:
    return self.capacity - len(self._free)


class Entry:
  """A row of the table, kept while a task or a request uses it.

  Attributes:
    is_factors: whether the row holds factors.
  """

  def __init__(self, table, is_factors, row, shared):
    self.is_factors, self.row, self.shared = is_factors, row, shared
    self._table, self._uses = table, 1

  @property
  def is_used(self) -> bool:
    return self._uses > 0

  def lease(self) -> "Entry":
    """Keeps the row for one more user."""
    with self._table.lock:
      self._uses += 1
    return self

  def release(self):
    """Gives the row back; after the last user it is free."""
    with self._table.lock:
      self._uses -= 1
      if not self._uses:
        self._table._free(self)


class Table:
  """The prompts of all tasks.

  Args:
    prompt_length: P.
    emb_dim: D.
  """

  def __init__(self, prompt_length: int, emb_dim: int):
    self.prompt_length, self.emb_dim = prompt_length, emb_dim
    self.lock = threading.RLock()
    self._factors = _Rows(columns=(prompt_length,), rows=(emb_dim,))
    self._plain = _Rows(prompt=(prompt_length, emb_dim))
    self._shared = {}  # P* and its number of uses, by digest.

  def add(self, bank, slot: int, composed) -> Entry:
    """Writes the prompt of a slot of a bank.

    Args:
      bank: a `PromptBank`.
      slot: the slot's index.
      composed: [N, P, D], the bank's composed prompts, or `Composed`.

    Raises:
      ValueError: the prompt has another length or width, or is not finite.
    """
    prompt = np.asarray(composed[slot], np.float32)
    if prompt.shape != (self.prompt_length, self.emb_dim):
      raise ValueError(
        f"the prompt {bank.names[slot]!r} has length {prompt.shape[0]} and"
        f" width {prompt.shape[1]}; this server's have {self.prompt_length}"
        f" and {self.emb_dim}"
      )
    check_finite(
      prompt, "its composed prompt", f"the task {bank.names[slot]!r}"
    )
    with self.lock:
      factors = _rank_one(bank, slot)
      # The bits of an answer must be those of the composed prompt.
      if factors and np.array_equal(_compose(*factors), prompt):
        shared, columns, rows = factors
        digest = hashlib.sha256(shared.tobytes()).digest()
        kept = self._shared.setdefault(digest, [shared.copy(), 0])
        kept[1] += 1
        row = self._factors.write(columns=columns, rows=rows)
        return Entry(self, True, row, digest)
      return Entry(self, False, self._plain.write(prompt=prompt), None)

  def prompt(self, entry: Entry) -> np.ndarray:
    """Returns the composed prompt of a row, [P, D] float32.

    It is 0 if nobody keeps the row any more, as after a client has left.
    """
    with self.lock:
      if not entry.is_used:
        return np.zeros((self.prompt_length, self.emb_dim), np.float32)
      if not entry.is_factors:
        return self._plain.arrays["prompt"][entry.row].copy()
      arrays = self._factors.arrays
      shared = self._shared[entry.shared][0]
      columns, rows = (arrays[n][entry.row] for n in ("columns", "rows"))
      return _compose(shared, columns, rows)

  def _free(self, entry):
    if entry.is_factors:
      self._factors.release(entry.row)
      kept = self._shared[entry.shared]
      kept[1] -= 1
      if not kept[1]:
        del self._shared[entry.shared]
    else:
      self._plain.release(entry.row)

  def sizes(self) -> dict:
    """Returns the rows in use, the capacities and the bytes of the table."""
    with self.lock:
      arrays = [
        *self._factors.arrays.values(),
        *self._plain.arrays.values(),
        *(kept[0] for kept in self._shared.values()),
      ]
      return {
        "used": self._factors.used + self._plain.used,
        "capacity": self._factors.capacity + self._plain.capacity,
        "shared": len(self._shared),
        "bytes": sum(array.nbytes for array in arrays),
      }


class Composed:
  """The composed prompts of a bank, each made when it is asked for.

  Plain prompts and those of rank one are made in NumPy, which compiles nothing
  and needs no memory for the others. Each number is one product of three
  factors, so the bits are those of `PromptBank.composed`.

  Args:
    bank: a `PromptBank`.
  """

  def __init__(self, bank):
    self._bank, self._all = bank, None

  def __getitem__(self, slot: int) -> np.ndarray:
    """Returns the prompt of a slot, [P, D] float32."""
    bank = self._bank
    if bank.config.is_plain:
      return np.asarray(bank.params["shared_prompt"][bank.groups[slot]])
    factors = _rank_one(bank, slot)
    if factors:
      with np.errstate(over="ignore", invalid="ignore"):
        return _compose(*factors)
    if self._all is None:
      self._all = bank.composed
    return self._all[slot]


def _rank_one(bank, slot):
  """Returns (P* [P, D], u [P], v [D]) of a prompt of rank one, or None."""
  params = bank.params
  if bank.config.kind != "multitask" or bank.config.rank != 1:
    return None
  group = bank.groups[slot]
  found = {
    name: np.asarray(array, np.float32)[
      group if bank.config.leaves[name].axes[0] == GROUPS else slot
    ]
    for name, array in params.items()
  }
  return (
    found["shared_prompt"],
    found["task_columns"][:, 0],
    found["task_rows"][0],
  )


def _compose(shared, columns, rows):
  return shared * (columns[:, None] * rows[None])
