"""How the tasks of a bank share a batch: the settings, and checks of them.

Nothing here imports TensorFlow.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

from mpt_jax.io import checks

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
      draws the task of each example with these rates. The others draw the task
      of each example: "rates" with the given rates, "proportional" in
      proportion to the tasks' sizes (capped at max_examples), and "temperature"
      in proportion to these sizes to the power of 1 / temperature.
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


def stream_seed(seed, name):
  """Returns the seed of a slot's examples, which is the same in every bank."""
  return (seed * 1_000_003 + zlib.crc32(name.encode())) % 2**31


def is_equal(rates: Sequence[float]) -> bool:
  """Whether all slots have the same rate."""
  return len(set(rates)) <= 1


def check_shares(config: MixConfig, rates: Sequence[float]):
  """Checks that slots which share a batch equally can do so.

  Args:
    config: the settings.
    rates: the rate of each slot.

  Raises:
    ValueError: the number of slots does not divide the size of a batch.
  """
  count = len(rates)
  shared = config.mixing == "all" and is_equal(rates)
  if shared and config.batch_size % count:
    below = config.batch_size // count * count
    fitting = " or ".join(str(n) for n in (below, below + count) if n)
    raise ValueError(
      f"MixConfig.batch_size={config.batch_size} is not a multiple of the"
      f" {count} slots that share it equally; take {fitting}"
    )


def mixing_rates(
  sizes: Sequence[int], own_rates: Sequence[float], config: MixConfig
) -> Sequence[float]:
  """Returns the rate at which each slot's examples are drawn.

  Args:
    sizes: the number of training examples of each slot.
    own_rates: the slots' own rates.
    config: the settings.

  Raises:
    ValueError: there is not one rate per slot.

  >>> mixing_rates([4, 100], [1, 1], MixConfig(mixing="temperature",
  ...   max_examples=16, temperature=2.0))
  [2.0, 4.0]
  """
  if config.mixing in ("all", "rates"):
    rates = config.rates or own_rates
    if len(rates) != len(sizes):
      raise ValueError(
        f"MixConfig.rates needs one rate per task ({len(sizes)}), got"
        f" {len(rates)}"
      )
    return rates
  capped = [min(size, config.max_examples or size) for size in sizes]
  return [size ** (1 / config.temperature) for size in capped]


def num_sampled(
  num_tasks: int, batch_size: int, min_tasks: int, max_tasks: int | None
) -> tuple[int, int]:
  """Returns the least and the most tasks of a batch; see `MixConfig`.

  Raises:
    ValueError: min_tasks or max_tasks does not fit the mixture or the batch.
  """
  max_tasks = num_tasks if max_tasks is None else max_tasks
  min_tasks = min(min_tasks, num_tasks)
  if not 1 <= min_tasks <= max_tasks <= num_tasks:
    raise ValueError(
      f"1 <= min_tasks <= max_tasks <= {num_tasks} (the tasks of the mixture)"
      f" must hold, got min_tasks={min_tasks}, max_tasks={max_tasks}"
    )
  if batch_size < max_tasks:
    raise ValueError(
      f"batch_size={batch_size} leaves no example for each of"
      f" max_tasks={max_tasks} tasks; raise it to at least {max_tasks}"
    )
  return min_tasks, max_tasks
