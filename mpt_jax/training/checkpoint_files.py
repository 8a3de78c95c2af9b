"""The files of checkpoints: their digests, and damaged ones kept aside.

A step is the folder `checkpoints/STEP`. Orbax gives it this name once it is
complete. `digests/SHA256SUMS` in it was written before that, and has the
SHA-256 of all files of the other items.
"""

from etils import epath

from mpt_jax.io import digests

FOLDER = "checkpoints"
# Damaged steps go to this folder, which nothing reads.
ASIDE = "damaged_checkpoints"
# The item of the digests, and those that they are of.
DIGESTS = "digests"
ITEMS = ("state", "best", "stream")
# Files that orbax writes after the digests. No value is read from them.
_METADATA = "_CHECKPOINT_METADATA"
_LATER = {_METADATA, "commit_success.txt", f"{DIGESTS}/commit_success.txt"}


def write_sums(step_folder, target):
  """Writes the digests of a step that orbax has not finished yet.

  Args:
    step_folder: the folder with all items.
    target: the SHA256SUMS file.
  """
  names = _files_of_items(step_folder)
  epath.Path(target).write_text(digests.sums(step_folder, names))


def _files_of_items(folder):
  names = digests.find_files(folder)
  return [n for n in names if n.partition("/")[0] in ITEMS]


def find_steps(model_dir) -> list[int]:
  """The steps of a run's checkpoints, the newest first."""
  folder = epath.Path(model_dir) / FOLDER
  if not folder.is_dir():
    return []
  names = [p.name for p in folder.iterdir() if p.is_dir()]
  return sorted((int(n) for n in names if n.isdecimal()), reverse=True)


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
  return digests.compare_sums(folder, sums, names)


def _find_lost_sums(folder):
  """Tells a step that lost its digests from one that never had any."""
  metadata = folder / _METADATA
  had = (folder / DIGESTS).is_dir()
  if metadata.is_file():
    had |= f'"{DIGESTS}"'.encode() in metadata.read_bytes()
  return f"{DIGESTS}/{digests.SUMS} is missing" if had else None


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
