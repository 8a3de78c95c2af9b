"""What a run's experiment.json says to those who use its prompts."""

import json

from etils import epath

from mpt_jax.io import paths

FILE = "experiment.json"
# Of prompts whose run folder is not at hand.
INPUTS_LENGTH, TARGETS_LENGTH = 512, 64


def read(path) -> dict:
  """The experiment.json of the run that a prompt file or folder belongs to.

  Args:
    path: a run folder, or a file in its prompts/.

  Returns:
    The settings, empty where the file lies elsewhere.
  """
  path = epath.Path(paths.absolute(path))
  for folder in (path, path.parent.parent):
    settings = folder / FILE
    if settings.is_file():
      return json.loads(settings.read_text(encoding="utf-8"))
  return {}


def backbone(settings) -> str:
  """The backbone that a run's settings name, "default" where none does."""
  name = settings.get("backbone", "default")
  return name if isinstance(name, str) else "default"


def lengths(settings) -> tuple[int, int]:
  """(inputs_length, targets_length) of a run's settings, or the defaults."""
  batch = settings.get("batch", {})
  return (
    batch.get("inputs_length", INPUTS_LENGTH),
    batch.get("targets_length", TARGETS_LENGTH),
  )
