"""A contest: methods that answer the same examples of the same targets.

A table with a contest has no published numbers to stand beside. It keeps what
each method answered, so that every score can be computed again. The files in
gin/tables/ configure these classes.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mpt_jax.inference.engine.example import METHODS
from mpt_jax.io import checks
from mpt_jax.judgement.outcomes import Trial

MAIN = "main"
# The method of a run that trains the whole T5; its slots have no label.
FINETUNE = "finetune"
MAJORITY, TFIDF, NO_PROMPT = "majority", "tfidf_lr", "no_prompt"
BASELINES = (MAJORITY, TFIDF, NO_PROMPT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
  """One way to look at the trained prompts, besides the main one.

  Attributes:
    name: of its folder.
    methods: the methods that take part; all by default.
    shots: their numbers of training examples per class; all by default.
    targets: the tasks to answer; the contest's by default.
    evaluation: how they are answered, see `EvalConfig.method`.
    steps: answer with the prompts after so many steps, which the runs must keep
      (`train.prompt_steps`); None for those of the end.
    max_examples: test examples of each target; the contest's by default.
  """

  name: str
  methods: Sequence[str] = ()
  shots: Sequence[int | None] = ()
  targets: Sequence[str] = ()
  evaluation: str = "auto"
  steps: int | None = None
  max_examples: int | None = None

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "name")
    names = dict(of=checks.text, empty=True)
    check(checks.sequence, "methods", what="methods", **names)
    check(checks.sequence, "targets", what="tasks", **names)
    numbers = dict(of=_num_shots, what="whole numbers or None", empty=True)
    check(checks.sequence, "shots", **numbers)
    check(checks.choice, "evaluation", choices=METHODS)
    check(checks.whole, "steps", "max_examples", low=1, optional=True)


def _num_shots(name, value):
  return value if value is None else checks.whole(name, value, low=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
  """What a table compares.

  The method of a slot is its label, and `FINETUNE` where the whole T5 trains.
  Prompts without a label, such as teachers, take no part.

  Attributes:
    targets: the tasks.
    related: those tasks whose skill a source task shares; others may be named.
    split: the split to answer.
    max_examples: answer the first so many examples of each target; None for
      all.
    baselines: those of `BASELINES` that take part.
    views: further ways to look at the same prompts.
    tuned: {method: {shots: {"scale": factor on the learning rate, "steps":
      number of steps, None for all}}}, as `tuning.choose` makes it. Here the
      steps count: a method answers with the prompts of this step.
    chooses: whether `tuned` is made from this contest. It then reads the
      validation split alone.
    closed: tasks that a contest which chooses must not read: the targets of
      the contest that it chooses for.
  """

  targets: Sequence[str]
  related: Sequence[str] = ()
  split: str = "test"
  max_examples: int | None = None
  baselines: Sequence[str] = BASELINES
  views: Sequence[View] = ()
  tuned: Mapping[str, Mapping[Any, Mapping]] = dataclasses.field(
    default_factory=dict
  )
  chooses: bool = False
  closed: Sequence[str] = ()

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    names = dict(of=checks.text, what="tasks")
    check(checks.sequence, "targets", **names)
    check(checks.sequence, "related", "closed", empty=True, **names)
    check(checks.text, "split")
    check(checks.whole, "max_examples", low=1, optional=True)
    known = dict(of=checks.choice, what="baselines", choices=BASELINES)
    check(checks.sequence, "baselines", empty=True, **known)
    views = dict(of=checks.instance, what="views", cls=View, empty=True)
    check(checks.sequence, "views", **views)
    check(checks.mapping, "tuned", of=checks.instance, cls=Mapping)
    check(checks.flag, "chooses")
    names = [MAIN, *(view.name for view in self.views)]
    for i, name in enumerate(names):
      if name in names[:i]:
        raise ValueError(f"Contest.views: two views are called {name!r}")
    if self.chooses and self.split != "validation":
      raise ValueError(
        "a contest that chooses settings (Contest.chooses) reads the split"
        f" 'validation' alone, but Contest.split={self.split!r}"
      )

  @property
  def all_views(self) -> list[View]:
    """The main view and the others, with all defaults filled in."""
    return [
      dataclasses.replace(
        view,
        targets=view.targets or self.targets,
        max_examples=view.max_examples or self.max_examples,
      )
      for view in (View(name=MAIN), *self.views)
    ]

  def baselines_of(self, view: View) -> list[str]:
    """The baselines that take part in a view; none learns step by step."""
    if view.steps is not None:
      return []
    return [b for b in self.baselines if not view.methods or b in view.methods]

  def slots(self, view: View, run) -> dict[int | None, list]:
    """The slots of a planned run that answer in a view.

    Args:
      view: one of `all_views`.
      run: a `plan.PlannedRun`.

    Returns:
      {steps: slots}: the step whose prompts answer, None for the end.
    """
    trains_all = run.experiment.trainable == "everything"
    found = {}
    for slot in run.experiment.slots:
      method = trial(slot).method
      if (
        slot.task in view.targets
        and (slot.label or trains_all)
        and (not view.methods or method in view.methods)
        and (not view.shots or slot.shots in view.shots)
        and not (trains_all and view.steps)
      ):
        steps = view.steps
        if steps is None:
          chosen = self.tuned.get(method, {}).get(slot.shots, {})
          steps = chosen.get("steps")
        if steps == run.experiment.total_steps:
          steps = None
        found.setdefault(steps, []).append(slot)
    return found


def tasks_of(contest: Contest, run) -> set[str]:
  """The tasks of a planned run that are answered in any view."""
  return {
    slot.task
    for view in contest.all_views
    for slots in contest.slots(view, run).values()
    for slot in slots
  }


def trial(slot) -> Trial:
  """The trial that a slot is."""
  return Trial(slot.label or FINETUNE, slot.task, slot.shots, slot.seed)


def check_run(contest: Contest, run, planned):
  """Checks, before a run is trained, that the contest can use it.

  Args:
    contest: the contest.
    run: one of `planned`, a `plan.PlannedRun`.
    planned: all runs.

  Raises:
    ValueError: neither the contest nor another run uses the run, a step that a
      view asks for is not kept, or one to keep comes after the last, two slots
      are the same trial, or a contest that chooses would read a task that is
      closed to it.
  """
  kept = run.arguments.get("prompt_steps", ())
  total_steps = run.experiment.total_steps
  if any(step > total_steps for step in kept):
    raise ValueError(
      f"train.prompt_steps={kept} has a step after the last one, {total_steps}"
    )
  used = any(run.name in other.uses for other in planned)
  for view in contest.all_views:
    by_steps = contest.slots(view, run)
    used = used or bool(by_steps)
    for steps in by_steps:
      if steps is not None and steps not in kept:
        raise ValueError(
          f"step {steps} is asked for (view {view.name!r}, or Contest.tuned),"
          f" but train.prompt_steps={kept} and the run has"
          f" {total_steps} steps"
        )
    trials = [trial(slot) for slots in by_steps.values() for slot in slots]
    for one, count in collections.Counter(trials).items():
      if count > 1:
        raise ValueError(f"two slots are {one}; give them different labels")
  if not used:
    raise ValueError(
      "neither the contest nor another run uses any slot of it, such as"
      f" {run.experiment.slots[0].name!r}; Contest.targets are"
      f" {', '.join(contest.targets)}"
    )
  if contest.chooses:
    closed = [s.task for s in run.experiment.slots if s.task in contest.closed]
    if closed:
      raise ValueError(
        f"the task {closed[0]!r} must not be read by a contest that chooses"
        " settings for it (Contest.closed)"
      )


def check_contest(contest: Contest, planned):
  """Checks that all targets are answered by somebody.

  The targets of other views may be trained in runs that a table leaves out.

  Raises:
    ValueError: no run has a slot for a target.
  """
  answered = set().union(*(tasks_of(contest, run) for run in planned))
  for task in contest.targets:
    if task not in answered:
      raise ValueError(
        f"Contest.targets: no run trains a prompt with a label on {task!r}"
      )
