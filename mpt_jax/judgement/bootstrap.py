"""The hierarchical bootstrap: what else could have come out.

A result depends on which targets were taken, which training examples were drawn
and which examples were tested. A sample draws all three again, with
replacement: targets, within each target its draws, and within each target its
test examples (Davison and Hinkley, 1997, section 3.8). All methods meet the
same draws and the same test examples, so that differences are paired.

Axis letters: B samples, M methods, S draws, E test examples, C classes,
K targets.
"""

import numpy as np

from mpt_jax.judgement.outcomes import Outcomes, Trial


def find_draws(outcomes: Outcomes, methods, target, shots) -> list:
  """The draws that all methods have on a target.

  A method with the seed None has one answer for all draws.

  Returns:
    The seeds, sorted; [None] if no method depends on draws; [] if the methods
    have nothing in common.
  """
  common = None
  for method in methods:
    seeds = outcomes.seeds(method, target, shots)
    if None in seeds or Trial(method, target, None, None) in (
      outcomes.predictions
    ):
      continue
    common = seeds if common is None else common & seeds
  return [None] if common is None else sorted(common)


def find_trial(outcomes: Outcomes, method, target, shots, seed) -> Trial:
  """The trial of a draw, or the one that holds for all draws.

  Raises:
    KeyError: there is none.
  """
  for trial in (
    Trial(method, target, shots, seed),
    Trial(method, target, shots, None),
    Trial(method, target, None, None),
  ):
    if trial in outcomes.predictions:
      return trial
  raise KeyError(Trial(method, target, shots, seed))


def weighted_scores(correct, answers, weights) -> np.ndarray:
  """Balanced accuracy with a weight for each example.

  Args:
    correct: [..., E] bool.
    answers: [E] int, the right labels.
    weights: [B, E] non-negative floats; a class without weight does not count.

  Returns:
    [..., B] scores in [0, 1].

  >>> weighted_scores([True, False, True], [0, 0, 1], [[3.0, 1.0, 1.0]])
  array([0.875])
  """
  correct = np.asarray(correct, np.float64)
  weights = np.asarray(weights, np.float64)
  answers = np.asarray(answers)
  recalls, counted = 0.0, 0.0
  for label in np.unique(answers):
    own = answers == label
    here = weights[:, own]  # [B, examples of the class]
    total = here.sum(-1)
    found = correct[..., own] @ here.T
    recalls = recalls + np.where(total > 0, found / np.maximum(total, 1e-12), 0)
    counted = counted + (total > 0)
  return recalls / counted


def sample_target(outcomes, methods, target, shots, num_samples, rng):
  """Scores of one target, with its draws and test examples drawn again.

  Returns:
    [B, M] scores, or None if the methods have no draw in common.
  """
  seeds = find_draws(outcomes, methods, target, shots)
  if not seeds:
    return None
  answers = outcomes.targets[target].answers
  try:
    correct = np.stack(
      [
        [
          outcomes.predictions[find_trial(outcomes, m, target, shots, s)]
          == answers
          for s in seeds
        ]
        for m in methods
      ]
    )  # [M, S, E]
  except KeyError:
    return None
  size = answers.size
  # The counts of a multinomial draw; NumPy's own sampler is ten times slower.
  numbers = rng.integers(size, size=(num_samples, size))
  numbers += size * np.arange(num_samples)[:, None]
  weights = np.bincount(numbers.ravel(), minlength=num_samples * size)
  weights = weights.reshape(num_samples, size)
  scores = weighted_scores(correct, answers, weights)  # [M, S, B]
  drawn = rng.integers(len(seeds), size=(num_samples, len(seeds)))
  picked = np.take_along_axis(scores, drawn.T[None], axis=1)
  return picked.mean(1).T


def sample_scores(
  outcomes: Outcomes, methods, targets, shots, num_samples=2000, seed=0
):
  """Mean scores over targets, with targets, draws and examples drawn again.

  Args:
    outcomes: the answers.
    methods: names of methods.
    targets: names of targets; those on which the methods have no draw in
      common are left out.
    shots: training examples of each class, None for all.
    num_samples: B.
    seed: of the sampling.

  Returns:
    ([B, M] scores, the names of the targets that count).

  Raises:
    ValueError: the methods have no target in common.
  """
  rng = np.random.default_rng(seed)
  by_target = {}
  for target in targets:
    scores = sample_target(outcomes, methods, target, shots, num_samples, rng)
    if scores is not None:
      by_target[target] = scores
  if not by_target:
    raise ValueError(
      f"the methods {', '.join(methods)} have no target in common with"
      f" {'all examples' if shots is None else f'k = {shots}'}"
    )
  scores = np.stack(list(by_target.values()))  # [K, B, M]
  count = len(by_target)
  # A target that is drawn twice meets other draws and other test examples.
  drawn = rng.integers(count, size=(num_samples, count))
  within = rng.integers(num_samples, size=(num_samples, count))
  return scores[drawn, within].mean(1), list(by_target)
