"""Loads prompts and the T5 that they belong to."""

import pathlib
from typing import NamedTuple

from mpt_jax.backbones.backbone import (
  Backbone,
  check_vocabulary,
  load_backbone,
)
from mpt_jax.io import run_settings
from mpt_jax.prompts.bank import PromptBank, check_backbone, load_bank


class Loaded(NamedTuple):
  """Prompts and the T5 they belong to.

  Attributes:
    bank: the prompts, or None for the T5 alone.
    backbone: the T5, whose vocabulary fits it.
    inputs_length: longest input in tokens, the run's.
    targets_length: longest target in tokens, the run's.
  """

  bank: PromptBank | None
  backbone: Backbone
  inputs_length: int
  targets_length: int


def load(prompts, backbone: str | None = None, dtype=None) -> Loaded:
  """Loads prompts and their T5.

  Args:
    prompts: a prompt file, a run folder, a loaded `PromptBank`, or None for
      the T5 alone.
    backbone: "default", or a folder with a T5. None: the one that the run
      names, "default" where that is not known.
    dtype: "float32" or "bfloat16"; None: the run's, or what the T5's folder
      says.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: files that do not fit each other.
  """
  settings, bank = {}, prompts
  if prompts is None:
    # A run that trains everything leaves its T5 in its folder.
    settings = run_settings.read(pathlib.Path(backbone, "config.json"))
  elif not isinstance(prompts, PromptBank):
    settings = run_settings.read(prompts)
    # Before the T5, which takes longer to load.
    bank = load_bank(prompts)
  loaded = load_backbone(
    backbone or run_settings.backbone(settings),
    dtype or settings.get("dtype"),
    settings.get("vocabulary_path"),
  )
  check_vocabulary(loaded)
  if bank is not None:
    check_backbone(bank, loaded.fingerprint)
  return Loaded(bank, loaded, *run_settings.lengths(settings))
