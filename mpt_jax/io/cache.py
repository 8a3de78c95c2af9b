"""The user's cache folder, for files that can be fetched or made again."""

import os
import pathlib


def cache_dir() -> pathlib.Path:
  """Returns $MPT_CACHE_DIR, or `mpt_jax` in the user's cache folder."""
  if os.environ.get("MPT_CACHE_DIR"):
    return pathlib.Path(os.environ["MPT_CACHE_DIR"]).expanduser()
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(home).expanduser() / "mpt_jax"


def data_dir() -> pathlib.Path:
  """Returns the folder of fetched datasets."""
  return cache_dir() / "data"
