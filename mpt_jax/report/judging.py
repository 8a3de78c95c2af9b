"""From the answers of methods to means, intervals and verdicts.

Intervals are those of the bootstrap of `judgement`: the draws and the test
examples are drawn again, and the targets stay.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from mpt_jax.judgement import verdicts
from mpt_jax.judgement.bootstrap import find_draws, find_trial, sample_target
from mpt_jax.judgement.outcomes import Outcomes
from mpt_jax.report import estimates, names
from mpt_jax.report.material import MEAN, Cell, Difference, Results, Verdicts

HOW = (
  "95 % intervals: hierarchical bootstrap over draws and test examples; the"
  " targets stay the same."
)


def from_outcomes(
  outcomes: Outcomes,
  *,
  title: str,
  given_names: Mapping[str, str] | None = None,
  parameters: Mapping[str, float] | None = None,
  num_samples: int = 2000,
) -> Results:
  """Makes results from the answers of methods to test examples.

  Args:
    outcomes: the answers.
    title: see `Results`.
    given_names: {method: name for people}.
    parameters: {method: trained parameters of a task}.
    num_samples: samples of the bootstrap.

  Raises:
    ValueError: there are no answers.
  """
  if not outcomes.predictions:
    raise ValueError("there are no answers of any method")
  shots = tuple(outcomes.shots)
  methods = names.ordered(outcomes.methods)
  # Targets whose skill a source task shares stand together.
  targets = sorted(
    outcomes.targets, key=lambda t: not outcomes.targets[t].related
  )
  cells = {}
  for k in shots:
    cells |= _sampled_cells(outcomes, methods, targets, k, num_samples)
  main = estimates.main_method(
    methods, estimates.means_of(cells, targets, shots[-1])
  )
  related = {t for t in targets if outcomes.targets[t].related}
  shown = estimates.titles(methods, given_names or {})
  found, differences = [], {}
  for k in shots:
    judged, own = _judge(
      outcomes, methods, main, k, related, num_samples, shown
    )
    found += judged
    differences |= own
  return Results(
    title=title,
    metric="balanced accuracy",
    methods=tuple(methods),
    targets=tuple(targets),
    shots=shots,
    cells=cells,
    main=main,
    related=frozenset(related),
    examples={t: outcomes.targets[t].answers.size for t in targets},
    names=shown,
    parameters=parameters or {},
    differences=differences,
    verdicts=tuple(found),
    how=HOW,
  )


def _sampled_cells(outcomes, methods, targets, shots, num_samples) -> dict:
  """The cells of one number of shots, with the mean over targets."""
  rng = np.random.default_rng(0)
  cells, samples = {}, {}
  for target in targets:
    groups = {}
    for method in methods:
      draws = find_draws(outcomes, (method,), target, shots)
      if draws and _has_all(outcomes, method, target, shots, draws):
        groups.setdefault(tuple(draws), []).append(method)
    for draws, group in groups.items():
      made = sample_target(outcomes, group, target, shots, num_samples, rng)
      for method, own in zip(group, 100 * made.T, strict=True):
        samples[method, target] = own
        cells[method, target, shots] = _answered_cell(
          outcomes, method, target, shots, draws, own
        )
  for method in methods:
    each = [cells.get((method, t, shots)) for t in targets]
    if all(each) and len(targets) > 1:
      own = np.mean([samples[method, t] for t in targets], axis=0)
      cell = estimates.mean_cell([dict(cell.draws) for cell in each])
      cells[method, MEAN, shots] = Cell(
        mean=cell.mean, interval=_quantiles(own), draws=cell.draws
      )
  return cells


def _has_all(outcomes, method, target, shots, draws) -> bool:
  try:
    for seed in draws:
      find_trial(outcomes, method, target, shots, seed)
  except KeyError:
    return False
  return True


def _answered_cell(outcomes, method, target, shots, draws, samples) -> Cell:
  found = [find_trial(outcomes, method, target, shots, s) for s in draws]
  scores = [100 * outcomes.score(trial) for trial in found]
  return Cell(
    mean=float(np.mean(scores)),
    interval=_quantiles(samples),
    draws=tuple(zip(draws, scores, strict=True)),
    constant=sum(outcomes.only_answer(t) is not None for t in found),
  )


def _quantiles(samples) -> tuple[float, float]:
  low, high = np.quantile(samples, estimates.QUANTILES)
  return float(low), float(high)


def _judge(outcomes, methods, main, shots, related, num_samples, shown):
  """The main method against others, and its variants against it.

  They are two families of comparisons, each corrected for its own number.

  Returns:
    (list of `Verdicts`, {(variant, shots): Difference}).
  """
  compare = functools.partial(_compare, outcomes, shots, num_samples)
  variants = [m for m in methods if names.is_variant(m, main)]
  pairs = [(main, m) for m in methods if m not in (main, *variants)]
  at = "all examples" if shots is None else f"k = {shots} per class"
  near = [t for t in outcomes.targets if t in related]
  far = [t for t in outcomes.targets if t not in related]
  found = compare(pairs, list(outcomes.targets))
  made = [_verdicts(at, found, shown)]
  if near and far:
    for what, chosen in (("with", near), ("without", far)):
      own = compare(pairs, chosen)
      title = f"{at}, targets {what} a relative"
      # The charts say it; three times as many sentences would hide the first.
      made.append(
        dataclasses.replace(_verdicts(title, own, shown), sentences=())
      )
  differences = {
    (one.method, shots): Difference(mean=one.mean, interval=(one.low, one.high))
    for one in compare([(m, main) for m in variants], list(outcomes.targets))
  }
  return [one for one in made if one.comparisons], differences


def _compare(outcomes, shots, num_samples, pairs, targets):
  """Compares the pairs that have a target in common."""
  known = [
    pair
    for pair in pairs
    if any(_meet(outcomes, pair, target, shots) for target in targets)
  ]
  if not known:
    return []
  return verdicts.compare(
    outcomes, known, shots, targets, num_samples=num_samples
  )


def _meet(outcomes, pair, target, shots) -> bool:
  draws = find_draws(outcomes, pair, target, shots)
  return bool(draws) and all(
    _has_all(outcomes, method, target, shots, draws) for method in pair
  )


def _verdicts(title, found, shown) -> Verdicts:
  more = ""
  if found:
    count = len(found[0].targets)
    noun = "target" if count == 1 else "targets"
    more = f"; {count} {noun}, {found[0].num_examples:,} test examples"
  return Verdicts(
    title=f"{title}{more}",
    sentences=tuple(f"{verdicts.sentence(x, shown)}." for x in found),
    comparisons=tuple(found),
  )
