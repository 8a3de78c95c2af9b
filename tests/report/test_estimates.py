"""Means, intervals and paired differences of scores, by hand and by scipy."""

import pytest
from report_pages import make_results, scores
from scipy import stats

from mpt_jax.report import estimates
from mpt_jax.report.material import MEAN, Score


def test_students_interval_is_scipys():
  values = [50.0, 53.0, 61.0, 60.0]
  mean, error = sum(values) / 4, stats.sem(values)
  expected = stats.t.interval(0.95, 3, loc=mean, scale=error)
  assert estimates.student(values) == pytest.approx(expected)
  std = error * 2  # The root of 4 values.
  assert estimates.student_of(mean, std, 4) == pytest.approx(expected)
  # Of two values it would be 12.7 standard errors wide.
  assert estimates.student(values[:2]) is None
  assert estimates.student_of(1.0, None, 1) is None


def test_means_and_draws_by_hand():
  results = make_results()
  assert results.methods == ("mpt", "mpt_x", "spot", "majority")
  assert results.targets == ("a", "b") and results.shots == (4, 16)
  cell = results.cells["mpt", "a", 16]
  # 50 + 10 + 6, and 0, 0.5 and 1 for the draws.
  assert cell.draws == ((0, 66.0), (1, 66.5), (2, 67.0))
  assert cell.mean == pytest.approx(66.5)
  assert cell.interval == pytest.approx(estimates.student([66.0, 66.5, 67.0]))
  mean = results.cells["mpt", MEAN, 16]
  # The other target is 10 above it, so the mean is 5 above it.
  assert mean.draws == ((0, 71.0), (1, 71.5), (2, 72.0))
  assert mean.mean == pytest.approx(71.5)
  assert results.main == "mpt" and results.name("mpt_x") == "MPT, x"


def test_a_method_without_examples_holds_for_all_shots():
  results = make_results()
  for shots in (4, 16):
    assert results.cells["majority", "a", shots].mean == 50.0
    assert results.cells["majority", MEAN, shots].interval is None
  # Scores of all examples that have draws are shots of their own.
  found = [*scores("mpt", [1.0]), *scores("mpt", [2.0, 3.0], shots=None)]
  results = estimates.from_scores(found, title="x", metric="m")
  assert results.shots == (16, None)
  assert results.cells["mpt", "a", None].mean == 2.5


def test_a_mean_needs_all_targets():
  found = [*scores("mpt", [1.0]), *scores("mpt", [2.0], "b")]
  found += scores("spot", [1.0])
  results = estimates.from_scores(found, title="x", metric="m")
  assert results.cells["mpt", MEAN, 16].mean == 1.5
  assert ("spot", MEAN, 16) not in results.cells


def test_variants_are_paired_with_their_method():
  results = make_results()
  # "mpt_x" is one point below MPT in every draw.
  difference = results.differences["mpt_x", 16]
  assert difference.mean == pytest.approx(-1.0)
  assert difference.interval == pytest.approx((-1.0, -1.0))
  assert set(results.differences) == {("mpt_x", 4), ("mpt_x", 16)}


def test_the_main_method_is_no_baseline():
  means = {"student": 1.0, "teacher": 2.0, "tfidf_lr": 3.0, "majority": 0.0}
  assert estimates.main_method(means, means) == "teacher"
  assert estimates.main_method(["majority", "mpt"], means) == "mpt"
  assert estimates.main_method(["majority"], {}) == "majority"


def test_what_is_refused():
  twice = scores("mpt", [1.0]) * 2
  with pytest.raises(ValueError, match="mpt, a, 16 and draw 0; each may occur"):
    estimates.from_scores(twice, title="x", metric="m")
  with pytest.raises(ValueError, match="there are no scores"):
    estimates.from_scores([], title="x", metric="m")


def test_the_smallest_number_of_test_examples_counts():
  found = [
    Score(method="mpt", target="a", shots=4, seed=s, value=1.0, examples=n)
    for s, n in enumerate((300, 200))
  ]
  results = estimates.from_scores(found, title="x", metric="m")
  assert results.examples == {"a": 200}


def test_the_shots_of_pictures():
  results = make_results()
  assert results.shown_shots() == 16
  assert results.shown_shots(4) == 4 and results.shown_shots(64) == 16
  alone = estimates.from_scores(
    scores("mpt", [1.0], shots=8), title="x", metric="m"
  )
  assert alone.shown_shots() == 8
