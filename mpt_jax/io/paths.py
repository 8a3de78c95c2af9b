"""Folders of runs, which may lie on gs://."""

import os
import pathlib

# This package. The default T5 and the gin files are in it; in a clone, gin/ and
# tasks/ are links to the folders beside it.
PACKAGE = pathlib.Path(__file__).resolve().parents[1]
DEFAULT_T5 = PACKAGE / "default_t5"


def absolute(path) -> str:
  """The absolute path of a local one; an address such as gs://... stays.

  (`epath.Path.absolute` takes an address for a local folder.)

  >>> absolute("gs://bucket/run/")
  'gs://bucket/run'
  """
  name = os.fspath(path)
  return name.rstrip("/") if "://" in name else os.path.abspath(name)


def check_local(path, what: str):
  """Refuses an address, which `pathlib` would take for a local folder.

  Args:
    path: a folder.
    what: what is to be written there.

  Raises:
    ValueError: it is an address such as gs://...
  """
  if "://" in os.fspath(path):
    raise ValueError(
      f"{what} cannot be written to {path}: give a local folder (a bucket may"
      " be mounted as one)"
    )
