"""The same methods in other ways, beside the main results."""

import dataclasses

from report_pages import Checker, labels, make_outcomes, make_results, scores

from mpt_jax.report import estimates, judging
from mpt_jax.report.sections import views


def test_a_column_for_each_view():
  results = make_results()
  fewer = estimates.from_scores(
    scores("mpt", [40.0]) + scores("mpt", [50.0], "b"),
    title="steps_10",
    metric="accuracy",
  )
  one = dataclasses.replace(fewer, title="one", targets=("a",))
  made = views.other_views(results, [fewer, one])
  (table,) = Checker(made.body).tables
  assert table == [
    ["method", "main", "steps_10|0 tested", "one|0 tested"],
    ["k = 16 per class"],
    # (66.5 + 76.5) / 2 for the main results, and (40 + 50) / 2.
    ["MPT", "71.5|70.3 to 72.7", "45.0", "40.0"],
  ]
  assert "<svg" not in made.body
  assert views.other_views(results, []) is None


def test_differences_of_each_view():
  outcomes = make_outcomes(shots=(16,))
  made = [
    judging.from_outcomes(outcomes, title=title, num_samples=30)
    for title in ("main", "decode")
  ]
  section = views.other_views(made[0], made[1:])
  # All targets alone, without the parts with and without a relative.
  (label,) = labels(section.body)
  assert label.startswith("Dot chart, decode, k = 16 per class; 2 targets")
  assert "40 tested" in section.body
