"""Files and folders that take their name once they are complete."""

import contextlib
import glob
import json
import os
import pathlib
import shutil

from etils import epath

from mpt_jax.io import errors, paths


def check_free(path, folder=True) -> pathlib.Path:
  """Returns the path of an output that does not exist yet.

  Args:
    path: the path.
    folder: whether the output is a folder. An empty folder may exist.

  Raises:
    ValueError: there is something at the path.
  """
  path = pathlib.Path(path)
  if path.is_dir() and not folder:
    raise ValueError(f"{path} is a folder; name a file with --out")
  if path.is_dir() and any(path.iterdir()):
    raise ValueError(f"the folder {path} is not empty; name another --out")
  if path.exists() and not path.is_dir():
    raise ValueError(f"{path} exists; remove it, or name another --out")
  return path


@contextlib.contextmanager
def replacing(path):
  """Writes a file that takes its name once it is complete.

  The caller writes to a temporary path in the same folder. At the end of the
  block the temporary file is moved to `path` and replaces a file there. If the
  block raises an exception, the temporary file is removed, and `path` stays as
  it was.

  The temporary name ends in the process id, so that several processes may
  write the same path; the last one to finish wins.

  Args:
    path: the file, local or an address such as gs://... Its parent folder is
      made if it does not exist.

  Yields:
    The temporary path, an `epath.Path`. Nothing exists there yet.

  Raises:
    OSError: the file cannot be written, or the disk is full.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(_temporary_name(path))
  try:
    with errors.writing(path):
      yield temporary
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path):
  """Fills a local folder that takes its name once it is complete.

  If the block raises an exception, nothing stays of the folder.

  Args:
    path: the folder. It must not exist or be empty, see `check_free`. Its
      parent folder is made if it does not exist.

  Yields:
    The temporary folder, a `pathlib.Path`. It exists and is empty.

  Raises:
    OSError: the folder cannot be written, or the disk is full.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(_temporary_name(path))
  # A killed process with the same id may have left it.
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    yield temporary
    temporary.rename(path)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def write_text(path, text: str):
  """Writes a text file in UTF-8 in one move, see `replacing`."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


def write_bytes(path, data: bytes):
  """Writes a file in one move, see `replacing`."""
  with replacing(path) as temporary:
    temporary.write_bytes(data)


def remove_leftovers(path):
  """Removes what killed processes left of a local file, see `replacing`."""
  path = pathlib.Path(path)
  for temporary in path.parent.iterdir():
    if is_temporary(temporary, path.name):
      temporary.unlink(missing_ok=True)


def is_temporary(path, name: str) -> bool:
  """Whether a path is that of an unfinished file of this name.

  >>> is_temporary(pathlib.Path("run/a.json.123.partial"), "a.json")
  True
  >>> is_temporary(pathlib.Path("run/a.json"), "a.json")
  False
  """
  return path.name.startswith(name + ".") and path.name.endswith(".partial")


def _temporary_name(path):
  return f"{path.name}.{os.getpid()}.partial"


@epath.register_path_cls
class _LiteralPath(type(epath.Path())):
  """A local path whose `glob` takes only its argument for a pattern.

  That of etils joins both, so that orbax would find nothing in `exp[1]`.
  """

  def glob(self, pattern):
    for found in glob.glob(os.path.join(glob.escape(str(self)), pattern)):
      yield self._new(found)


def literal(path) -> epath.Path:
  """Returns a path for libraries that list its files by a pattern.

  Args:
    path: a local path, which becomes absolute, or an address such as gs://...
  """
  name = paths.absolute(path)
  return epath.Path(name) if "://" in name else _LiteralPath(name)


def read_json(path) -> dict:
  """Reads a JSON object.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it does not hold a JSON object.
  """
  try:
    fields = json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(fields, dict):
    raise ValueError(f"{path} must hold a JSON object, got {fields!r:.40}")
  return fields
