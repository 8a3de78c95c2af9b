"""seqio tasks in, batches of arrays out; resumable to the example."""

import dataclasses
import functools
import zlib

import numpy as np
import seqio
import tensorflow as tf
from etils import epath

from mpt_jax.data import sampling
from mpt_jax.io import checks

# Of the file that says how many batches there were, where tf.data cannot say
# where it is.
COUNT = ".batches"
MIXING = ("sampled", "all", "rates", "proportional", "temperature")


# The ways of mixing that read a setting; all others are read by each.
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
    batch_size: examples of a batch.
    mixing: "sampled": K of the tasks in each batch, K ~ U[min_tasks,
      max_tasks], as in the paper; "all": equal numbers of all tasks in each
      batch, as independent slots of a bank want; "rates" (given), "proportional"
      (to the tasks' sizes up to max_examples) and "temperature" (those to the power
      of 1 / temperature) draw each example's task.
    min_tasks: least K.
    max_tasks: κ, most K; all tasks by default.
    rates: a rate for each task, of "rates" mixing; None for equal ones.
    max_examples: the cap of "proportional" and "temperature" mixing.
    temperature: of "temperature" mixing.
    seed: of the order of tasks and examples.
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


def _mixing_rates(tasks, config):
  if config.mixing == "rates":
    rates = config.rates or [1.0] * len(tasks)
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
  return [rate(task) for task in tasks]


def stream_seed(seed, name):
  """The seed of one slot's examples, the same in every bank it is part of."""
  return (seed * 1_000_003 + zlib.crc32(name.encode())) % 2**31


def _batches(tasks, names, config):
  """The dataset of padded batches of a bank's slots."""
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
  if config.mixing in ("sampled", "all"):
    num = len(tasks)
    ds = sampling.sample_tasks(
      datasets,
      config.seed,
      batch_size=config.batch_size,
      min_tasks=num if config.mixing == "all" else config.min_tasks,
      max_tasks=num if config.mixing == "all" else config.max_tasks,
    )
  else:
    rates = _mixing_rates(tasks, config)
    ds = sampling.sample_by_rate(datasets, rates, config.seed)
  return ds.padded_batch(config.batch_size).prefetch(2)


class ExampleStream:
  """An endless stream of batches of tokenised examples, with a position.

  Every process of a run draws the whole of each batch, of which its devices
  take their rows: a run is the same on any number of processes.

  Args:
    tasks: seqio tasks, one a slot of the bank, in the bank's order.
    names: the slots' names, which seed their examples' order.
    config: batch size, mixing and seed.

  Raises:
    ValueError: batch_size is no multiple of the tasks that share it equally.
  """

  def __init__(self, tasks, names, config: MixConfig):
    if config.mixing == "all" and config.batch_size % len(tasks):
      below = config.batch_size // len(tasks) * len(tasks)
      fitting = " or ".join(str(n) for n in (below, below + len(tasks)) if n)
      raise ValueError(
        f"MixConfig.batch_size={config.batch_size} is not a multiple of the"
        f" {len(tasks)} slots that share it equally; take {fitting}"
      )
    self._tasks, self._names, self._config = list(tasks), list(names), config
    self._start(0)

  def _start(self, num_batches):
    """Goes to the place after this many batches by reading them."""
    self._num_batches, self._peeked = num_batches, None
    # A new dataset: one that is iterated again shuffles otherwise.
    ds = _batches(self._tasks, self._names, self._config)
    self._iterator = iter(ds.skip(num_batches))
    self._checkpoint = tf.train.Checkpoint(iterator=self._iterator)

  def __iter__(self):
    return self

  def peek(self):
    """The next batch, which stays the next one.

    The stream must not be saved before that batch is taken.
    """
    if self._peeked is None:
      self._peeked = next(self)
    return self._peeked

  def __next__(self):
    """The next batch: a list of {"inputs", "targets", "task_id", "name"}."""
    if self._peeked is not None:
      batch, self._peeked = self._peeked, None
      return batch
    block = {k: v.numpy() for k, v in next(self._iterator).items()}
    self._num_batches += 1
    examples = []
    for inputs, targets, task_id in zip(
      block["inputs"], block["targets"], block["task_ids"], strict=True
    ):
      if task_id != sampling.BLANK_TASK_ID:
        examples.append(
          {
            "inputs": inputs[: np.count_nonzero(inputs)],
            "targets": targets[: np.count_nonzero(targets)],
            "task_id": int(task_id),
            "name": self._names[task_id],
          }
        )
    return examples

  def save(self, path):
    """Writes the position to files that start with `path`.

    Raises:
      OSError: they cannot be written.
    """
    assert self._peeked is None, "the batch that was peeked at is not taken"
    if self._checkpoint is not None:
      try:
        self._checkpoint.write(str(path))
        return
      except tf.errors.FailedPreconditionError:
        # tf.data cannot save the place in a Python generator. Asked again, it
        # would print so again.
        self._checkpoint = None
      except tf.errors.OpError as error:
        raise OSError(f"cannot write {path}: {error.message}") from error
    epath.Path(f"{path}{COUNT}").write_text(str(self._num_batches))

  def restore(self, path):
    """Goes to a position that `save` wrote."""
    self._peeked = None
    count = epath.Path(f"{path}{COUNT}")
    if count.is_file():
      self._start(int(count.read_text()))
    else:
      self._checkpoint.read(str(path)).assert_consumed()
