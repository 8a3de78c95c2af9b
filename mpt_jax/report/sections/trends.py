"""Scores over the number of examples, and over the trained parameters."""

from mpt_jax.report import charts, names, page
from mpt_jax.report.material import MEAN, Results
from mpt_jax.report.sections.picture import shots_name, shown_methods
from mpt_jax.report.svg import Figure


def over_shots(results: Results) -> page.Section | None:
  """Curves over k with bands; None for a single k."""
  if len(results.shots) < 2:
    return None
  methods = shown_methods(results)
  places = [MEAN] if any(t == MEAN for _, t, _ in results.cells) else []
  figures = [
    _shots_figure(results, methods, target)
    for target in [*places, *results.targets]
  ]
  body = page.fill(
    "figures.html",
    before=["A band is the 95 % interval of a mean."],
    groups=[{"title": "", "figures": figures}],
    after=(),
  )
  return page.Section("More examples", body)


def _shots_figure(results, methods, target) -> Figure:
  places = {k: i for i, k in enumerate(results.shots)}
  colors = names.colors(results.methods, results.main)
  curves, told = [], []
  for method in methods:
    cells = [
      (k, results.cells[method, target, k])
      for k in results.shots
      if (method, target, k) in results.cells
    ]
    if not cells:
      continue
    ends = [cell.interval or (cell.mean, cell.mean) for _, cell in cells]
    curves.append(
      charts.Line(
        name=results.name(method),
        color=colors[method],
        xs=[places[k] for k, _ in cells],
        ys=[cell.mean for _, cell in cells],
        band=tuple(zip(*ends, strict=True)),
        dashed=len({cell.mean for _, cell in cells}) == 1,
        is_plain=method in names.PLAIN,
      )
    )
    values = ", ".join(results.form(cell.mean) for _, cell in cells)
    told.append(f"{results.name(method)} {values}")
  where = target or "mean over tasks"
  label = f"Line chart over {', '.join(map(shots_name, places))}, {where}:"
  svg = charts.lines(
    curves,
    f"{label} {'; '.join(told)}.",
    "examples per class",
    results.metric + (", %" if results.digits == 1 else ""),
    {i: "all" if k is None else str(k) for k, i in places.items()},
  )
  return Figure(svg, where)


def over_parameters(results: Results) -> page.Section | None:
  """Scores over trained parameters, if those of two methods are known."""
  target = MEAN if len(results.targets) > 1 else results.targets[0]
  figures = []
  for k in results.shots:
    known = [
      method
      for method in results.methods
      if results.parameters.get(method) and (method, target, k) in results.cells
    ]
    if len(known) > 1:
      figures.append(_parameters_figure(results, known, target, k))
  if not figures:
    return None
  body = page.fill(
    "figures.html",
    before=(),
    groups=[{"title": "", "figures": figures}],
    after=(),
  )
  return page.Section("Trained parameters", body)


def _parameters_figure(results, methods, target, shots) -> Figure:
  colors = names.colors(results.methods, results.main)
  found, told = [], []
  for method in methods:
    cell = results.cells[method, target, shots]
    count = results.parameters[method]
    ends = cell.interval
    found.append(
      charts.Line(
        name=results.name(method),
        color=colors[method],
        xs=[count],
        ys=[cell.mean],
        band=ends and ((ends[0],), (ends[1],)),
      )
    )
    told.append(
      f"{results.name(method)} {count:,.0f}: {results.form(cell.mean)}"
    )
  where = target or "mean over tasks"
  if results.shots != (None,):
    where += f", {shots_name(shots)}"
  svg = charts.points(
    found,
    f"Chart of scores over trained parameters, {where}: {'; '.join(told)}.",
    "trained parameters of a task",
    results.metric + (", %" if results.digits == 1 else ""),
  )
  return Figure(svg, where)
