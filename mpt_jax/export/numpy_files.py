"""Reads the arrays of NumPy's files, .npy and .npz, of other programs.

The headers are compared with the sizes of the files before any array is made,
and nothing is ever unpickled.
"""

import collections
import math
import pathlib
import zipfile

import ml_dtypes
import numpy as np
from numpy.lib import format as npy_format

from mpt_jax.io.errors import reading

# The most bytes of one array. A bank of a thousand prompts has 0.4 GB.
_MOST_BYTES = 2**31
_FLOATS = (np.float16, np.float32, np.float64)


def read_npz(path) -> dict[str, np.ndarray]:
  """Reads the arrays of a .npz file, by name.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged or no .npz file, has a name twice, or an array is
      too large or would have to be unpickled.
  """
  with _reading(path, ".npz"), zipfile.ZipFile(path) as archive:
    members = archive.infolist()
    counts = collections.Counter(member.filename for member in members)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
      raise ValueError(f"{path} has {twice[0]} twice")
    arrays = {}
    for member in members:
      if not member.filename.endswith(".npy"):
        raise ValueError(f"{path}: {member.filename} is no array of NumPy's")
      with archive.open(member) as file:
        name = f"{path}: {member.filename}"
        _check_header(name, file, member.file_size)
      with archive.open(member) as file:
        key = member.filename.removesuffix(".npy")
        arrays[key] = npy_format.read_array(file, allow_pickle=False)
    return arrays


def read_npy(path) -> np.ndarray:
  """Reads the array of a .npy file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is damaged or no .npy file, or the array is too large or
      would have to be unpickled.
  """
  with _reading(path, ".npy"), open(path, "rb") as file:
    _check_header(path, file, path.stat().st_size)
    file.seek(0)
    return npy_format.read_array(file, allow_pickle=False)


def _reading(path, suffix):
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f"no file {path}")
  return reading(path, f"a {suffix} file (see mpt import --from)")


def _check_header(where, file, size):
  """Compares the header of an array with the number of bytes that there are."""
  version = npy_format.read_magic(file)
  read = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise ValueError(f"{where} has the version {version} of NumPy's format")
  shape, _, dtype = read(file)
  if dtype.hasobject:
    raise ValueError(f"{where} must hold floats, got Python objects")
  found = size - file.tell()
  expected = math.prod(shape) * dtype.itemsize
  if found > _MOST_BYTES:
    raise ValueError(
      f"{where} has {found} bytes, and at most {_MOST_BYTES} are read"
    )
  if min(shape, default=0) < 0 or expected != found:
    raise ValueError(
      f"{where} is damaged: the shape {shape} of {dtype} takes {expected}"
      f" bytes, and it holds {found}; copy it again"
    )


def to_float32(path, name, array) -> np.ndarray:
  """Converts floats of any size and byte order to float32.

  NumPy loads a saved bfloat16 as two raw bytes, because it has no such type.
  Numbers that are too large become infinite.

  Raises:
    ValueError: the array holds no floats, or has not 2 or 3 axes.
  """
  if array.dtype == np.dtype("V2"):
    array = array.view(ml_dtypes.bfloat16)
  dtype = array.dtype.newbyteorder("=")
  if dtype not in (*_FLOATS, ml_dtypes.bfloat16):
    raise ValueError(f"{path}: {name} must hold floats, got {array.dtype}")
  if array.ndim not in (2, 3):
    raise ValueError(
      f"{path}: {name} must have 2 or 3 axes, got the shape {array.shape}"
    )
  with np.errstate(over="ignore"):
    return np.ascontiguousarray(array, np.float32)
