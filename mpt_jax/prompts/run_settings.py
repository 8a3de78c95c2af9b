"""Reads a run's experiment.json, for those who use its prompts."""

from etils import epath

from mpt_jax.io import digests, paths

FILE = "experiment.json"
# The SHA-256 of the vocabulary's file.
VOCABULARY_SHA256 = "vocabulary_sha256"
# {task: SHA-256} of a run over rows in memory.
ROWS_SHA256 = "rows_sha256"
# A run under t5x that has this writes digests with each checkpoint. Earlier
# versions wrote none.
CHECKPOINT_DIGESTS = "checkpoint_digests"
# Settings that may change when a run is resumed.
FREE = ("eval.num_rows",)
# Lengths for prompts whose run folder is not known.
INPUTS_LENGTH, TARGETS_LENGTH = 512, 64


def read(path) -> dict:
  """The experiment.json of the run that a prompt file or folder belongs to.

  Args:
    path: a run folder, or a file in its prompts/.

  Returns:
    The settings; an empty dict if the path is not in a run folder.

  Raises:
    ValueError: the file is damaged.
  """
  path = epath.Path(paths.absolute(path))
  for folder in (path, path.parent.parent):
    settings = folder / FILE
    if settings.is_file():
      found = digests.read_sealed(settings, "the settings of a run")
      _check_lengths(found, settings)
      return found
  return {}


def backbone(settings) -> str:
  """The backbone that a run's settings name; "default" if they name none."""
  name = settings.get("backbone", "default")
  return name if isinstance(name, str) else "default"


def _check_lengths(settings, path):
  """Checks what `lengths` returns; somebody may have changed the file."""
  batch = settings.get("batch", {})
  known = isinstance(batch, dict) and all(
    type(n) is int and n > 0 for n in lengths(settings)
  )
  if not known:
    raise ValueError(
      f"{path}: batch must have inputs_length and targets_length, whole numbers"
      f" of at least 1, got {batch!r:.100}"
    )


def lengths(settings) -> tuple[int, int]:
  """(inputs_length, targets_length) of a run's settings, or the defaults."""
  batch = settings.get("batch", {})
  return (
    batch.get("inputs_length", INPUTS_LENGTH),
    batch.get("targets_length", TARGETS_LENGTH),
  )


def differences(old, new, name=""):
  """Yields the names of the settings that differ between two experiments.

  Settings that only one of them has are left out, and so are those of `FREE`.
  """
  if isinstance(old, dict) and isinstance(new, dict):
    for key in sorted(old.keys() & new.keys()):
      inner = f"{name}.{key}" if name else key
      yield from differences(old[key], new[key], inner)
  elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
    for i, values in enumerate(zip(old, new, strict=True)):
      yield from differences(*values, f"{name}[{i}]")
  elif old != new and name not in FREE:
    yield name
