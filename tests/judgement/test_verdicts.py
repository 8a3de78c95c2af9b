"""Comparisons of pairs, and the sentences about them."""

import numpy as np
import pytest

from mpt_jax.judgement import verdicts
from mpt_jax.judgement.outcomes import Outcomes, Target, Trial


def test_holm_by_hand():
  # Sorted: 0.01 · 4, 0.02 · 3, 0.03 · 2 and 0.9 · 1; the third is not below
  # the second.
  found = verdicts.holm([0.03, 0.9, 0.01, 0.02])
  assert found == pytest.approx([0.06, 0.9, 0.04, 0.06])
  assert verdicts.holm([0.6, 0.7]) == [1.0, 1.0]
  assert verdicts.holm([]) == []


def test_p_values_by_hand():
  # None of 99 samples is at or below 0: 2 · 1 / 100.
  assert verdicts.bootstrap_p(np.ones(99)) == pytest.approx(0.02)
  assert verdicts.bootstrap_p(-np.ones(99)) == pytest.approx(0.02)
  assert verdicts.bootstrap_p(np.zeros(99)) == 1.0


def make_outcomes(gain, targets=4, draws=5, size=200):
  """Two methods; "good" is right where "plain" is, and `gain` more often."""
  rng = np.random.default_rng(0)
  outcomes = Outcomes(
    {
      f"t{i}": Target(labels=("a", "b"), answers=[0, 1] * (size // 2))
      for i in range(targets)
    }
  )
  for name, target in outcomes.targets.items():
    for seed in range(draws):
      chance = rng.random(size)
      for method, share in (("plain", 0.6), ("good", 0.6 + gain)):
        answers = np.where(chance < share, target.answers, 1 - target.answers)
        outcomes.add(Trial(method, name, 16, seed), answers)
  return outcomes


def test_a_gain_is_found():
  outcomes = make_outcomes(0.1)
  (found,) = verdicts.compare(outcomes, [("good", "plain")], 16)
  by_hand = np.mean(
    [
      outcomes.score(Trial("good", t, 16, s))
      - outcomes.score(Trial("plain", t, 16, s))
      for t in outcomes.targets
      for s in range(5)
    ]
  )
  assert found.mean == pytest.approx(100 * by_hand)
  assert 0 < found.low < found.mean < found.high
  assert found.p == pytest.approx(2 / 2001)
  assert (found.num_trials, found.num_examples, found.ahead) == (20, 800, 4)
  assert found.targets == ("t0", "t1", "t2", "t3")
  assert "good is better than plain by" in verdicts.sentence(found)
  (turned,) = verdicts.compare(outcomes, [("plain", "good")], 16)
  assert turned.mean == -found.mean and turned.ahead == 0
  assert verdicts.sentence(turned).startswith("good is better than plain by")


def test_equal_methods_do_not_differ():
  (found,) = verdicts.compare(make_outcomes(0.0), [("good", "plain")], 16)
  assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
  assert "which chance explains" in verdicts.sentence(found)


def test_the_smallest_difference_falls_with_the_size_of_the_experiment():
  small, large = (
    verdicts.compare(make_outcomes(0.02, size=n), [("good", "plain")], 16)[0]
    for n in (50, 800)
  )
  assert small.smallest > large.smallest > 0
  # 2.8 standard errors; the interval is about 3.92 of them wide.
  width = large.high - large.low
  assert large.smallest == pytest.approx(width * 2.802 / 3.92, rel=0.1)


def test_all_pairs_are_corrected_together():
  outcomes = make_outcomes(0.1)
  pairs = [("good", "plain"), ("good", "good")]
  first, second = verdicts.compare(outcomes, pairs, 16)
  assert first.adjusted == pytest.approx(2 * first.p)
  assert second.adjusted == 1


def test_some_targets():
  (found,) = verdicts.compare(
    make_outcomes(0.1), [("good", "plain")], 16, targets=["t1", "t2"]
  )
  assert found.targets == ("t1", "t2")


def test_names_in_sentences():
  (found,) = verdicts.compare(make_outcomes(0.1), [("good", "plain")], 16)
  text = verdicts.sentence(found, {"good": "MPT", "plain": "prompt tuning"})
  assert text.startswith("MPT is better than prompt tuning by")
  assert text.endswith("p < 0.001)") == (found.adjusted < 0.001)
