"""The bootstrap against distributions that are known by hand."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from mpt_jax.judgement import bootstrap
from mpt_jax.judgement.outcomes import Outcomes, Target, Trial

B = 20_000


def test_weighted_scores_are_those_of_scikit_learn():
  rng = np.random.default_rng(1)
  answers = rng.integers(3, size=60)
  predictions = rng.integers(3, size=(2, 60))
  weights = rng.integers(3, size=(5, 60))
  found = bootstrap.weighted_scores(predictions == answers, answers, weights)
  for i in range(2):
    for j in range(5):
      assert found[i, j] == pytest.approx(
        balanced_accuracy_score(
          answers, predictions[i], sample_weight=weights[j]
        )
      )


def test_a_class_that_was_not_drawn_does_not_count():
  found = bootstrap.weighted_scores([True, False], [0, 1], [[2, 0], [0, 2]])
  assert found.tolist() == [1.0, 0.0]


def of_scores(*scores):
  """Two targets of ten examples of one class; each draw has such a score."""
  outcomes = Outcomes(
    {
      f"t{i}": Target(labels=("a", "b"), answers=[0] * 10)
      for i in range(len(scores))
    }
  )
  for i, draws in enumerate(scores):
    for seed, score in enumerate(draws):
      wrong = round(10 * (1 - score))
      outcomes.add(
        Trial("m", f"t{i}", 4, seed), [1] * wrong + [0] * (10 - wrong)
      )
    outcomes.add(Trial("base", f"t{i}", None, None), [1] * 10)
  return outcomes


def test_targets_are_drawn_again():
  # The targets' scores are 0 and 1 whatever is drawn within them. Of two draws,
  # both are the first with probability 1/4, and one of each with 1/2.
  outcomes = of_scores([0.0], [1.0])
  scores, targets = bootstrap.sample_scores(outcomes, ["m"], ["t0", "t1"], 4, B)
  assert targets == ["t0", "t1"]
  values, counts = np.unique(scores[:, 0], return_counts=True)
  assert values.tolist() == [0.0, 0.5, 1.0]
  # The standard error of a share of B samples is at most 0.0036.
  assert counts / B == pytest.approx([0.25, 0.5, 0.25], abs=0.015)


def test_draws_are_drawn_again():
  outcomes = of_scores([0.0, 1.0])
  scores, _ = bootstrap.sample_scores(outcomes, ["m"], ["t0"], 4, B)
  values, counts = np.unique(scores[:, 0], return_counts=True)
  assert values.tolist() == [0.0, 0.5, 1.0]
  assert counts / B == pytest.approx([0.25, 0.5, 0.25], abs=0.015)


def test_examples_are_drawn_again():
  # One target, one draw: the mean of ten draws from {0, 1} with mean 0.6 has
  # the variance 0.6 · 0.4 / 10.
  outcomes = of_scores([0.6])
  scores, _ = bootstrap.sample_scores(outcomes, ["m"], ["t0"], 4, B)
  assert scores.mean() == pytest.approx(0.6, abs=0.005)
  assert scores.var() == pytest.approx(0.024, rel=0.05)


def test_methods_meet_the_same_draws_and_examples():
  outcomes = of_scores([0.5, 0.7], [0.2, 0.4])
  for target in ("t0", "t1"):
    for seed in (0, 1):
      trial = Trial("m", target, 4, seed)
      outcomes.add(Trial("same", target, 4, seed), outcomes.predictions[trial])
  scores, _ = bootstrap.sample_scores(
    outcomes, ["m", "same"], ["t0", "t1"], 4, 100
  )
  assert np.ptp(scores[:, 0]) > 0
  np.testing.assert_array_equal(scores[:, 0], scores[:, 1])


def test_draws_that_methods_have_in_common():
  outcomes = of_scores([0.5, 0.7, 0.9])
  outcomes.add(Trial("few", "t0", 4, 1), [0] * 10)
  outcomes.add(Trial("few", "t0", 4, 7), [0] * 10)

  def find(*methods):
    return bootstrap.find_draws(outcomes, methods, "t0", 4)

  assert find("m") == [0, 1, 2]
  assert find("m", "base") == [0, 1, 2]
  assert find("few", "m") == [1]
  assert find("base") == [None]
  assert find("m", "unknown") == []
  with pytest.raises(ValueError, match="no target in common with k = 16"):
    bootstrap.sample_scores(outcomes, ["m", "few"], ["t0"], 16)
