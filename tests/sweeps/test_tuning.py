"""The choice of learning rates and steps, by hand."""

import pytest

from mpt_jax.judgement.outcomes import Outcomes, Target, Trial
from mpt_jax.sweeps import tuning

RIGHT = {
  "films": [0, 0, 1, 1],
  "jokes": [0, 1],
}


def outcomes_of(scores):
  """Answers of trials.

  Args:
    scores: {(label, target, shots, seed): answers}.
  """
  outcomes = Outcomes(
    {k: Target(labels=("a", "b"), answers=v) for k, v in RIGHT.items()}
  )
  for trial, answers in scores.items():
    outcomes.add(Trial(*trial), answers)
  return outcomes


def both(label, films, jokes, shots=4):
  return {
    (label, "films", shots, 0): films,
    (label, "jokes", shots, 0): jokes,
  }


ALL, HALF, NONE = [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]


def test_the_mean_over_targets_chooses():
  late = outcomes_of(
    {
      # (100 + 50) / 2 = 75, (50 + 50) / 2 = 50.
      **both("mpt-lr_x0.1", ALL, [0, 0]),
      **both("mpt-lr_x1", HALF, [0, 0]),
      **both("spot-lr_x0.1", HALF, [0, 0]),
      **both("spot-lr_x1", ALL, [0, 1]),
    }
  )
  early = outcomes_of(
    {
      # (75 + 100) / 2 = 87.5, (0 + 100) / 2 = 50.
      **both("mpt-lr_x0.1", [0, 0, 1, 0], [0, 1]),
      **both("mpt-lr_x1", NONE, [0, 1]),
      **both("spot-lr_x0.1", NONE, [0, 1]),
      **both("spot-lr_x1", ALL, [0, 1]),
    }
  )
  scores = tuning.candidates({None: late, 3: early})
  assert scores["mpt", 4] == {
    (0.1, None): 0.75,
    (1.0, None): 0.5,
    (0.1, 3): 0.875,
    (1.0, 3): 0.5,
  }
  assert tuning.choose({None: late, 3: early}) == {
    "mpt": {4: {"scale": 0.1, "steps": 3}},
    # Of equal ones the first counts: all steps.
    "spot": {4: {"scale": 1.0, "steps": None}},
  }


def test_the_mean_over_draws_comes_first():
  """A target with more draws does not weigh more."""
  scores = both("mpt-lr_x1", ALL, [1, 0])
  for seed in (1, 2):
    scores["mpt-lr_x1", "films", 4, seed] = ALL
  made = tuning.candidates({None: outcomes_of(scores)})
  # Films 100, jokes 0.
  assert made["mpt", 4] == {(1.0, None): 0.5}


def test_settings_that_cannot_be_compared():
  few = both("mpt-lr_x0.1", ALL, [0, 1])
  more = both("mpt-lr_x1", ALL, [0, 1])
  del more["mpt-lr_x1", "jokes", 4, 0]
  with pytest.raises(ValueError, match="mpt, 4 shots.*different draws"):
    tuning.choose({None: outcomes_of({**few, **more})})
  more = both("mpt-lr_x1", ALL, [0, 1])
  one = both("spot", ALL, [0, 1])
  with pytest.raises(ValueError, match="the same number of settings.*spot"):
    tuning.choose({None: outcomes_of({**few, **more, **one})})
