"""Paths that users give: local ones, or addresses such as gs://...

A path is never a pattern: `runs/exp[1]` is a folder of this name.
"""

import glob
import os
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
DEFAULT_T5 = PACKAGE / "default_t5"
# The gin files lie in the package. In a clone, gin/ is beside it, and the
# package has a link, which an archive of the clone may lose.
GIN = next(
  (f / "gin" for f in (PACKAGE, PACKAGE.parent) if (f / "gin").is_dir()),
  PACKAGE / "gin",
)
# From these folders, gin finds `gin/base.gin` and `mpt_jax/gin/base.gin`.
GIN_SEARCH_PATHS = (str(GIN.parent), str(PACKAGE.parent))


def expand(path) -> str:
  """Replaces a leading `~` by the user's home folder.

  >>> expand("gs://bucket/~")
  'gs://bucket/~'
  """
  return os.path.expanduser(os.fspath(path))


def absolute(path) -> str:
  """The absolute path of a local one; an address such as gs://... stays.

  (`epath.Path.absolute` takes an address for a local folder.)

  >>> absolute("gs://bucket/run/")
  'gs://bucket/run'
  """
  name = expand(path)
  return name.rstrip("/") if "://" in name else os.path.abspath(name)


def check_no_pattern(path, setting: str, program: str):
  """Refuses a path that a program which lists files would misread.

  Args:
    path: the path.
    setting: its name, for the error.
    program: the program, for the error.

  Raises:
    ValueError: the path has one of the characters * ? [.
  """
  name = os.fspath(path)
  if glob.escape(name) != name:
    raise ValueError(
      f"{setting}={name!r}: {program} takes the characters * ? [ of a path for"
      " a pattern; name a folder without them"
    )


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
