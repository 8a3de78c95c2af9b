"""From the scores of draws to means, intervals and differences.

Intervals are Student's over the draws.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from mpt_jax.report import names
from mpt_jax.report.material import (
  MEAN,
  Cell,
  Difference,
  Results,
  Score,
)

QUANTILES = (0.025, 0.975)
# Student's interval of two values is useless: 12.7 standard errors wide.
FEWEST = 3
STUDENT = (
  f"95 % intervals: Student's t over the draws, if there are {FEWEST} or more."
)


def student(values) -> tuple[float, float] | None:
  """Student's 95 % confidence interval of a mean; None for too few values.

  >>> low, high = student([1.0, 2.0, 3.0])
  >>> round(low, 3), round(high, 3)
  (-0.484, 4.484)
  """
  values = np.asarray(values, np.float64)
  if values.size < FEWEST:
    return None
  return student_of(values.mean(), values.std(ddof=1), values.size)


def student_of(mean, std, count) -> tuple[float, float] | None:
  """Like `student`, from the mean, the sample deviation and the count."""
  from scipy import stats

  if count < FEWEST or std is None:
    return None
  margin = stats.t.ppf(QUANTILES[1], count - 1) * std / math.sqrt(count)
  return float(mean - margin), float(mean + margin)


def sorted_shots(found: Iterable) -> tuple:
  """Sorts numbers of shots; None, which means all examples, comes last."""
  return tuple(sorted(set(found), key=lambda k: (k is None, k)))


def main_method(methods, means: Mapping[str, float]) -> str:
  """MPT, or else the method with the highest mean that is no baseline."""
  if names.MAIN in methods:
    return names.MAIN
  others = [m for m in methods if m not in names.BASELINES]
  return max(others or methods, key=lambda method: means.get(method, -math.inf))


def titles(methods, given: Mapping[str, str]) -> dict[str, str]:
  """The names of methods for people; given ones win."""
  return {m: given.get(m, names.title(m)) for m in methods}


# ------------------------------------------------------------- from scores


def from_scores(
  scores: Iterable[Score],
  *,
  title: str,
  metric: str,
  given_names: Mapping[str, str] | None = None,
  parameters: Mapping[str, float] | None = None,
  notes: tuple[str, ...] = (),
  **others,
) -> Results:
  """Makes results from the score of each draw.

  A method whose scores have neither shots nor a seed holds for all shots.

  Args:
    scores: in the unit of the page.
    title: see `Results`.
    metric: see `Results`.
    given_names: {method: name for people}.
    parameters: {method: trained parameters of a task}.
    notes: what else a reader has to know.
    **others: further fields of `Results`.

  Raises:
    ValueError: two scores belong to one draw, or there are none.
  """
  table, examples = _by_cell(scores)
  shots = sorted_shots(k for _, _, k in table if k is not None) or (None,)
  if any(s is not None for s in _seeds_of_all_examples(table)):
    shots = sorted_shots((*shots, None))
  methods = names.ordered(m for m, _, _ in table)
  targets = tuple(dict.fromkeys(t for _, t, _ in table))
  draws = {
    (m, t, k): found
    for m in methods
    for t in targets
    for k in shots
    if (found := table.get((m, t, k)) or _for_all(table, m, t))
  }
  cells = {where: _cell_of(found) for where, found in draws.items()}
  for method in methods:
    for k in shots:
      each = [draws.get((method, target, k)) for target in targets]
      if all(each) and len(targets) > 1:
        cells[method, MEAN, k] = mean_cell(each)
  main = main_method(methods, means_of(cells, targets, shots[-1]))
  several = any(len(found) > 1 for found in draws.values())
  return Results(
    title=title,
    metric=metric,
    methods=tuple(methods),
    targets=targets,
    shots=shots,
    cells=cells,
    main=main,
    examples=examples,
    names=titles(methods, given_names or {}),
    parameters=parameters or {},
    differences=paired(cells, methods, targets, shots, main),
    how=STUDENT if several else "",
    notes=tuple(notes),
    **others,
  )


def _by_cell(scores) -> tuple[dict, dict]:
  """({(method, target, shots): {seed: value}}, {target: test examples})."""
  table, examples = {}, {}
  for score in scores:
    where = (score.method, score.target, score.shots)
    draws = table.setdefault(where, {})
    if score.seed in draws:
      raise ValueError(
        f"two scores belong to {', '.join(map(str, where))} and draw"
        f" {score.seed}; each may occur once"
      )
    draws[score.seed] = float(score.value)
    if score.examples is not None:
      known = examples.get(score.target, score.examples)
      examples[score.target] = min(known, score.examples)
  if not table:
    raise ValueError("there are no scores")
  return table, examples


def _seeds_of_all_examples(table):
  return [s for (_, _, k), draws in table.items() if k is None for s in draws]


def _for_all(table, method, target):
  """The scores of a method that uses no examples, at any number of shots."""
  found = table.get((method, target, None), {})
  return found if set(found) == {None} else None


def _cell_of(draws: Mapping) -> Cell:
  values = list(draws.values())
  return Cell(
    mean=float(np.mean(values)),
    interval=student(values),
    draws=tuple(sorted(draws.items(), key=lambda d: (d[0] is None, d[0]))),
  )


def mean_cell(each) -> Cell:
  """The mean over targets; its draws are those that all targets have."""
  by_seed = _mean_draws(each)
  cell = _cell_of(by_seed) if by_seed else Cell(mean=0.0)
  mean = float(np.mean([np.mean(list(draws.values())) for draws in each]))
  return Cell(mean=mean, interval=cell.interval, draws=cell.draws)


def _mean_draws(each) -> dict:
  """{seed: mean over targets} of the seeds that all targets have.

  A target with the seed None alone has one score for all seeds.
  """
  seeded = [set(draws) for draws in each if set(draws) != {None}]
  common = set.intersection(*seeded) if seeded else {None}
  return {
    seed: float(np.mean([d.get(seed, d.get(None)) for d in each]))
    for seed in sorted(common, key=lambda s: (s is None, s))
  }


def means_of(cells, targets, shots) -> dict[str, float]:
  """{method: its mean over the targets that it has}."""
  found = {}
  for (method, target, k), cell in cells.items():
    if k == shots and target in targets:
      found.setdefault(method, []).append(cell.mean)
  return {method: float(np.mean(values)) for method, values in found.items()}


def paired(cells: Mapping, methods, targets, shots, main) -> dict:
  """Differences of the main method's variants, paired by draw.

  Args:
    cells: see `Results`.
    methods: names of methods.
    targets: names of targets; those that both have count.
    shots: numbers of shots.
    main: the main method.

  Returns:
    {(variant, shots): Difference}.
  """
  made = {}
  for method in methods:
    if not names.is_variant(method, main):
      continue
    for k in shots:
      pairs = [
        (cells[method, t, k], cells[main, t, k])
        for t in targets
        if (method, t, k) in cells and (main, t, k) in cells
      ]
      if not pairs:
        continue
      ours, theirs = (
        _mean_draws([dict(cell.draws) for cell in each])
        for each in zip(*pairs, strict=True)
      )
      found = [ours[s] - theirs[s] for s in ours if s in theirs]
      mean = np.mean([one.mean - other.mean for one, other in pairs])
      made[method, k] = Difference(mean=float(mean), interval=student(found))
  return made
