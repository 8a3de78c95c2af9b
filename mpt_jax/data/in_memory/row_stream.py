"""Streams batches of tasks over rows in memory; resumes exactly.

All random numbers are functions of the seed, the slot's name and the number of
the epoch or of the batch. They are raw bits of Philox, which NumPy keeps the
same in all versions. Nothing here imports TensorFlow.
"""

import json

import numpy as np
from etils import epath

from mpt_jax.data import mixing
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.data.mixing import MixConfig

SUFFIX = ".rows.json"
# What the random numbers are for.
_EPOCH, _BATCH = 0, 1


def _bits(count: int, *numbers: int) -> np.ndarray:
  """Returns [count] uint64 random bits that depend on the numbers alone."""
  sequence = np.random.SeedSequence([n % 2**32 for n in numbers])
  return np.random.Philox(sequence).random_raw(count)


def _order(bits) -> np.ndarray:
  """Returns a permutation: every order is equally probable."""
  return np.argsort(bits, kind="stable")


def _uniform(bits) -> np.ndarray:
  """Returns numbers in [0, 1)."""
  return (bits >> np.uint64(11)) * 2.0**-53


class RowStream:
  """An endless stream of batches, as `pipeline.ExampleStream` is for seqio.

  Each epoch of a slot has all its examples once, in a new order. A slot has the
  same examples in the same order in every bank.

  Args:
    tasks: the task of each slot of the bank, in the bank's order.
    names: the slots' names, which seed the order of their examples.
    config: batch size, mixing and seed.
    rates: the rate of each slot; equal by default.

  Raises:
    ValueError: the settings do not fit the slots.
  """

  def __init__(
    self, tasks: list[RowTask], names, config: MixConfig, rates=None
  ):
    self._tasks, self._names, self._config = list(tasks), list(names), config
    own = list(rates or [1.0] * len(tasks))
    mixing.check_shares(config, own)
    self._seeds = [mixing.stream_seed(config.seed, name) for name in names]
    self._sizes = [len(task.rows["train"]) for task in tasks]
    by_rate = config.mixing not in ("all", "sampled")
    self._cumulated = None
    if by_rate or not mixing.is_equal(own):
      rates = mixing.mixing_rates(self._sizes, own, config)
      self._cumulated = np.cumsum(rates) / np.sum(rates)
    self._num_batches, self._taken = 0, [0] * len(tasks)
    self._orders, self._peeked = {}, None
    self._least = self._most = len(tasks)
    if config.mixing == "sampled":
      self._least, self._most = mixing.num_sampled(
        len(tasks), config.batch_size, config.min_tasks, config.max_tasks
      )

  def __iter__(self):
    return self

  def peek(self):
    """Returns the next batch without taking it.

    Take the batch before saving the stream.
    """
    if self._peeked is None:
      self._peeked = next(self)
    return self._peeked

  def __next__(self):
    """Returns the next batch: dicts of inputs, targets, slot_id and name."""
    if self._peeked is not None:
      batch, self._peeked = self._peeked, None
      return batch
    slots = self._draw_slots(self._num_batches)
    self._num_batches += 1
    return [self._example(int(slot)) for slot in slots]

  def _draw_slots(self, batch: int) -> np.ndarray:
    """Returns the slot of each example of a batch."""
    size, count = self._config.batch_size, len(self._tasks)
    seed = (self._config.seed, _BATCH, batch)
    if self._cumulated is not None:
      draws = _uniform(_bits(size, *seed))
      return np.searchsorted(self._cumulated, draws, side="right")
    bits = _bits(1 + count, *seed)
    # K ~ U[least, most], then K slots, each with the same number of examples.
    choices = self._most - self._least + 1
    chosen = self._least + int(_uniform(bits[0]) * choices)
    return np.repeat(_order(bits[1:])[:chosen], size // chosen)

  def _example(self, slot: int) -> dict:
    """Returns the next example of a slot."""
    epoch, place = divmod(self._taken[slot], self._sizes[slot])
    self._taken[slot] += 1
    known, order = self._orders.get(slot, (None, None))
    if known != epoch:
      bits = _bits(self._sizes[slot], self._seeds[slot], _EPOCH, epoch)
      order = _order(bits)
      self._orders[slot] = epoch, order
    made = self._tasks[slot].example("train", int(order[place]))
    return {
      "inputs": made["inputs"],
      "targets": made["targets"],
      "slot_id": slot,
      "name": self._names[slot],
    }

  def save(self, path):
    """Writes the position to a file that starts with `path`.

    Raises:
      OSError: the file cannot be written.
    """
    assert self._peeked is None, "the batch that was peeked at is not taken"
    position = {"batches": self._num_batches, "taken": self._taken}
    epath.Path(f"{path}{SUFFIX}").write_text(json.dumps(position))

  def restore(self, path):
    """Moves to a position that `save` wrote."""
    position = json.loads(epath.Path(f"{path}{SUFFIX}").read_text())
    self._peeked = None
    self._num_batches = position["batches"]
    self._taken = list(position["taken"])
