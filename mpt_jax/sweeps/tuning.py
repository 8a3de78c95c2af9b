"""Chooses learning rates and numbers of steps for a contest.

A contest over source tasks (`Contest.chooses`) trains each method with several
factors on the learning rate and keeps the prompts of several steps. Of each
method and number of shots the setting with the best mean score on the
validation splits of these tasks is chosen. All methods have the same number of
settings to choose from.
"""

import pathlib

import numpy as np

from mpt_jax.io import files
from mpt_jax.judgement.outcomes import Outcomes
from mpt_jax.sweeps.contest import MAIN

FILE = "tuned.gin"
# What `methods.Method.slots` puts between a method's name and a factor.
SCALE = "-lr_x"


def candidates(by_steps: dict[int | None, Outcomes]) -> dict:
  """The scores of all settings.

  Args:
    by_steps: {number of steps, None for all: answers}.

  Returns:
    {(method, shots): {(scale, steps): mean over targets of the mean over draws
    of the balanced accuracy}}.

  Raises:
    ValueError: a setting lacks a target or a draw that another one of the same
      method and shots has, or a method has another number of settings.
  """
  found = {}
  for steps, outcomes in by_steps.items():
    for trial in outcomes.predictions:
      method, _, scale = trial.method.partition(SCALE)
      setting = (float(scale or 1.0), steps)
      settings = found.setdefault((method, trial.shots), {})
      draws = settings.setdefault(setting, {}).setdefault(trial.target, {})
      draws[trial.seed] = outcomes.score(trial)
  for (method, shots), settings in found.items():
    trials = {
      frozenset((t, seed) for t, draws in targets.items() for seed in draws)
      for targets in settings.values()
    }
    if len(trials) > 1:
      raise ValueError(
        f"{method}, {shots} shots: its settings were tried on different draws"
        " or targets, so they cannot be compared; finish all runs first"
      )
  sizes = {key: len(settings) for key, settings in found.items()}
  if len(set(sizes.values())) > 1:
    shown = ", ".join(f"{m} with {k} shots {n}" for (m, k), n in sizes.items())
    raise ValueError(
      "all methods must have the same number of settings to choose from, but"
      f" there are {shown}"
    )
  return {
    key: {
      setting: float(np.mean([np.mean([*d.values()]) for d in own.values()]))
      for setting, own in settings.items()
    }
    for key, settings in found.items()
  }


def choose(by_steps: dict[int | None, Outcomes]) -> dict[str, dict]:
  """Chooses the best setting of each method and number of shots.

  Args:
    by_steps: see `candidates`.

  Returns:
    {method: {shots: {"scale", "steps"}}}, as `Contest.tuned` has it. Of equal
    scores the first counts, in the order of the settings.

  Raises:
    ValueError: see `candidates`.
  """
  made = {}
  for (method, shots), settings in candidates(by_steps).items():
    scale, steps = max(settings, key=settings.get)
    made.setdefault(method, {})[shots] = {"scale": scale, "steps": steps}
  return made


def write(contest, found: dict[str, Outcomes], folder) -> pathlib.Path:
  """Writes the chosen settings as a gin file, with the score of each.

  Args:
    contest: the `contest.Contest`.
    found: what `standings.collect` returned.
    folder: the contest's folder.

  Returns:
    The file.
  """
  by_steps = {
    view.steps: found[view.name]
    for view in contest.all_views
    if view.name in found and (view.steps is not None or view.name == MAIN)
  }
  made, scored = choose(by_steps), candidates(by_steps)
  lines = [
    "# Learning rates and steps, chosen on the validation rows of",
    f"# {', '.join(contest.targets)}.",
    "# Score: mean balanced accuracy in percent.",
    "TUNED = {",
  ]
  for method, by_shots in made.items():
    lines.append(f'  "{method}": {{')
    for shots, setting in by_shots.items():
      best = 100 * max(scored[method, shots].values())
      lines.append(f"    {shots}: {setting!r},  # {best:.1f}".replace("'", '"'))
    lines.append("  },")
  path = pathlib.Path(folder) / FILE
  files.write_text(path, "\n".join([*lines, "}"]) + "\n")
  return path
