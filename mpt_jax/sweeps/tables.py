"""What a table of results is: its runs, its rows, the published numbers.

The files in gin/tables/ bind these; `sweep` runs them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Run:
  """An experiment of a table.

  Attributes:
    name: its folder in the table's MODEL_DIR. Tables that share a MODEL_DIR
      share the runs of one name.
    gin_file: the experiment file.
    defaults: {macro: value} that the run has instead of the file's; the
      command line's win over them.
    bindings: {macro: value} that make the run what it is; they win over the
      command line's.
    uses: {macro: earlier run}; the macro becomes that run's folder. A dict of
      runs becomes a dict of folders.
    per_slot: a run for each slot, in NAME/SLOT: where everything trains, tasks
      cannot share a run.
  """

  name: str
  gin_file: str
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  bindings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  uses: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  per_slot: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
  """A method in a table.

  Attributes:
    method: its name in the table.
    run: the run that has its slots; None where only the paper's numbers are.
    label: the slots' label, or its beginning up to a "-". Where a task, a
      number of shots and a seed have several such slots, these are candidates:
      the one with the best validation score, in the mean over seeds, counts.
    shots: the slots' number of examples per class, None for all examples.
    paper: {heading: expected score in percent}, as published; what is missing
      is not known here.
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


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of results.

  Attributes:
    name: of its files, NAME.md and NAME.json.
    title: its title.
    model: preset of the T5 that the published numbers are of; one that is not
      on this machine is taken for it.
    columns: {task: heading}.
    runs: in the order in which they run; what one uses comes before it.
    rows: the methods.
    average: heading of the mean over the columns.
    split: what is evaluated.
    variants: {name: {macro: value}}: all runs and rows once for each. The runs
      of a variant that binds something are in folders NAME/RUN; one that binds
      nothing shares the runs of other tables. A variant with a value of None
      is not run: it waits for the value.
    models: {variant: preset} of those with another T5.
    notes: lines below the table.
  """

  name: str
  title: str
  model: str
  columns: Mapping[str, str]
  runs: Sequence[Run]
  rows: Sequence[Row]
  average: str = "mean"
  split: str = "test"
  variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=lambda: {"": {}}
  )
  models: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()

  def __post_init__(self):
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

  def preset(self, variant) -> str:
    """The preset of a variant's T5."""
    return self.models.get(variant, self.model)

  @property
  def missing_variants(self) -> list[str]:
    """Names of the variants that wait for a value."""
    return [
      name for name, values in self.variants.items() if None in values.values()
    ]

  def left_out(self, variant) -> str:
    """Says what a variant waits for."""
    lacks = [k for k, v in self.variants[variant].items() if v is None]
    return (
      f"{variant} is left out: {', '.join(lacks)} has no value; the table's gin"
      " file names the macro that gives it"
    )
