"""Variants less their method."""

from report_pages import charts, labels, make_results, scores, texts

from mpt_jax.report import estimates
from mpt_jax.report.sections import ablations


def test_bars_of_variants():
  made = ablations.ablations(make_results())
  told = labels(made.body)
  assert told == [
    "Bar chart, k = 4 per class: MPT, x −1.0 (−1.0 to −1.0).",
    "Bar chart, k = 16 per class: MPT, x −1.0 (−1.0 to −1.0).",
  ]
  chart = charts(made.body)[1]
  assert {"x", "−1.0", "points"} <= set(texts(chart))
  # Worse ones are orange.
  assert "fill: var(--c2)" in chart.toxml()


def test_without_variants():
  found = scores("mpt", [1.0]) + scores("spot", [1.0])
  results = estimates.from_scores(found, title="x", metric="m")
  assert ablations.ablations(results) is None
