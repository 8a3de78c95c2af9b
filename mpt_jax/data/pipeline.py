"""Streams batches of tokenised examples from seqio tasks; resumes exactly."""

import dataclasses
import functools
import tempfile
import zlib

import numpy as np
import seqio
import tensorflow as tf
from etils import epath

from mpt_jax.data import sampling
from mpt_jax.io import checks, tensorflow_quietly
from mpt_jax.io.errors import calling

# Suffix of the file that stores the number of batches if tf.data cannot save
# the position of its iterator.
COUNT = ".batches"
MIXING = ("sampled", "all", "rates", "proportional", "temperature")


# The values of `mixing` that use a setting. All of them use other settings.
_USED_BY = {
  "min_tasks": ("sampled",),
  "max_tasks": ("sampled",),
  "rates": ("rates",),
  "max_examples": ("proportional", "temperature"),
  "temperature": ("temperature",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixConfig:
  """How the tasks of a bank share a batch.

  Attributes:
    batch_size: number of examples in a batch.
    mixing: how a batch is divided among the tasks. "sampled" puts K tasks into
      each batch, K ~ U[min_tasks, max_tasks], as in the paper. "all" puts
      equally many examples of all tasks into each batch, for independent slots
      of a bank; if the slots have different rates, from a seqio mixture, it
      draws the task of each example with these rates. The others always draw
      the task of each example: "rates" with the given rates, "proportional" in
      proportion to the tasks' sizes (capped at max_examples), and
      "temperature" in proportion to these sizes to the power of
      1 / temperature.
    min_tasks: smallest K.
    max_tasks: κ, the largest K; all tasks by default.
    rates: a rate for each task, for "rates" mixing; None for the slots' own,
      which are equal unless a seqio mixture gave them.
    max_examples: the cap of "proportional" and "temperature" mixing.
    temperature: the temperature of "temperature" mixing.
    seed: seed of the order of tasks and examples.
  """

  batch_size: int = 32
  mixing: str = "all"
  min_tasks: int = 2
  max_tasks: int | None = None
  rates: tuple[float, ...] | None = None
  max_examples: int | None = None
  temperature: float = 1.0
  seed: int = 0

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.choice, "mixing", choices=MIXING)
    check(checks.whole, "batch_size", "min_tasks", low=1)
    check(checks.whole, "max_tasks", "max_examples", low=1, optional=True)
    check(checks.number, "temperature", above=0)
    check(checks.seed, "seed")
    numbers = dict(of=checks.number, what="numbers", low=0)
    check(checks.sequence, "rates", optional=True, **numbers)
    if self.rates is not None and not any(self.rates):
      raise ValueError("MixConfig.rates must not all be 0")
    for field in dataclasses.fields(self):
      users = _USED_BY.get(field.name, (self.mixing,))
      value = getattr(self, field.name)
      if self.mixing not in users and value != field.default:
        raise ValueError(
          f"MixConfig.{field.name}={value} has no effect where"
          f" MixConfig.mixing={self.mixing!r}: it belongs to"
          f" {' and '.join(users)}"
        )


def _mixing_rates(tasks, own_rates, config):
  if config.mixing in ("all", "rates"):
    rates = config.rates or own_rates
    if len(rates) != len(tasks):
      raise ValueError(
        f"MixConfig.rates needs one rate per task ({len(tasks)}), got"
        f" {len(rates)}"
      )
    return rates
  rate = functools.partial(
    seqio.mixing_rate_num_examples, maximum=config.max_examples
  )
  if config.mixing == "temperature":
    rate = functools.partial(rate, temperature=config.temperature)
  with calling(f"MixConfig.mixing={config.mixing!r}"):
    return [rate(task) for task in tasks]


def stream_seed(seed, name):
  """Returns the seed of a slot's examples, which is the same in every bank."""
  return (seed * 1_000_003 + zlib.crc32(name.encode())) % 2**31


def _is_equal(rates) -> bool:
  """Whether all slots have the same rate."""
  return len(set(rates)) <= 1


def _batches(tasks, names, rates, config):
  """Makes the dataset of padded batches of a bank's slots."""
  datasets = []
  for task, name in zip(tasks, names, strict=True):
    ds = task.get_dataset(
      sequence_length=None,
      split="train",
      shuffle=True,
      seed=stream_seed(config.seed, name),
      num_epochs=None,
    )
    datasets.append(
      ds.map(lambda ex: {k: ex[k] for k in ("inputs", "targets")})
    )
  by_rate = config.mixing == "all" and not _is_equal(rates)
  if config.mixing in ("sampled", "all") and not by_rate:
    num = len(tasks)
    ds = sampling.sample_tasks(
      datasets,
      config.seed,
      batch_size=config.batch_size,
      min_tasks=num if config.mixing == "all" else config.min_tasks,
      max_tasks=num if config.mixing == "all" else config.max_tasks,
    )
  else:
    rates = _mixing_rates(tasks, rates, config)
    ds = sampling.sample_by_rate(datasets, rates, config.seed)
  return ds.padded_batch(config.batch_size).prefetch(2)


class ExampleStream:
  """An endless stream of batches of tokenised examples, with a position.

  Every process of a run draws each whole batch, and its devices take their
  rows. A run is therefore the same on any number of processes.

  Args:
    tasks: the seqio task of each slot of the bank, in the bank's order.
    names: the slots' names, which seed the order of their examples.
    config: batch size, mixing and seed.
    rates: the rate of each slot; equal by default.

  Raises:
    ValueError: mixing is "all", the rates are equal and the number of tasks
      does not divide batch_size; or the mixing settings do not fit the tasks.
  """

  def __init__(self, tasks, names, config: MixConfig, rates=None):
    self._rates = list(rates or [1.0] * len(tasks))
    shared = config.mixing == "all" and _is_equal(self._rates)
    if shared and config.batch_size % len(tasks):
      below = config.batch_size // len(tasks) * len(tasks)
      fitting = " or ".join(str(n) for n in (below, below + len(tasks)) if n)
      raise ValueError(
        f"MixConfig.batch_size={config.batch_size} is not a multiple of the"
        f" {len(tasks)} slots that share it equally; take {fitting}"
      )
    self._tasks, self._names, self._config = list(tasks), list(names), config
    self._start(0)

  def _start(self, num_batches):
    """Starts after this many batches, by skipping them."""
    self._num_batches, self._peeked = num_batches, None
    # Make a new dataset: a second iteration of one has another order.
    ds = _batches(self._tasks, self._names, self._rates, self._config)
    self._iterator = iter(ds.skip(num_batches))
    self._checkpoint = tf.train.Checkpoint(iterator=self._iterator)

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
    block = {k: v.numpy() for k, v in next(self._iterator).items()}
    self._num_batches += 1
    examples = []
    for inputs, targets, slot_id in zip(
      block["inputs"], block["targets"], block["slot_ids"], strict=True
    ):
      if slot_id != sampling.BLANK_SLOT_ID:
        examples.append(
          {
            "inputs": inputs[: np.count_nonzero(inputs)],
            "targets": targets[: np.count_nonzero(targets)],
            "slot_id": int(slot_id),
            "name": self._names[slot_id],
          }
        )
    return examples

  def save(self, path):
    """Writes the position to files that start with `path`.

    Raises:
      OSError: the files cannot be written.
    """
    assert self._peeked is None, "the batch that was peeked at is not taken"
    if self._checkpoint is not None:
      try:
        # TensorFlow prints an error before it raises it.
        with tensorflow_quietly.silenced():
          self._write(epath.Path(path))
        return
      except tf.errors.FailedPreconditionError:
        # tf.data cannot save the position of a Python generator. Do not try
        # again: each attempt prints a warning.
        self._checkpoint = None
      except tf.errors.OpError as error:
        # "{{node}} FILE; No space left on device [Op:SaveV2]"
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(f"cannot write {path}: {reason}") from error
    epath.Path(f"{path}{COUNT}").write_text(str(self._num_batches))

  def restore(self, path):
    """Moves to a position that `save` wrote."""
    self._peeked = None
    count = epath.Path(f"{path}{COUNT}")
    if count.is_file():
      self._start(int(count.read_text()))
    else:
      self._read(epath.Path(path))

  def _write(self, path):
    # TensorFlow takes a path for a pattern when it reads, so that it does not
    # find "exp[1]". It gets a folder whose name has no special characters.
    with tempfile.TemporaryDirectory() as folder:
      self._checkpoint.write(f"{folder}/{path.name}")
      for file in epath.Path(folder).iterdir():
        file.copy(path.parent / file.name, overwrite=True)

  def _read(self, path):
    with tempfile.TemporaryDirectory() as folder:
      for file in path.parent.iterdir():
        if file.name.startswith(f"{path.name}."):
          file.copy(epath.Path(folder) / file.name)
      self._checkpoint.read(f"{folder}/{path.name}").assert_consumed()
