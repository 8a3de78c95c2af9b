"""The same methods in other ways: after fewer steps, decoded, with digits."""

from collections.abc import Sequence

from mpt_jax.report import estimates, names, page
from mpt_jax.report.material import MEAN, Results
from mpt_jax.report.sections import tables, verdicts
from mpt_jax.report.sections.picture import interval, shots_name


def other_views(main: Results, views: Sequence[Results]) -> page.Section | None:
  """A table of means with a column for each view, and charts of differences.

  Args:
    main: the results that the others are views of.
    views: the others.
  """
  if not views:
    return None
  shots = estimates.sorted_shots(k for one in views for k in one.shots)
  methods = names.ordered(m for one in views for m in one.methods)
  bodies = [
    tables.Body(shots_name(k), _rows(main, views, methods, k)) for k in shots
  ]
  table = tables.Table(
    f"Mean over tasks: {main.metric}, percent",
    [tables.Text("method"), tables.Text("main"), *map(_head, views)],
    bodies,
  )
  figures = [
    verdicts.figure(one, judged, f"{one.title}, ")
    for one in views
    for judged in one.verdicts[:1]
  ]
  body = page.fill("views.html", table=table, figures=figures)
  return page.Section("Other views", body)


def _head(view: Results) -> tables.Text:
  count = sum(view.examples.values())
  return tables.Text(view.title, f"{count:,} tested")


def _rows(main, views, methods, shots) -> list[tables.TableRow]:
  rows = []
  for method in methods:
    cells = [_cell(one, method, shots) for one in (main, *views)]
    if any(cell.text != tables.MISSING for cell in cells[1:]):
      kind = "main" if method == main.main else ""
      name = tables.Text(main.names.get(method, names.title(method)))
      rows.append(tables.TableRow([name, *cells], kind))
  return rows


def _cell(results, method, shots) -> tables.Text:
  target = MEAN if len(results.targets) > 1 else results.targets[0]
  cell = results.cells.get((method, target, shots))
  if cell is None:
    return tables.Text(tables.MISSING)
  return tables.Text(results.form(cell.mean), interval(results, cell))
