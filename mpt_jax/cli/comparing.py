"""`mpt compare`: which method is better, in one sentence for each pair."""

import itertools

from mpt_jax.cli.arguments import count


def add_compare(command):
  sub = command(
    "compare",
    _compare,
    "Say which of several methods is better, from their answers.",
  )
  sub.add_argument(
    "path", metavar="PATH", help="outcomes.json, or the folder that has it"
  )
  sub.add_argument(
    "--method",
    help="compare this method with the others (default: all pairs)",
  )
  sub.add_argument(
    "--related",
    action="store_true",
    help="count targets alone whose skill a source task shares",
  )
  sub.add_argument(
    "--samples",
    type=count,
    default=2000,
    metavar="N",
    help="samples of the bootstrap (default: %(default)s)",
  )


def _compare(arguments):
  from mpt_jax.judgement import verdicts
  from mpt_jax.judgement.bootstrap import find_draws
  from mpt_jax.judgement.outcomes import Outcomes

  outcomes = Outcomes.load(arguments.path)
  targets = [
    name
    for name, target in outcomes.targets.items()
    if target.related or not arguments.related
  ]
  pairs = _pairs(outcomes.methods, arguments.method)
  for shots in outcomes.shots:
    # A method need not have been tried with all numbers of shots.
    tried = [
      pair
      for pair in pairs
      if any(find_draws(outcomes, pair, target, shots) for target in targets)
    ]
    if not tried:
      continue
    found = verdicts.compare(
      outcomes, tried, shots, targets, num_samples=arguments.samples
    )
    print("all examples" if shots is None else f"k = {shots} per class")
    for one in found:
      print(f"  {verdicts.sentence(one)}")
    print(
      f"  (targets: {len(found[0].targets)}, pairs of trials:"
      f" {found[0].num_trials}, test examples: {found[0].num_examples}; p is"
      f" Holm's for comparisons: {len(found)})"
    )
  for trial in outcomes.predictions:
    if trial.seed is not None and (label := outcomes.only_answer(trial)):
      print(f"note: {trial} always answers {label!r}")


def _pairs(methods, method) -> list[tuple[str, str]]:
  """Returns the pairs to compare.

  Raises:
    ValueError: the method is unknown, or there is nothing to compare.
  """
  if len(methods) < 2:
    raise ValueError(
      f"there is nothing to compare: the methods are {', '.join(methods)}"
    )
  if method is None:
    return list(itertools.combinations(methods, 2))
  if method not in methods:
    raise ValueError(
      f"--method {method!r} is none of {', '.join(methods)}, the methods that"
      " have answers"
    )
  return [(method, other) for other in methods if other != method]
