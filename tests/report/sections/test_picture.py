"""The picture of the result."""

import dataclasses

from report_pages import Checker, charts, labels, make_results, scores, texts

from mpt_jax.report import estimates
from mpt_jax.report.sections import picture


def test_a_panel_for_each_target_and_the_mean_for_all_shots():
  made = picture.picture(make_results(), 16)
  Checker(made.body)
  told = labels(made.body)
  # Two numbers of shots, and two targets.
  assert len(told) == 4
  assert told[0].startswith(
    "Dot chart, k = 4 per class: MPT 61.5 (60.3 to 62.7)"
  )
  assert told[1].startswith("Dot chart, k = 16 per class: MPT 71.5")
  assert told[2].startswith("Dot chart, a, k = 16 per class: MPT 66.5")
  assert told[3].startswith("Dot chart, b, k = 16 per class: MPT 76.5")
  assert "majority 50.0" in told[0] and "SPoT 69.5" in told[1]
  panel = texts(charts(made.body)[2])
  assert {"MPT", "66.5", "SPoT", "64.5", "majority", "50.0"} <= set(panel)
  assert "Mean over 2 tasks" in made.body and "Student" in made.body


def test_a_target_with_a_relative_says_so():
  results = dataclasses.replace(make_results(), related=frozenset({"b"}))
  made = picture.picture(results, 4)
  assert made.body.count("a source task shares its skill") == 1


def test_one_number_is_no_picture():
  results = estimates.from_scores(scores("mpt", [1.0]), title="x", metric="m")
  assert picture.picture(results, 16) is None
  results = estimates.from_scores(
    scores("mpt", [1.0, 2.0]), title="x", metric="m"
  )
  assert picture.picture(results, 16) is not None


def test_many_methods_leave_out_variants():
  found = [s for i in range(9) for s in scores(f"m{i}", [1.0])]
  found += scores("mpt", [1.0]) + scores("mpt_x", [1.0])
  results = estimates.from_scores(found, title="x", metric="m")
  shown = picture.shown_methods(results)
  assert len(shown) == 10 and "mpt_x" not in shown
