"""Loads prompts and the T5 that they belong to."""

import pathlib
import warnings
from typing import NamedTuple

from mpt_jax.backbones.backbone import (
  Backbone,
  check_vocabulary,
  load_backbone,
)
from mpt_jax.io import digests, paths
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank, check_backbone, load_bank


class Loaded(NamedTuple):
  """Prompts and the T5 that they belong to.

  Attributes:
    bank: the prompts, or None for the T5 alone.
    backbone: the T5, with a vocabulary that fits it.
    inputs_length: longest input of the run in tokens, or of the prompts, if
      their kind has offsets.
    targets_length: longest target of the run in tokens.
  """

  bank: PromptBank | None
  backbone: Backbone
  inputs_length: int
  targets_length: int

  def choose_inputs_length(self, given: int | None) -> int:
    """Returns the longest input to take, in tokens.

    Args:
      given: the user's choice, or None.

    Raises:
      ValueError: the prompts have offsets for fewer tokens.
    """
    known = None if self.bank is None else self.bank.config.inputs_length
    if given and known and given > known:
      raise ValueError(
        f"inputs_length must be at most {known}, got {given}: the"
        f" {self.bank.config.kind} prompts add to the embeddings of so many"
        " tokens"
      )
    return given or known or self.inputs_length


def load(prompts, backbone: str | None = None, dtype=None) -> Loaded:
  """Loads prompts and their T5.

  Args:
    prompts: a prompt file, a run folder, a loaded `PromptBank`, or None for
      the T5 alone.
    backbone: "default", the folder of a T5 or its name on the hub. None uses
      the run's backbone, or "default" if the run is unknown.
    dtype: "float32" or "bfloat16". None uses the run's dtype, or that of the
      T5's folder.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files do not fit each other.
  """
  if backbone is not None:
    backbone = paths.expand(backbone)
  settings, bank = {}, prompts
  if prompts is None:
    # A run that trains everything saves its T5 in its folder.
    settings = run_settings.read(pathlib.Path(backbone, "config.json"))
  elif not isinstance(prompts, PromptBank):
    settings = run_settings.read(prompts)
    # Load the prompts before the T5, which takes longer.
    bank = load_bank(prompts)
    if not settings and pathlib.Path(paths.expand(prompts)).is_dir():
      warnings.warn(
        f"{prompts} has no {run_settings.FILE}, so the lengths and the T5 of"
        " the run are not known and defaults count",
        stacklevel=2,
      )
  loaded = load_backbone(
    backbone or run_settings.backbone(settings),
    dtype or settings.get("dtype"),
    settings.get("vocabulary_path"),
  )
  check_vocabulary(loaded)
  expected = settings.get(run_settings.VOCABULARY_SHA256)
  if expected is not None and backbone is None:
    _check_vocabulary_sha256(loaded.vocabulary_path, expected)
  if bank is not None:
    check_backbone(bank, loaded.fingerprint)
  return Loaded(bank, loaded, *run_settings.lengths(settings))


def _check_vocabulary_sha256(path, expected):
  if digests.file_sha256(path) != expected:
    raise ValueError(
      f"{path} is not the vocabulary that the prompts were trained with: its"
      " SHA-256 differs. Copy the T5's folder again; or give --backbone to take"
      " the vocabulary as it is"
    )
