"""A picture of the result: a dot for each draw, an interval for each method."""

from mpt_jax.report import charts, names, page
from mpt_jax.report.material import MEAN, Cell, Results
from mpt_jax.report.svg import Figure

# With more methods than this, pictures leave out the main method's variants.
MOST_METHODS = 10


def shots_name(shots: int | None) -> str:
  """Says how many examples a method learns from.

  >>> shots_name(16), shots_name(None)
  ('k = 16 per class', 'all examples')
  """
  return "all examples" if shots is None else f"k = {shots} per class"


def at_shots(results: Results, shots: int | None) -> str:
  """Like `shots_name`; "" where there is only one training set, the whole."""
  return "" if results.shots == (None,) else shots_name(shots)


def shown_methods(results: Results) -> list[str]:
  """The methods of a picture."""
  if len(results.methods) <= MOST_METHODS:
    return list(results.methods)
  return [m for m in results.methods if not names.is_variant(m, results.main)]


def interval(results: Results, cell: Cell) -> str:
  """The interval of a cell as text; "" if it has none, or no width."""
  if cell.interval is None or cell.interval[0] == cell.interval[1]:
    return ""
  low, high = map(results.form, cell.interval)
  return f"{low} to {high}"


def picture(results: Results, shots: int | None) -> page.Section | None:
  """The picture: the mean over targets for all shots, then each target.

  Args:
    results: the scores.
    shots: the number of shots of the targets' panels.

  Returns:
    The section, None for one method with one draw of each task.
  """
  draws = any(len(cell.draws) > 1 for cell in results.cells.values())
  if len(results.methods) < 2 and not draws:
    return None
  methods = shown_methods(results)
  colors = names.colors(results.methods, results.main)
  groups = []
  means = [
    _panel(results, methods, colors, MEAN, k)
    for k in results.shots
    if any((m, MEAN, k) in results.cells for m in methods)
  ]
  if means:
    count = len(results.targets)
    groups.append({"title": f"Mean over {count} tasks", "figures": means})
  panels = [
    _panel(results, methods, colors, target, shots)
    for target in results.targets
    if any((m, target, shots) in results.cells for m in methods)
  ]
  title = ", ".join(filter(None, ("Each task", at_shots(results, shots))))
  groups.append({"title": title if means else "", "figures": panels})
  before = []
  if draws:
    before.append(
      "A small dot is one draw of the training examples, a large dot the mean,"
      " and a line its interval. The axes of the panels differ; a triangle is a"
      " value beyond the axis."
    )
  body = page.fill(
    "figures.html",
    before=before,
    groups=groups,
    after=filter(None, [results.how]),
  )
  return page.Section("Result", body)


def _panel(results, methods, colors, target, shots) -> Figure:
  rows, told = [], []
  for method in methods:
    cell = results.cells.get((method, target, shots))
    if cell is None:
      continue
    name, mean = results.name(method), results.form(cell.mean)
    rows.append(
      charts.Row(
        name=name,
        color=colors[method],
        value=cell.mean,
        interval=cell.interval,
        draws=[score for _, score in cell.draws],
        text=mean,
        is_plain=method in names.PLAIN,
      )
    )
    ends = interval(results, cell)
    told.append(f"{name} {mean}" + (f" ({ends})" if ends else ""))
  title = at_shots(results, shots) if target == MEAN else target
  where = ", ".join(filter(None, (target, at_shots(results, shots))))
  caption = ""
  if results.related and target in results.related:
    caption = "a source task shares its skill"
  label = f"Dot chart, {where or 'mean'}: {'; '.join(told)}."
  unit = "%" if results.digits == 1 else ""
  axis = f"{results.metric}, {unit}" if unit else results.metric
  return Figure(charts.dots(rows, label, axis), title, caption)
