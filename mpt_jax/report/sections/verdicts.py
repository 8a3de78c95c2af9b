"""Is it better? The main method against each other one."""

from mpt_jax.judgement.verdicts import Comparison
from mpt_jax.report import charts, names, page
from mpt_jax.report.material import Results, Verdicts
from mpt_jax.report.svg import Figure

_HOW = (
  "Differences are means over targets, paired by draw. Intervals (95 %) and p"
  " come from a bootstrap over targets, draws and test examples; p is corrected"
  " by Holm's method for the comparisons of one chart."
)


def verdict_list(results: Results) -> page.Section | None:
  """Charts of differences, and a sentence for each pair of methods.

  Returns:
    The section, None if nothing was compared.
  """
  if not results.verdicts:
    return None
  figures = [
    figure(results, one) for one in results.verdicts if one.comparisons
  ]
  body = page.fill(
    "verdicts.html",
    before=[_HOW] if figures else [],
    figures=figures,
    verdicts=results.verdicts,
  )
  return page.Section("Is it better?", body)


def figure(results: Results, verdicts: Verdicts, before: str = "") -> Figure:
  """A chart of the main method less each other one.

  Args:
    results: where the names of the methods are.
    verdicts: the comparisons.
    before: stands before the title.
  """
  colors = names.colors(results.methods, results.main)
  rows = [
    charts.Row(
      name=results.name(one.baseline),
      color=colors.get(one.baseline, 0),
      value=one.mean,
      interval=(one.low, one.high),
      text=f"{_signed(one.mean)}  {_p(one)}",
      is_plain=one.baseline in names.PLAIN,
    )
    for one in verdicts.comparisons
  ]
  told = "; ".join(
    f"{results.name(one.baseline)} {_signed(one.mean)} ({_signed(one.low)} to"
    f" {_signed(one.high)}), {_p(one)}"
    for one in verdicts.comparisons
  )
  main = results.name(results.main)
  label = f"Dot chart, {before}{verdicts.title}: {main} less {told}."
  svg = charts.dots(rows, label, f"{main} less the other, points", zero=True)
  where, _, count = verdicts.title.partition("; ")
  return Figure(svg, before + where, count)


def _signed(value: float) -> str:
  return f"{value:+.1f}".replace("-", "−")


def _p(one: Comparison) -> str:
  return "p < .001" if one.adjusted < 0.001 else f"p {one.adjusted:.3f}"
