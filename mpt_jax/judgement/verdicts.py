"""Pairs of methods compared, and one sentence for each pair."""

import dataclasses

import numpy as np

from mpt_jax.judgement.bootstrap import find_draws, find_trial, sample_scores
from mpt_jax.judgement.outcomes import Outcomes

LEVEL = 0.05
# Quantiles of the normal distribution: a two-sided test at `LEVEL` finds a
# difference of (1.960 + 0.842) standard errors in 80 % of experiments.
_POWER = 1.960 + 0.842


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """A method minus a baseline, in points of balanced accuracy.

  Attributes:
    method: name of the method.
    baseline: name of the method that it is compared with.
    shots: training examples of each class, None for all.
    mean: mean over targets of the mean over their draws.
    low: lower end of the 95 % interval of the hierarchical bootstrap.
    high: upper end.
    p: two-sided p-value of the bootstrap.
    adjusted: p after Holm's correction for all pairs compared with it.
    smallest: the difference that such an experiment finds in 80 % of cases.
    targets: names of the targets.
    num_trials: pairs of trials, over all targets.
    num_examples: test examples, over all targets.
    ahead: number of targets on which the method's mean is higher.
  """

  method: str
  baseline: str
  shots: int | None
  mean: float
  low: float
  high: float
  p: float
  adjusted: float
  smallest: float
  targets: tuple[str, ...]
  num_trials: int
  num_examples: int
  ahead: int


def holm(values) -> list[float]:
  """Corrects p-values for their number, by Holm (1979).

  The i-th smallest of n is multiplied by n - i + 1, counted from 1, and is
  never below the one before it.

  >>> holm([0.25, 0.125, 0.5])
  [0.5, 0.375, 0.5]
  """
  values = np.asarray(values, np.float64)
  order = np.argsort(values)
  scaled = values[order] * np.arange(values.size, 0, -1)
  made = np.empty_like(values)
  made[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
  return made.tolist()


def bootstrap_p(differences) -> float:
  """Two-sided p-value: how often sampling turns the sign of a difference.

  >>> bootstrap_p([1.0, 2.0, 3.0])
  0.5
  """
  differences = np.asarray(differences)
  below, above = (differences <= 0).sum(), (differences >= 0).sum()
  share = (1 + min(below, above)) / (1 + differences.size)
  return float(min(1.0, 2 * share))


def compare(
  outcomes: Outcomes, pairs, shots, targets=None, num_samples=2000, seed=0
) -> list[Comparison]:
  """Compares pairs of methods.

  Args:
    outcomes: the answers.
    pairs: (method, baseline) names.
    shots: training examples of each class, None for all.
    targets: names of targets, all by default.
    num_samples: samples of the bootstrap.
    seed: of the bootstrap.

  Returns:
    A comparison for each pair, their p-values corrected for their number.

  Raises:
    ValueError: a pair has no target in common.
  """
  targets = list(outcomes.targets) if targets is None else list(targets)
  found = [
    _compare(outcomes, *pair, shots, targets, num_samples, seed)
    for pair in pairs
  ]
  adjusted = holm([one.p for one in found])
  return [
    dataclasses.replace(one, adjusted=p)
    for one, p in zip(found, adjusted, strict=True)
  ]


def _compare(outcomes, method, baseline, shots, targets, num_samples, seed):
  pair = (method, baseline)
  sampled, used = sample_scores(
    outcomes, pair, targets, shots, num_samples, seed
  )
  differences = 100 * (sampled[:, 0] - sampled[:, 1])
  means, num_trials = [], 0
  for target in used:
    seeds = find_draws(outcomes, pair, target, shots)
    ours, theirs = (
      [
        outcomes.score(find_trial(outcomes, name, target, shots, draw))
        for draw in seeds
      ]
      for name in pair
    )
    means.append(100 * (np.mean(ours) - np.mean(theirs)))
    num_trials += len(seeds)
  low, high = np.quantile(differences, (LEVEL / 2, 1 - LEVEL / 2))
  p = bootstrap_p(differences)
  return Comparison(
    method=method,
    baseline=baseline,
    shots=shots,
    mean=float(np.mean(means)),
    low=float(low),
    high=float(high),
    p=p,
    adjusted=p,
    smallest=float(_POWER * differences.std(ddof=1)),
    targets=tuple(used),
    num_trials=num_trials,
    num_examples=sum(outcomes.targets[t].answers.size for t in used),
    ahead=sum(mean > 0 for mean in means),
  )


def sentence(found: Comparison, names=None) -> str:
  """Says what a comparison showed, no stronger than its numbers.

  Args:
    found: the comparison.
    names: {method: name in the sentence}.

  >>> sentence(Comparison(
  ...   method="mpt", baseline="spot", shots=16, mean=1.25, low=0.5, high=2.0,
  ...   p=0.01, adjusted=0.02, smallest=1.1, targets=("a", "b"), num_trials=20,
  ...   num_examples=800, ahead=2,
  ... ))
  'mpt is better than spot by 1.2 points (95 % interval 0.5 to 2.0, p = 0.020)'
  """
  names = names or {}
  method = names.get(found.method, found.method)
  baseline = names.get(found.baseline, found.baseline)
  interval = f"95 % interval {found.low:.1f} to {found.high:.1f}"
  if found.adjusted >= LEVEL:
    return (
      f"{method} and {baseline} differ by {found.mean:+.1f} points ({interval},"
      f" p = {found.adjusted:.3f}), which chance explains; a difference of"
      f" {found.smallest:.1f} points would probably have been seen"
    )
  p = f"p = {found.adjusted:.3f}" if found.adjusted >= 0.001 else "p < 0.001"
  better, worse, mean = method, baseline, found.mean
  if mean < 0:
    better, worse, mean = baseline, method, -mean
    interval = f"95 % interval {-found.high:.1f} to {-found.low:.1f}"
  return (
    f"{better} is better than {worse} by {mean:.1f} points ({interval}, {p})"
  )
