"""The user's cache folder, for files that can be fetched or made again."""

import hashlib
import os
import pathlib

from mpt_jax.io import files


def cache_dir() -> pathlib.Path:
  """Returns $MPT_CACHE_DIR, or `mpt_jax` in the user's cache folder."""
  if os.environ.get("MPT_CACHE_DIR"):
    return pathlib.Path(os.environ["MPT_CACHE_DIR"]).expanduser()
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(home).expanduser() / "mpt_jax"


def data_dir() -> pathlib.Path:
  """Returns the folder of fetched datasets."""
  return cache_dir() / "data"


def keep(path: pathlib.Path, make) -> pathlib.Path:
  """Returns a file of the cache; makes it if it is not there, or damaged.

  Args:
    path: the file. Its SHA-256 is kept beside it, in a file with `.sha256`
      after the name.
    make: makes the content, bytes that are the same each time.
  """
  sums = path.with_name(path.name + ".sha256")
  if path.is_file() and sums.is_file():
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sums.read_bytes() == found.encode():
      return path
  data = make()
  files.write_bytes(sums, hashlib.sha256(data).hexdigest().encode())
  files.write_bytes(path, data)
  return path
