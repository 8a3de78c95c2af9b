"""Prints and writes a table, and prints what its runs will do."""

import json
import pathlib

import rich.box
import rich.table
from rich.text import Text

from mpt_jax.backbones.shapes import num_backbone_parameters
from mpt_jax.io import files
from mpt_jax.sweeps.results import row_slots, t5_config, trained_parameters

MISSING = "–"
UNKNOWN = "?"
DIVERGED = "!"


def _headings(table):
  return [*table.columns.values(), table.average]


def _published(line, headings) -> list[str]:
  """Returns the paper's cells of a line; none if no number is published."""
  values = [line.row.paper.get(heading) for heading in headings]
  if all(value is None for value in values):
    return []
  scores = [UNKNOWN if value is None else f"{value:.1f}" for value in values]
  return ["paper", line.row.parameters or UNKNOWN, *scores]


def _mean(line, heading):
  cell = line.cells.get(heading)
  if cell is None:
    return MISSING
  return f"{cell.mean:.1f}{DIVERGED if heading in line.diverged else ''}"


def _parameters(line):
  return MISSING if line.parameters is None else f"{line.parameters:,.0f}"


def _notes(table, lines):
  metrics = {}
  for line in lines:
    metrics.update(line.metrics)
  notes = [f"{MISSING}: not measured yet."]
  if any(UNKNOWN in _published(line, _headings(table)) for line in lines):
    notes[0] += f" {UNKNOWN}: the published number is not known here."
  if metrics:
    named = "; ".join(f"{k} {v}" for k, v in metrics.items())
    notes.append(f"Split: {table.split}. Metrics: {named}. In percent.")
  if any(cell.std is not None for ln in lines for cell in ln.cells.values()):
    notes.append("± is the sample standard deviation over seeds.")
  sources = {}
  for line in lines:
    if line.row.source and line.row.paper:
      sources.setdefault(line.row.source, []).append(line.row.method)
  for source, methods in sources.items():
    notes.append(f"{', '.join(dict.fromkeys(methods))}: {source}.")
  diverged = dict.fromkeys(
    name for line in lines for names in line.diverged.values() for name in names
  )
  if diverged:
    notes.append(
      f"{DIVERGED}: with slots that diverged, at their last good state:"
      f" {', '.join(diverged)}."
    )
  return [*notes, *table.notes]


def rich_table(table, lines) -> rich.table.Table:
  """The table for the terminal.

  Each row has a line of our scores, one of their deviations and, if there are
  any, one of the paper's scores.
  """
  drawn = rich.table.Table(
    title=table.title,
    title_justify="left",
    box=rich.box.SIMPLE_HEAD,
    padding=(0, 1, 0, 0),
    pad_edge=False,
    show_edge=False,
  )
  drawn.add_column("method", overflow="fold", vertical="top")
  drawn.add_column("")
  drawn.add_column("trained\nper task", justify="right", no_wrap=True)
  for heading in _headings(table):
    drawn.add_column(heading, justify="right", overflow="fold")
  for line in lines:
    cells = [line.cells.get(h) for h in _headings(table)]
    rows = []
    if line.row.run is not None:
      means = [_mean(line, heading) for heading in _headings(table)]
      rows.append(["here", _parameters(line), *means])
      stds = [None if c is None else c.std for c in cells]
      if any(std is not None for std in stds):
        shown = ("" if std is None else f"±{std:.1f}" for std in stds)
        rows.append(["", "", *shown])
    published = _published(line, _headings(table))
    rows += [published] if published else []
    for i, row in enumerate(rows):
      drawn.add_row(
        *(Text(x) for x in (line.method if i == 0 else "", *row)),
        end_section=i + 1 == len(rows),
      )
  return drawn


def print_table(table, lines, console):
  """Prints the table and its notes."""
  console.print(rich_table(table, lines))
  for note in _notes(table, lines):
    console.print(Text(note))


def markdown(table, lines) -> str:
  """The table in Markdown."""
  headings = _headings(table)
  head = ["method", "", "trained per task", *headings]
  rows = [head, ["---", "---", *["---:"] * (len(headings) + 1)]]
  for line in lines:
    if line.row.run is not None:
      values = []
      for heading in headings:
        cell = line.cells.get(heading)
        text = _mean(line, heading)
        if cell is not None and cell.std is not None:
          text += f" ± {cell.std:.1f}"
        values.append(text)
      rows.append([line.method, "here", _parameters(line), *values])
    if published := _published(line, headings):
      rows.append([line.method, *published])
  body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
  notes = "\n".join(f"- {note}" for note in _notes(table, lines))
  return f"# {table.title}\n\n{body}\n\n{notes}\n"


def as_json(table, lines) -> dict:
  """The table as a dict for JSON, with all digits."""
  return {
    "table": table.name,
    "title": table.title,
    "split": table.split,
    "columns": dict(table.columns),
    "average": table.average,
    "rows": [
      {
        "method": line.method,
        "shots": line.row.shots,
        "trained_per_task": line.parameters,
        "here": {k: c._asdict() for k, c in line.cells.items()},
        "draws": {
          heading: {str(seed): score for seed, score in draws.items()}
          for heading, draws in line.draws.items()
        },
        "chosen": line.labels,
        "diverged": line.diverged,
        "metrics": line.metrics,
        "paper": dict(line.row.paper),
        "paper_trained_per_task": line.row.parameters,
        "source": line.row.source,
      }
      for line in lines
    ],
    "notes": _notes(table, lines),
    "remarks": list(table.notes),
  }


def write_files(table, lines, model_dir):
  """Writes NAME.md and NAME.json, in one move each."""
  folder = pathlib.Path(model_dir)
  text = json.dumps(as_json(table, lines), indent=2) + "\n"
  files.write_text(folder / f"{table.name}.json", text)
  files.write_text(folder / f"{table.name}.md", markdown(table, lines))


def _settings(table, run):
  """(what, value) pairs of a run."""
  e = run.experiment
  slots, o = e.slots, e.optimizer
  preset = table.preset(run.variant)
  config, found = t5_config(preset, e)
  size = num_backbone_parameters(config)
  where = "" if found else f" (not here, taken for {preset})"
  yield (
    "model",
    f"{e.backbone}{where}, {size:,} parameters, {e.dtype}; published: {preset}",
  )
  yield "tasks", ", ".join(dict.fromkeys(slot.task for slot in slots))
  draws = {(slot.shots, slot.seed) for slot in slots}
  labels = dict.fromkeys(slot.label for slot in slots)
  yield (
    "slots",
    f"{len(slots)}: tasks × {len(draws)} draws × {len(labels)} settings",
  )
  period = f"evaluation each {e.eval.period:,}" if e.eval else "no evaluation"
  yield "steps", f"{e.total_steps:,}, {period}"
  share = f"{e.mix.batch_size // len(slots)} of each slot"
  if e.mix.mixing != "all":
    share = f"of K tasks, K from {e.mix.min_tasks} to"
    share += f" {e.mix.max_tasks or len(slots)}"
  yield "batch", f"{e.mix.batch_size} examples, {share}"
  yield (
    "lengths",
    f"inputs {e.batch.inputs_length}, targets {e.batch.targets_length}, prompt"
    f" {e.prompt_length}, rank {e.rank}, {e.prompt_kind}",
  )
  distill = e.loss.distill
  if distill is not None:
    yield (
      "distillation",
      f"λ {distill.weight:g}, temperature {distill.temperature:g},"
      f" {'logits and hidden states' if distill.hidden else 'logits'}",
    )
  rates = f"{o.learning_rate}"
  if e.prompt_length:
    rates = f"P* {o.learning_rate}, factors {o.factor_learning_rate}"
    scales = sorted({slot.learning_rate_scale for slot in slots})
    if scales != [1.0]:
      rates += f", times {', '.join(f'{x:g}' for x in scales)}"
  yield (
    "learning rates",
    f"{rates}; {o.name}, weight decay {o.weight_decay:g}, clip"
    f" {o.clip_norm:g}, {o.schedule}, warm-up {o.warmup_fraction:g}",
  )
  yield "trains", f"{trained_parameters(e, slots, config):,} parameters in all"
  if run.uses:
    yield "uses", ", ".join(dict.fromkeys(run.uses))
  rows = [row for row in table.rows if row_slots(table, row, run)]
  for row in rows:
    of_row = row_slots(table, row, run)
    per_task = trained_parameters(e, of_row, config) / len(of_row)
    headings = {table.columns[slot.task] for slot in of_row}
    headings |= (
      {table.average} if len(headings) == len(table.columns) else set()
    )
    scores = [f"{k} {v}" for k, v in row.paper.items() if k in headings]
    expected = "not known here"
    if scores:
      expected = f"{', '.join(scores)} ({row.source})"
    trained = f"{per_task:,.0f} trained per task"
    if row.parameters:
      trained += f", {row.parameters} published"
    yield "expected", f"{row.method} ({trained}): {expected}"
  if not rows:
    yield "expected", "nothing published; the scores of the targets judge it"


def print_plan(table, planned, console, command=None):
  """Prints what each run is: model, steps, rates, counts, expected scores.

  Args:
    table: the table.
    planned: its runs.
    console: where to.
    command: a function that gives a run's shell command, to be printed below
      the run; None prints none.
  """
  console.print(Text(table.title, style="bold"))
  for run in planned:
    console.print(
      Text.assemble(
        "\n", (run.name, "bold"), f"  {run.run.gin_file}, {run.status}"
      )
    )
    grid = rich.table.Table.grid(padding=(0, 2))
    for name, value in _settings(table, run):
      grid.add_row(f"  {name}", Text(value))
    console.print(grid)
    if command is not None:
      console.print(Text(f"  {command(run)}"), soft_wrap=True)
  for name in table.missing_variants:
    console.print(Text(f"\n{table.left_out(name)}"))


def print_missing(missing, console):
  """Prints which tasks have no data here: {task: how to get it}."""
  if missing:
    console.print(Text("\ndata that is not here", style="bold"))
  for task, text in missing.items():
    console.print(Text(f"  {task}: {text}"), soft_wrap=True)
