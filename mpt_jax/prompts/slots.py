"""The slots of a bank: which task each trains on, and how it starts.

A slot is one prompt with its task, examples and starting point. Slots of one
group share arrays (P*) and train as one run; groups are independent of each
other, so all targets, numbers of shots, seeds, methods and learning rates of a
sweep can be slots of one bank.
"""

import dataclasses
import functools

from mpt_jax.io import checks
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import SLOTS
from mpt_jax.prompts.multitask import Multitask

SHARES = ("none", "all", "tasks")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slot:
  """One prompt of a bank.

  Attributes:
    task: name of the seqio task.
    shots: training examples per class, None for all.
    seed: seed of the draw of the shots and of the prompt's random start.
    label: distinguishes slots that are otherwise equal (a method's name).
    group: slots of the same group share P*; None gives the slot a group of its
      own.
    init: the starting values: "vocabulary", "random", "text:WORDS" or, from the
      bank `source`, "task:NAME" (that task's prompt, as in SPoT), "best" (the
      prompt under which the slot's own training answers are likeliest), "mean"
      (the mean of the prompts), "mean_matrix", "mean_factors" or "shared_only"
      (P* with factors made from the source tasks' factors). "best:A,B" and
      "mean:A,B" take prompts of these tasks alone.
    source: prompt file or run folder that `init` reads.
    train_factors: False keeps the factors at their start.
    learning_rate_scale: factor on the slot's learning rates.
    rate: the slot's share of the examples, relative to other slots; from the
      rates of a seqio mixture.
  """

  task: str
  shots: int | None = None
  seed: int = 0
  label: str = ""
  group: str | None = None
  init: str = "vocabulary"
  source: str | None = None
  train_factors: bool = True
  learning_rate_scale: float = 1.0
  rate: float = 1.0

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "task", "init")
    check(checks.text, "label", empty=True)
    check(checks.text, "group", optional=True)
    check(checks.path, "source", optional=True)
    check(checks.whole, "shots", low=1, optional=True)
    check(checks.seed, "seed")
    check(checks.flag, "train_factors")
    check(checks.number, "learning_rate_scale", low=0)
    check(checks.number, "rate", above=0)

  @property
  def data_name(self) -> str:
    """The name of the slot's data: equal for equal examples in equal order."""
    shots = "" if self.shots is None else f"_k{self.shots}"
    return f"{self.task}{shots}_s{self.seed}"

  @property
  def name(self) -> str:
    plain = self.shots is None and self.seed == 0
    name = self.task if plain else self.data_name
    return f"{name}_{self.label}" if self.label else name


def make_slots(
  tasks,
  shots=(None,),
  seeds=(0,),
  share="none",
  init="vocabulary",
  source=None,
  train_factors=True,
) -> tuple[Slot, ...]:
  """Makes a slot for each combination of task, shots and seed.

  Args:
    tasks: task names, or (name, rate) pairs as in a seqio mixture.
    shots: numbers of examples per class, None for all.
    seeds: draws of each.
    share: "none": each slot has its own P*; "all": one P* for all; "tasks":
      the tasks with the same number of shots and the same seed share P* (a
      group of targets).
    init: see `Slot.init`.
    source: see `Slot.source`.
    train_factors: see `Slot.train_factors`.

  Returns:
    The slots, tasks varying fastest.

  Raises:
    ValueError: `share` is unknown, there are no tasks, or a number is not
      valid.
  """
  tasks = checks.sequence(
    "make_slots.tasks",
    (tasks,) if isinstance(tasks, str) else tasks,
    of=_task_and_rate,
    what="names of tasks",
  )
  shots = checks.sequence(
    "make_slots.shots", shots, of=_num_shots, what="whole numbers, as in (16,)"
  )
  seeds = checks.sequence(
    "make_slots.seeds", seeds, of=checks.seed, what="whole numbers, as in (0,)"
  )
  checks.choice("make_slots.share", share, choices=SHARES)
  return tuple(
    Slot(
      task=t,
      rate=rate,
      shots=k,
      seed=s,
      group=_group_name(share, k, s),
      init=init,
      source=source,
      train_factors=train_factors,
    )
    for k in shots
    for s in seeds
    for t, rate in tasks
  )


def _task_and_rate(name, value) -> tuple[str, float]:
  """Checks a task's name, or a pair of it and its rate."""
  if not isinstance(value, list | tuple):
    return checks.text(name, value), 1.0
  if len(value) != 2:
    raise ValueError(
      f"{name} must be the name of a task or (name, rate), got {value!r}"
    )
  task = checks.text(name, value[0])
  return task, checks.number(
    f"{name}, the rate of {task!r},", value[1], above=0
  )


def _num_shots(name, value):
  return value if value is None else checks.whole(name, value, low=1)


def _group_name(share, shots, seed) -> str | None:
  if share == "none":
    return None
  return "all" if share == "all" else f"k{shots}_s{seed}"


def prompt_config(
  slots, prompt_length, rank, kind=Multitask.name, inputs_length=None
):
  """Returns the `PromptConfig` of the bank of these slots.

  Raises:
    ValueError: two slots have one name, the kind is unknown, slots share P*
      although the kind has no arrays for groups or none for tasks, or no array
      would train.
  """
  names = [slot.name for slot in slots]
  if len(set(names)) != len(names):
    twice = sorted({n for n in names if names.count(n) > 1})
    raise ValueError(
      f"two slots have the same name: {', '.join(twice)}; give them labels"
    )
  numbers, groups = {}, []
  for i, slot in enumerate(slots):
    key = slot.group if slot.group is not None else i
    groups.append(numbers.setdefault(key, len(numbers)))
  config = PromptConfig(
    num_slots=len(slots),
    prompt_length=prompt_length,
    rank=rank,
    groups=tuple(groups),
    kind=kind,
    inputs_length=inputs_length,
  )
  if len(numbers) < len(slots) and not config.can_share:
    if config.is_plain:
      raise ValueError("rank=0 has no task factors, so slots cannot share a P*")
    raise ValueError(
      f"Experiment.prompt_kind={kind!r} has no arrays that slots can share; use"
      " share='none'"
    )
  firsts = {leaf.axes[0] for leaf in config.leaves.values()}
  if firsts == {SLOTS} and not any(slot.train_factors for slot in slots):
    raise ValueError(
      "make_slots.train_factors must be True for some slot, got False: it keeps"
      f" all arrays of Experiment.prompt_kind={kind!r} at their start"
    )
  return config


def optimizer_scales(slots, groups):
  """Returns `make_optimizer`'s (group_scales, slot_scales) for these slots.

  Raises:
    ValueError: slots of one group differ in learning_rate_scale.
  """
  group_scales = {}
  for slot, group in zip(slots, groups, strict=True):
    scale = group_scales.setdefault(group, slot.learning_rate_scale)
    if scale != slot.learning_rate_scale:
      raise ValueError(
        f"slot {slot.name!r} has learning_rate_scale"
        f" {slot.learning_rate_scale}, another slot of its group {scale}; they"
        " train one P*, so the scales must be equal"
      )
  slot_scales = [
    slot.learning_rate_scale if slot.train_factors else 0.0 for slot in slots
  ]
  scales = tuple(group_scales[g] for g in range(len(group_scales)))
  return scales, tuple(slot_scales)
