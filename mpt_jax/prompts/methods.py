"""Ways to adapt, side by side: the slots of a bank that compares methods."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mpt_jax.io import checks
from mpt_jax.prompts.slots import SHARES, Slot, make_slots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
  """One way to adapt to a task.

  If `init`, `source` or `learning_rate_scales` has several values, each gives a
  slot. A table takes the best one on validation, or has a row for each; see
  `sweeps.tables.Row.label`.

  Attributes:
    name: the slots' label; if there are several settings, they follow it, as in
      "spot-from_glue_mnli-lr_x0.1".
    init: one or several values of `slots.Slot.init`.
    source: prompt file or run folder that `init` reads; or {name: folder}.
    share: "tasks" makes the tasks with the same number of shots and the same
      seed share P*; see `slots.make_slots`.
    train_factors: False keeps the factors at their start.
    learning_rate_scales: factors on the learning rates.
  """

  name: str
  init: str | Sequence[str] = "mean_matrix"
  source: str | Mapping[str, str] | None = None
  share: str = "none"
  train_factors: bool = True
  learning_rate_scales: Sequence[float] = (1.0,)

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "name")
    if isinstance(self.init, str):
      check(checks.text, "init")
    else:
      check(checks.sequence, "init", of=checks.text, what="starts")
    if isinstance(self.source, Mapping):
      check(checks.mapping, "source", of=checks.path, empty=False)
    else:
      check(checks.path, "source", optional=True)
    check(checks.choice, "share", choices=SHARES)
    check(checks.flag, "train_factors")
    scales = dict(of=checks.number, what="numbers", low=0)
    check(checks.sequence, "learning_rate_scales", **scales)

  def slots(self, tasks, shots, seeds) -> list[Slot]:
    """Returns the method's slots for all settings, tasks varying fastest."""
    inits = (self.init,) if isinstance(self.init, str) else self.init
    sources = self.source
    if not isinstance(sources, Mapping):
      sources = {"": sources}
    made = []
    for source_name, source in sources.items():
      for init in inits:
        for scale in self.learning_rate_scales:
          label = "-".join(
            part
            for part in (
              self.name,
              source_name,
              f"from_{init.rpartition(':')[2]}" if len(inits) > 1 else "",
              f"lr_x{scale:g}" if len(self.learning_rate_scales) > 1 else "",
            )
            if part
          )
          for slot in make_slots(
            tasks, shots, seeds, self.share, init, source, self.train_factors
          ):
            group = slot.group and f"{label}_{slot.group}"
            made.append(
              dataclasses.replace(
                slot, label=label, group=group, learning_rate_scale=scale
              )
            )
    return made


def method_slots(
  methods: Sequence[str],
  known: Sequence[Method],
  tasks,
  shots=(None,),
  seeds=(0,),
  tuned: Mapping[str, Mapping[Any, Mapping]] | None = None,
) -> tuple[Slot, ...]:
  """The slots of several methods in one bank.

  Args:
    methods: names of the methods to use.
    known: all methods.
    tasks: task names; see `slots.make_slots`.
    shots: numbers of examples per class, None for all.
    seeds: seeds of the draws.
    tuned: {method: {shots: {"scale": ...}}}, the factor on the learning rates
      of a method with so many shots, in place of the method's own ones.

  Raises:
    ValueError: a method is unknown, or a factor is no number.
  """
  by_name = {method.name: method for method in known}
  names = checks.sequence(
    "method_slots.methods",
    (methods,) if isinstance(methods, str) else methods,
    of=checks.choice,
    what="names",
    choices=tuple(by_name),
  )
  made = []
  for name in names:
    method, own = by_name[name], (tuned or {}).get(name)
    if not own:
      made += method.slots(tasks, shots, seeds)
      continue
    for k in shots:
      scales = method.learning_rate_scales
      if k in own:
        where = f"method_slots.tuned[{name!r}][{k}]"
        scales = (checks.mapping(where, own[k]).get("scale"),)
      changed = dataclasses.replace(method, learning_rate_scales=scales)
      made += changed.slots(tasks, (k,), seeds)
  return tuple(made)


def batch_size(slots, examples_per_slot: int) -> int:
  """Returns the size of a batch with this many examples of each slot.

  >>> batch_size(make_slots(("a", "b"), seeds=(0, 1, 2)), 32)
  192
  """
  name = "batch_size.examples_per_slot"
  return len(slots) * checks.whole(name, examples_per_slot, low=1)
