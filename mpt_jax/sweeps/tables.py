"""A table of results: its runs, its rows and the published numbers.

The files in gin/tables/ configure these classes; `run.sweep` runs a table.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from mpt_jax.io import checks
from mpt_jax.sweeps.contest import Contest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """An experiment of a table.

  Attributes:
    name: its folder in the table's MODEL_DIR. Tables with the same MODEL_DIR
      share the runs of the same name.
    gin_file: the experiment file.
    defaults: {macro: value} in place of the file's values; the command line's
      values win over them.
    bindings: {macro: value} that define the run; they win over the command
      line's values.
    uses: {macro: earlier run}; the macro becomes that run's folder. A dict of
      runs becomes a dict of folders.
    per_slot: train each slot in a run of its own, NAME/SLOT. It is needed where
      the whole T5 trains, since tasks cannot share such a run.
  """

  name: str
  gin_file: str
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  bindings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  uses: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  per_slot: bool = False

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "name", "gin_file")
    check(checks.mapping, "defaults", "bindings", "uses")
    check(checks.flag, "per_slot")
    for macro, run in self.uses.items():
      name = f"Run.uses[{macro!r}]"
      if isinstance(run, Mapping):
        checks.mapping(name, run, of=checks.text, empty=False)
      else:
        checks.text(name, run)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A method in a table.

  Attributes:
    method: its name in the table.
    run: the run that has its slots; None for a row of published numbers only.
    label: the slots' label, or its beginning up to a "-". If several such
      slots have the same task, number of shots and seed, they are candidates:
      the label with the best validation score, averaged over seeds, counts.
    shots: the slots' number of examples per class, None for all examples.
    paper: {heading: published score in percent}; a missing score is unknown.
    parameters: trained parameters per task as published.
    source: where the published numbers are from.
  """

  method: str
  run: str | None = None
  label: str = ""
  shots: int | None = None
  paper: Mapping[str, float] = dataclasses.field(default_factory=dict)
  parameters: str = ""
  source: str = ""

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "method")
    check(checks.text, "run", optional=True)
    check(checks.text, "label", "parameters", "source", empty=True)
    check(checks.whole, "shots", low=1, optional=True)
    check(checks.mapping, "paper", of=checks.number)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """A table of results.

  Attributes:
    name: of its files, NAME.md and NAME.json.
    title: its title.
    model: preset of the T5 of the published numbers. Where the run's T5 is not
      on this machine, its size is taken from this preset.
    columns: {task: heading}. A task without one has its name as heading.
    targets: the tasks that have a column; by default those of `columns`. If
      they are other tasks, published numbers of other columns and of the
      average are left out, as they belong to other tasks.
    runs: in the order in which they run; a run comes after those that it uses.
    rows: the methods.
    contest: what the runs compare, in place of rows.
    average: heading of the mean over the columns.
    split: the split to evaluate.
    variants: {name: {macro: value}}: all runs and rows are made once for each.
      The runs of a variant that binds macros are in folders NAME/RUN; a variant
      that binds none shares the runs of other tables. A variant with a value
      of None is left out until it gets the value.
    models: {variant: preset} of the variants with another T5.
    notes: lines below the table.
  """

  name: str
  title: str
  model: str
  columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
  targets: Sequence[str] = ()
  runs: Sequence[Run]
  rows: Sequence[Row] = ()
  contest: Contest | None = None
  average: str = "mean"
  split: str = "test"
  variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=lambda: {"": {}}
  )
  models: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.text, "name", "title", "model", "average", "split")
    check(checks.mapping, "columns", of=checks.text)
    check(checks.sequence, "targets", of=checks.text, what="tasks", empty=True)
    check(checks.instance, "contest", cls=Contest, optional=True)
    if self.contest is not None:
      if self.rows:
        raise ValueError("Table.rows and Table.contest exclude each other")
      object.__setattr__(self, "targets", self.contest.targets)
    if not self.columns and not self.targets:
      raise ValueError("Table.columns and Table.targets name no task")
    parts = dict(of=checks.instance, empty=True)
    check(checks.sequence, "runs", what="runs", cls=Run, **parts)
    check(checks.sequence, "rows", what="rows", cls=Row, **parts)
    check(checks.mapping, "variants", of=checks.mapping, empty=False)
    check(checks.mapping, "models", of=checks.text)
    check(checks.sequence, "notes", of=checks.text, what="lines", empty=True)
    self._check_together()
    self._choose_columns()

  def _check_together(self):
    """Checks that runs are told apart and that rows name what there is."""
    headings = (*self.columns.values(), self.average)
    names = [run.name for run in self.runs]
    for i, name in enumerate(names):
      if name in names[:i]:
        raise ValueError(f"Table.runs: two runs are called {name!r}")
    for row in self.rows:
      unknown = sorted(set(row.paper) - set(headings))
      if unknown:
        raise ValueError(
          f"row {row.method!r}: paper has {', '.join(unknown)}, but the"
          f" headings are {', '.join(headings)}"
        )
      if row.run is not None and row.run not in names:
        raise ValueError(
          f"row {row.method!r}: no run {row.run!r}; there are"
          f" {', '.join(names)}"
        )

  def _choose_columns(self):
    """Keeps the columns of the targets, and what is published about them."""
    targets = tuple(dict.fromkeys(self.targets or self.columns))
    set_ = functools.partial(object.__setattr__, self)
    same = set(targets) == set(self.columns)
    if not same:
      set_("columns", {task: self.columns.get(task, task) for task in targets})
      set_("average", "mean")
      rows = [self._without_others(row) for row in self.rows]
      set_("rows", [row for row in rows if row.run is not None or row.paper])
    set_("targets", targets)

  def _without_others(self, row):
    paper = {k: v for k, v in row.paper.items() if k in self.columns.values()}
    return dataclasses.replace(row, paper=paper)

  def preset(self, variant) -> str:
    """The preset of a variant's T5."""
    return self.models.get(variant, self.model)

  @property
  def missing_variants(self) -> list[str]:
    """Names of the variants that lack a value."""
    return [
      name for name, values in self.variants.items() if None in values.values()
    ]

  def left_out(self, variant) -> str:
    """Says which values a variant lacks."""
    lacks = [k for k, v in self.variants[variant].items() if v is None]
    return (
      f"{variant} is left out: {', '.join(lacks)} has no value; the table's gin"
      " file names the macro that gives it"
    )


def num_tasks(tasks: Sequence[str], times: int = 1) -> int:
  """The number of tasks, times a number of examples of each."""
  return len(tasks) * times


def start_from(how: str, tasks: Sequence[str]) -> str:
  """A start that names source tasks; see `slots.Slot.init`.

  >>> start_from("best", ("glue_mnli", "squad"))
  'best:glue_mnli,squad'
  """
  return f"{how}:{','.join(tasks)}"


def spot_candidates(tasks: Sequence[str]) -> tuple[str, ...]:
  """The starts of SPoT: the prompt of each source task.

  >>> spot_candidates(("glue_mnli",))
  ('task:glue_mnli',)
  """
  return tuple(f"task:{name}" for name in tasks)
