"""Scores over the number of examples and over the trained parameters."""

from report_pages import charts, labels, make_results, scores, texts

from mpt_jax.report import estimates
from mpt_jax.report.sections import trends


def test_curves_over_shots():
  made = trends.over_shots(make_results())
  told = labels(made.body)
  # The mean and two targets.
  assert len(told) == 3
  assert told[1] == (
    "Line chart over k = 4 per class, k = 16 per class, a: MPT 56.5, 66.5;"
    " MPT, x 55.5, 65.5; SPoT 54.5, 64.5; majority 50.0, 50.0."
  )
  assert {"4", "16", "MPT", "examples per class"} <= set(
    texts(charts(made.body)[1])
  )


def test_one_number_of_shots_has_no_curve():
  results = estimates.from_scores(scores("mpt", [1.0]), title="x", metric="m")
  assert trends.over_shots(results) is None


def test_all_examples_come_last():
  found = scores("mpt", [1.0]) + scores("mpt", [2.0], shots=None)
  results = estimates.from_scores(found, title="x", metric="m")
  assert {"16", "all"} <= set(texts(charts(trends.over_shots(results).body)[0]))


def test_scores_over_parameters():
  results = make_results(parameters={"mpt": 77_668, "spot": 76_800})
  made = trends.over_parameters(results)
  told = labels(made.body)
  assert len(told) == 2
  assert "k = 16 per class: MPT 77,668: 71.5; SPoT 76,800: 69.5." in told[1]
  # One method alone, or none, is no comparison.
  assert trends.over_parameters(make_results()) is None
  assert trends.over_parameters(make_results(parameters={"mpt": 1})) is None
