"""The digests of t5x's checkpoints: written once t5x has finished a step.

A step is the folder `checkpoint_STEP` of a run. Orbax gives it this name once
it is complete, and `SHA256SUMS` in it has the SHA-256 of all its files. A run
that is killed between the two leaves a step without digests, which does not
count. Nothing here imports t5x.
"""

import os
import re

import jax
from etils import epath
from orbax.checkpoint import utils

from mpt_jax.io import digests
from mpt_jax.prompts import run_settings
from mpt_jax.training.checkpoint_files import ASIDE

UNFINISHED = (
  f"it has no {digests.SUMS}, so the run ended before it was complete"
)


def find_steps(model_dir) -> list[int]:
  """Returns the steps of a run's checkpoints, the newest first.

  Orbax has finished them: in a bucket it writes to a folder of the final name.
  """
  folder = epath.Path(model_dir)
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  found = [re.fullmatch(r"checkpoint_(\d+)", name) for name in names]
  steps = sorted((int(match[1]) for match in found if match), reverse=True)
  return [
    step
    for step in steps
    if utils.is_checkpoint_finalized(_folder(model_dir, step))
  ]


def write(model_dir):
  """Writes the digests of each step that has none; process 0 does."""
  if jax.process_index() != 0:
    return
  for step in find_steps(model_dir):
    folder = _folder(model_dir, step)
    target = folder / digests.SUMS
    if not target.exists():
      # A reader sees the whole file or none.
      part = folder / f".{digests.SUMS}"
      part.write_text(digests.sums(folder, digests.find_files(folder)))
      part.rename(target)


def find_damage(folder) -> str | None:
  """Compares a step with its digests; returns what is wrong, or None."""
  folder = epath.Path(folder)
  path = folder / digests.SUMS
  if not path.exists():
    return UNFINISHED if _has_digests(folder.parent) else None
  names = [n for n in digests.find_files(folder) if n != digests.SUMS]
  return digests.compare_sums(folder, path, names)


def _has_digests(model_dir) -> bool:
  """Whether a run writes digests, as its settings or its steps say."""
  return bool(
    run_settings.read(model_dir).get(run_settings.CHECKPOINT_DIGESTS)
  ) or any(
    (_folder(model_dir, step) / digests.SUMS).exists()
    for step in find_steps(model_dir)
  )


def check(folder):
  """Refuses a damaged step.

  Raises:
    ValueError: the step is damaged; the message says where.
  """
  damage = find_damage(folder)
  if damage is not None:
    raise ValueError(f"the checkpoint {os.fspath(folder)} is damaged: {damage}")


def find_good(model_dir) -> tuple[int, list[str]]:
  """Finds the newest step that is not damaged; changes nothing.

  Returns:
    (step, lines for the user: one for each damaged newer step, and one that
    names the step if there are any).

  Raises:
    ValueError: all steps are damaged.
  """
  damages, good = _find_newer_damages(model_dir)
  if good is None:
    raise ValueError(_all_damaged(model_dir, damages))
  lines = [_line(step, damage) for step, damage in damages.items()]
  if lines:
    lines.append(f"taking the older checkpoint of step {good}")
  return good, lines


def set_damaged_aside(model_dir) -> list[str]:
  """Moves damaged steps that are newer than the newest good one away.

  A run that was killed before it had finished its first steps starts again.

  Returns:
    Lines for the user.

  Raises:
    ValueError: all steps are damaged. They stay where they are.
  """
  damages, good = _find_newer_damages(model_dir)
  begins = len(damages) <= 2 and 0 in damages
  starts_again = begins and set(damages.values()) == {UNFINISHED}
  if good is None and damages and not starts_again:
    raise ValueError(
      f"{_all_damaged(model_dir, damages)}; put an undamaged copy of one there,"
      " or name a new MODEL_DIR to start again"
    )
  lines = []
  for step, damage in damages.items():
    aside = epath.Path(model_dir) / ASIDE
    aside.mkdir(exist_ok=True)
    target, number = aside / str(step), 1
    while target.exists():
      number += 1
      target = aside / f"{step}-{number}"
    _folder(model_dir, step).rename(target)
    moved = f"; it was moved to {os.fspath(target)}"
    lines.append(_line(step, damage) + moved)
  if lines and good is not None:
    lines.append(f"resuming from the older checkpoint of step {good}")
  elif lines:
    lines.append("there is no older checkpoint: the run starts again")
  return lines


def _find_newer_damages(model_dir) -> tuple[dict[int, str], int | None]:
  """Returns what is wrong with steps newer than the newest good one, and that.

  The good step is None if there is none.
  """
  damages = {}
  for step in find_steps(model_dir):
    damage = find_damage(_folder(model_dir, step))
    if damage is None:
      return damages, step
    damages[step] = damage
  return damages, None


def _line(step, damage):
  return f"the checkpoint of step {step} is damaged: {damage}"


def _all_damaged(model_dir, damages):
  each = "; ".join(f"step {k}: {v}" for k, v in damages.items())
  return f"no checkpoint in {os.fspath(model_dir)} can be read ({each})"


def _folder(model_dir, step):
  return epath.Path(model_dir) / f"checkpoint_{step}"
