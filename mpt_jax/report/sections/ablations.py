"""Ablations as bars: a method's variants less the method."""

from mpt_jax.report import charts, page
from mpt_jax.report.material import Results
from mpt_jax.report.sections.picture import at_shots
from mpt_jax.report.svg import Figure


def ablations(results: Results) -> page.Section | None:
  """Bars of the main method's variants; None if it has none."""
  figures = [
    _figure(results, k)
    for k in results.shots
    if any(shots == k for _, shots in results.differences)
  ]
  if not figures:
    return None
  main = results.name(results.main)
  body = page.fill(
    "figures.html",
    before=[
      f"A bar is a variant less {main}, the mean over targets; a thin line is"
      " its 95 % interval. A variant on the left is worse."
    ],
    groups=[{"title": "", "figures": figures}],
    after=(),
  )
  return page.Section("Ablations", body)


def _figure(results, shots) -> Figure:
  found = [
    (method, difference)
    for (method, k), difference in results.differences.items()
    if k == shots
  ]
  found.sort(key=lambda pair: pair[1].mean)
  rows, told = [], []
  for method, difference in found:
    name, mean = results.name(method), _signed(results, difference.mean)
    text = mean
    if difference.interval is not None:
      low, high = (_signed(results, end) for end in difference.interval)
      text += f" ({low} to {high})"
    told.append(f"{name} {text}")
    rows.append(
      charts.Row(
        name=_short(name, results.name(results.main)),
        # Blue is better and orange is worse.
        color=0 if difference.mean > 0 else 2,
        value=difference.mean,
        interval=difference.interval,
        text=mean,
      )
    )
  where = at_shots(results, shots)
  label = f"Bar chart{', ' + where if where else ''}: {'; '.join(told)}."
  return Figure(charts.bars(rows, label, "points"), where or results.metric)


def _signed(results, value) -> str:
  return f"{value:+.{results.digits}f}".replace("-", "−")


def _short(name: str, main: str) -> str:
  """The name of a variant without that of its method.

  >>> _short("MPT, rank 2", "MPT")
  'rank 2'
  """
  rest = name.removeprefix(main).lstrip(" ,:-_")
  return rest or name
