"""Answers become the means, intervals and verdicts of `judgement`."""

import numpy as np
import pytest
from report_pages import DRAWS, make_outcomes

from mpt_jax.judgement import verdicts
from mpt_jax.judgement.outcomes import Outcomes, Target, Trial
from mpt_jax.report import judging
from mpt_jax.report.material import MEAN


@pytest.fixture(scope="module")
def made():
  outcomes = make_outcomes()
  results = judging.from_outcomes(outcomes, title="x", num_samples=300)
  return outcomes, results


def test_scores_are_those_of_the_answers(made):
  outcomes, results = made
  for method in ("mpt", "spot"):
    for target in ("near", "far"):
      found = [
        100 * outcomes.score(Trial(method, target, 16, s)) for s in DRAWS
      ]
      cell = results.cells[method, target, 16]
      assert [score for _, score in cell.draws] == pytest.approx(found)
      assert cell.mean == pytest.approx(np.mean(found))
      low, high = cell.interval
      assert low < cell.mean < high
  means = [results.cells["mpt", t, 16].mean for t in ("near", "far")]
  assert results.cells["mpt", MEAN, 16].mean == pytest.approx(np.mean(means))
  assert results.targets == ("near", "far")  # Those with a relative first.
  assert results.related == {"near"}
  assert results.examples == {"near": 20, "far": 20}


def test_the_interval_of_a_mean_over_targets(made):
  _, results = made

  def width(target):
    low, high = results.cells["mpt", target, 16].interval
    return high - low

  # Targets are independent: the variance of the mean of two is a quarter of
  # the sum of theirs.
  expected = np.hypot(width("near"), width("far")) / 2
  assert width(MEAN) == pytest.approx(expected, rel=0.15)


def test_verdicts_are_those_of_mpt_compare(made):
  outcomes, results = made
  pairs = [("mpt", "spot"), ("mpt", "majority")]
  found = verdicts.compare(outcomes, pairs, 16, num_samples=300)
  (one,) = (
    v for v in results.verdicts if v.title.startswith("k = 16 per class;")
  )
  assert one.comparisons == tuple(found)
  names = {"mpt": "MPT", "spot": "SPoT"}
  assert one.sentences == tuple(
    f"{verdicts.sentence(x, names)}." for x in found
  )
  assert one.title == "k = 16 per class; 2 targets, 40 test examples"
  titles = [v.title for v in results.verdicts]
  assert "k = 4 per class, targets with a relative; 1 target, 20 test" in (
    " ".join(titles)
  )


def test_variants_are_compared_with_their_method(made):
  outcomes, results = made
  (found,) = verdicts.compare(outcomes, [("mpt_x", "mpt")], 16, num_samples=300)
  difference = results.differences["mpt_x", 16]
  assert difference.mean == pytest.approx(found.mean)
  assert difference.interval == (found.low, found.high)
  shown = {c.baseline for v in results.verdicts for c in v.comparisons}
  assert shown == {"spot", "majority"}


def test_methods_with_other_draws_and_gaps():
  outcomes = make_outcomes(shots=(16,))
  # No draw in common with the others, and no score on "near".
  outcomes.add(Trial("late", "far", 16, 7), [0] * 20)
  results = judging.from_outcomes(outcomes, title="x", num_samples=50)
  cell = results.cells["late", "far", 16]
  assert cell.draws == ((7, 50.0),) and cell.constant == 1
  assert ("late", MEAN, 16) not in results.cells
  assert ("late", "near", 16) not in results.cells
  compared = {c.baseline for v in results.verdicts for c in v.comparisons}
  assert "late" not in compared


def test_one_method_alone_is_not_compared():
  outcomes = Outcomes({"t": Target(labels=("a", "b"), answers=[0, 1])})
  with pytest.raises(ValueError, match="no answers"):
    judging.from_outcomes(outcomes, title="x")
  outcomes.add(Trial("mpt", "t", None, None), [0, 1])
  results = judging.from_outcomes(outcomes, title="x", num_samples=10)
  assert results.verdicts == () and results.shots == (None,)
  assert results.cells["mpt", "t", None].mean == 100.0
