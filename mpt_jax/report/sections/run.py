"""What was run, and several runs beside each other."""

from collections.abc import Sequence

from mpt_jax.report import page
from mpt_jax.report.material import MEAN, Material
from mpt_jax.report.sections import tables

# Most settings that stand beside the runs of a comparison.
MOST_SETTINGS = 8
_FIRST = ("version", "command", "date", "processor", "devices", "python")


def plain(value) -> str:
  """A value of a file in words.

  >>> plain({"teach_steps": 1200, "shots": [16, 64], "seconds": 1.25})
  'teach steps 1,200, shots 16, 64, seconds 1.25'
  """
  if isinstance(value, dict):
    return ", ".join(
      f"{str(k).replace('_', ' ')} {plain(v)}" for k, v in value.items()
    )
  if isinstance(value, (list, tuple)):
    return ", ".join(map(plain, value))
  if isinstance(value, float):
    return f"{value:,.4g}"
  if isinstance(value, int) and not isinstance(value, bool):
    return f"{value:,}"
  return "none" if value is None else str(value)


def _capital(name: str) -> str:
  return name[:1].upper() + name[1:].replace("_", " ")


def what_was_run(material: Material) -> page.Section | None:
  """Version, command, date, processor, data and settings."""
  if not (material.facts or material.data or material.config):
    return None
  facts = dict(material.facts)
  order = [*(k for k in _FIRST if k in facts), *facts]
  body = page.fill(
    "facts.html",
    facts=[
      (_capital(str(name)), plain(facts[name])) for name in dict.fromkeys(order)
    ],
    data=material.data,
    config=material.config,
    commands=material.commands,
  )
  return page.Section("What was run", body)


def side_by_side(
  materials: Sequence[Material], shots: int | None = None
) -> page.Section:
  """A table with one row for each run.

  Args:
    materials: the runs.
    shots: see `Results.shown_shots`.
  """
  settings = _settings_columns(materials)
  columns = [
    *_results_columns(materials, shots),
    *_training_columns(materials),
    *settings[:MOST_SETTINGS],
  ]
  rows = [
    (
      one.name,
      one.kind,
      *(values.get(i, tables.MISSING) for _, values in columns),
    )
    for i, one in enumerate(materials)
  ]
  table = tables.plain_table(
    "One row for each run",
    ("run", "kind", *(title for title, _ in columns)),
    rows,
    "wide",
  )
  after = []
  if len(settings) > MOST_SETTINGS:
    more = ", ".join(name for name, _ in settings[MOST_SETTINGS:])
    after.append(f"The runs differ in these settings too: {more}.")
  body = page.fill("table.html", before=(), tables=[table], after=after)
  return page.Section("Side by side", body)


def _results_columns(materials, shots) -> list[tuple[str, dict[int, str]]]:
  """The mean of each method in the first results of each run."""
  columns = {}
  for i, one in enumerate(materials):
    for results in one.results[:1]:
      k = results.shown_shots(shots)
      target = MEAN if len(results.targets) > 1 else results.targets[0]
      for method in results.methods:
        cell = results.cells.get((method, target, k))
        if cell is not None:
          title = f"{results.name(method)}, {results.metric}"
          columns.setdefault(title, {})[i] = results.form(cell.mean)
  return list(columns.items())


def _training_columns(materials) -> list[tuple[str, dict[int, str]]]:
  steps, loss, best = {}, {}, {}
  for i, one in enumerate(materials):
    if len(one.trainings) != 1:
      continue
    (training,) = one.trainings
    steps[i] = f"{training.steps:,}"
    if training.total_steps is not None:
      steps[i] += f" of {training.total_steps:,}"
    if training.loss.points:
      loss[i] = f"{training.loss.points[-1][1]:.4g}"
    if training.score.points:
      step, value = max(training.score.points, key=lambda point: point[1])
      scale = 100 if training.digits == 1 else 1
      best[i] = f"{scale * value:.{training.digits}f} (step {step:,})"
  named = (("steps", steps), ("last loss", loss), ("best score", best))
  return [(title, values) for title, values in named if values]


def _settings_columns(materials) -> list[tuple[str, dict[int, str]]]:
  """The settings in which the runs differ."""
  settings = {
    i: one.trainings[0].settings
    for i, one in enumerate(materials)
    if len(one.trainings) == 1
  }
  columns = []
  for name in dict.fromkeys(n for own in settings.values() for n in own):
    values = {i: plain(own[name]) for i, own in settings.items() if name in own}
    if len(set(values.values())) > 1:
      columns.append((name, values))
  return columns
