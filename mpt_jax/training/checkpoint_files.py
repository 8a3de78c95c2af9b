"""The files of checkpoints: their digests, and damaged ones kept aside.

A step is the folder `checkpoints/STEP`. Orbax gives it this name once it is
complete. Before that, `digests/` in it was written: `run.json` has the step and
the settings of its run, and `SHA256SUMS` has the SHA-256 of that file and of
all files of the other items.
"""

import json
import re

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from mpt_jax.io import digests
from mpt_jax.io.errors import reading
from mpt_jax.prompts import run_settings

FOLDER = "checkpoints"
# Damaged steps go to this folder, which nothing reads.
ASIDE = "damaged_checkpoints"
# The item of the digests, and those that they are of.
DIGESTS = "digests"
ITEMS = ("state", "best", "stream")
# Says which run and step a checkpoint is of.
OWNER = f"{DIGESTS}/run.json"
# Settings that are paths; a run may be moved together with what it starts from.
_PATHS = ("backbone", "vocabulary_path", "teachers", "source")
# Files that orbax writes after the digests. No value is read from them.
_METADATA = "_CHECKPOINT_METADATA"
_LATER = {_METADATA, "commit_success.txt", f"{DIGESTS}/commit_success.txt"}

# The names of steps that orbax writes; a time may follow.
_UNFINISHED = re.compile(
  rf"(checkpoint_)?\d+{re.escape(ocp.utils.TMP_DIR_SUFFIX)}(-\d+)?"
)


def write_sums(step_folder, target, owner: dict):
  """Writes the digests of a step that orbax has not finished yet.

  Args:
    step_folder: the folder with all items.
    target: the folder that orbax will call `digests`.
    owner: the step and the settings of the run.
  """
  target = epath.Path(target)
  path = target / OWNER.rpartition("/")[2]
  path.write_text(json.dumps(owner))
  names = digests.find_files(step_folder)
  names = [n for n in names if n.partition("/")[0] in ITEMS]
  text = digests.sums(step_folder, names)
  text += f"{digests.file_sha256(path)}  {OWNER}\n"
  (target / digests.SUMS).write_text(text)


def find_steps(model_dir) -> list[int]:
  """The steps of a run's checkpoints, the newest first."""
  folder = epath.Path(model_dir) / FOLDER
  if not folder.is_dir():
    return []
  names = [p.name for p in folder.iterdir() if p.is_dir()]
  steps = [int(n) for n in names if n.isdecimal() and n == str(int(n))]
  return sorted(steps, reverse=True)


def clear_unfinished(folder):
  """Removes the steps in a folder that orbax had not finished.

  A run that is killed while it saves leaves one. Nothing reads them. In a
  bucket orbax does not mark them by their names, so they stay there.

  Args:
    folder: the folder with the steps, which no run may write to meanwhile. It
      need not exist.
  """
  folder = epath.Path(folder)
  for path in folder.iterdir() if folder.is_dir() else ():
    if _UNFINISHED.fullmatch(path.name) and path.is_dir():
      path.rmtree()


def find_others(model_dir) -> list[epath.Path]:
  """What else is in the folder of the checkpoints, and is not read."""
  folder = epath.Path(model_dir) / FOLDER
  if not folder.is_dir():
    return []
  steps = {str(step) for step in find_steps(model_dir)}
  found = sorted(folder.iterdir())
  return [p for p in found if p.name not in steps and p.name[0] != "."]


def is_compared(step_folder) -> bool:
  """Whether a step has digests; released versions wrote none."""
  return (epath.Path(step_folder) / DIGESTS / digests.SUMS).is_file()


def find_damage(step_folder) -> str | None:
  """Compares a checkpoint with its digests.

  Args:
    step_folder: the folder of a step.

  Returns:
    What is wrong, or None. A checkpoint without digests is only looked over.
  """
  folder = epath.Path(step_folder)
  missing = [name for name in ITEMS if not (folder / name).is_dir()]
  if len(missing) == len(ITEMS) and not digests.find_files(folder):
    return "the folder is empty"
  if missing:
    return f"{missing[0]} is missing"
  if not is_compared(folder):
    return _find_lost_sums(folder)
  sums = folder / DIGESTS / digests.SUMS
  known = _LATER | {f"{DIGESTS}/{digests.SUMS}"}
  names = [n for n in digests.find_files(folder) if n not in known]
  return digests.compare_sums(folder, sums, names) or _find_other(folder)


def _find_other(folder):
  """Compares the step and the settings of a checkpoint with its run's."""
  if not (folder / OWNER).is_file():
    return None  # An earlier version wrote it.
  owner = json.loads((folder / OWNER).read_text())
  if str(owner["step"]) != folder.name:
    return f"it is the checkpoint of step {owner['step']}"
  settings = run_settings.read(folder.parent.parent)
  differ = [
    name
    for name in run_settings.differences(owner["settings"], settings)
    if name.rpartition(".")[2] not in _PATHS
  ]
  if differ:
    return f"it is of another run: {', '.join(differ):.200} differ"
  return None


def _find_lost_sums(folder):
  """Tells a step that lost its digests from one that never had any."""
  metadata = folder / _METADATA
  had = (folder / DIGESTS).is_dir()
  if metadata.is_file():
    had |= f'"{DIGESTS}"'.encode() in metadata.read_bytes()
  return f"{DIGESTS}/{digests.SUMS} is missing" if had else None


def read_prompts(step_folder) -> list[dict]:
  """The arrays of the prompts in a checkpoint, by name: the last and the best.

  Raises:
    ValueError: they cannot be read, or the step has none.
  """
  folder, trees = epath.Path(step_folder), []
  handler = ocp.PyTreeCheckpointHandler()
  # Without this, orbax wants the devices that wrote the arrays.
  as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
  with reading(folder, "a checkpoint"):
    for item in ("state", "best"):
      found = handler.metadata(folder / item)
      found = getattr(found, "tree", found)
      args = ocp.args.PyTreeRestore(
        restore_args=jax.tree.map(lambda _: as_numpy, found)
      )
      trees.append(handler.restore(folder / item, args=args))
    return [trees[0]["params"]["prompt"], trees[1]["prompt"]]


def set_aside(model_dir, step: int) -> epath.Path:
  """Moves a damaged step out of the way; returns its new folder."""
  model_dir = epath.Path(model_dir)
  aside = model_dir / ASIDE
  aside.mkdir(parents=True, exist_ok=True)
  target, number = aside / str(step), 1
  while target.exists():
    number += 1
    target = aside / f"{step}-{number}"
  (model_dir / FOLDER / str(step)).rename(target)
  return target
