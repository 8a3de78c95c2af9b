"""Files of tensors, read and written one tensor at a time."""

import collections.abc
import json
import math
import os
import struct
import zipfile

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from mpt_jax.io import files
from mpt_jax.io.errors import one_line, reading

DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class TensorFiles(collections.abc.Mapping):
  """The tensors of safetensors files; each is read when it is asked for.

  Attributes:
    metadata: the metadata of all files.
    paths: the file of each tensor.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is damaged, or a tensor is in two files.
  """

  def __init__(self, folder, paths):
    self._folder = folder
    self._files = {}
    self.metadata = {}
    self.paths = {}
    for path in paths:
      if not path.is_file():
        raise missing_file(path, folder)
      try:
        opened = safe_open(path, framework="np")
        self.metadata.update(opened.metadata() or {})
        names = list(opened.keys())
      except SafetensorError as error:
        raise ValueError(
          f"{path} is damaged or incomplete ({one_line(error)}); copy it again"
        ) from error
      _add_names(self.paths, names, path)
      self._files.update(dict.fromkeys(names, opened))

  def __getitem__(self, name):
    try:
      with reading(self.paths[name], "a safetensors file"):
        array = self._files[name].get_tensor(name)
    except ValueError:
      # NumPy lacks the tensor's type, for instance float8.
      dtype = self._files[name].get_slice(name).get_dtype()
      check_floats(name, self._folder, dtype)
      raise
    check_floats(name, self._folder, array.dtype)
    return array

  def shape(self, name):
    return tuple(self._files[name].get_slice(name).get_shape())

  def __iter__(self):
    return iter(self._files)

  def __len__(self):
    return len(self._files)


class TorchFiles(collections.abc.Mapping):
  """The tensors of PyTorch's files, which are mapped into memory.

  They are loaded with `weights_only`, so no code in them is executed.

  Attributes:
    paths: the file of each tensor.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is damaged or holds more than tensors, a tensor is in two
      files, or PyTorch is not installed.
  """

  def __init__(self, folder, paths):
    try:
      import torch
    except ImportError as error:
      raise ValueError(
        f"reading {paths[0]} needs PyTorch: install it (pip install torch), or"
        " save the model as safetensors where it is installed"
      ) from error
    self._folder = folder
    self._tensors = {}
    self.paths = {}
    for path in paths:
      if not path.is_file():
        raise missing_file(path, folder)
      try:
        loaded = torch.load(
          path,
          map_location="cpu",
          weights_only=True,
          # Files from before PyTorch 1.6 are no archives and cannot be mapped.
          mmap=zipfile.is_zipfile(path),
        )
      except OSError:
        raise
      except Exception as error:  # Unpickling raises many types.
        raise ValueError(
          f"{path} is damaged, or holds more than tensors ({error!s:.120})"
        ) from error
      if not isinstance(loaded, dict) or not all(
        isinstance(x, torch.Tensor) for x in loaded.values()
      ):
        raise ValueError(f"{path} is not a dict of tensors")
      _add_names(self.paths, loaded, path)
      size = path.stat().st_size
      for name, tensor in loaded.items():
        # A view may repeat a few numbers many times.
        if tensor.numel() * tensor.element_size() > size:
          raise ValueError(
            f"{path}: {name} has the shape {tuple(tensor.shape)}, which is"
            f" larger than the file of {size} bytes"
          )
      self._tensors.update(loaded)

  def __getitem__(self, name):
    import torch

    tensor = self._tensors[name].detach()
    if tensor.layout == torch.strided:
      tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
      # NumPy does not know PyTorch's bfloat16: reinterpret the bits as ours.
      return tensor.view(torch.int16).numpy().view(DTYPES["bfloat16"])
    try:
      array = tensor.numpy()
    except (TypeError, RuntimeError):
      # NumPy lacks the tensor's type, or the tensor is sparse.
      kind = f"{tensor.dtype}, {tensor.layout}".replace("torch.", "")
      check_floats(name, self._folder, kind)
      raise
    check_floats(name, self._folder, array.dtype)
    return array

  def shape(self, name):
    return tuple(self._tensors[name].shape)

  def __iter__(self):
    return iter(self._tensors)

  def __len__(self):
    return len(self._tensors)


def _add_names(paths, names, path):
  """Notes the file of some tensors; none may be in two files."""
  for name in names:
    if not isinstance(name, str):
      raise ValueError(
        f"{path}: a tensor's name must be text, got {name!r:.40}"
      )
    if name in paths:
      raise ValueError(
        f"the tensor {name} is both in {paths[name]} and in {path}; copy the"
        " folder again"
      )
    paths[name] = path


_SAFETENSORS_DTYPES = {
  DTYPES["float32"]: "F32",
  DTYPES["bfloat16"]: "BF16",
}


def write_tensors(path, shapes, dtype, items, digests, metadata=None):
  """Writes a safetensors file with one tensor in memory at a time.

  Args:
    path: the file; it takes this name once it is complete.
    shapes: shape of each tensor, by name.
    dtype: type of the tensors, NumPy's float32 or bfloat16.
    items: (name, array) of that dtype, in the order of `shapes`.
    digests: name -> a `hashlib` object, which `items` may update as it goes.
      The final hex digits become the file's metadata.
    metadata: more of it, a dict of texts.

  Raises:
    OSError: the file cannot be written, or the disk is full.
  """
  # These files are large: do not keep what a killed run left of one.
  files.remove_leftovers(path)
  with files.replacing(path) as temporary, temporary.open("wb") as file:
    file.write(_header(shapes, dtype, digests, metadata))
    names = iter(shapes)
    for name, array in items:
      if name != next(names) or array.shape != shapes[name]:
        raise ValueError(f"{name} {array.shape} is out of order")
      file.write(np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8))
    # The digests are known now. They are as long as they were at the start.
    file.seek(0)
    file.write(_header(shapes, dtype, digests, metadata))
    file.flush()
    os.fsync(file.fileno())


def _header(shapes, dtype, digests, metadata):
  """The header of a safetensors file: its length and each tensor's place."""
  hashed = {name: d.hexdigest() for name, d in digests.items()}
  fields = {"__metadata__": {**(metadata or {}), **hashed}}
  offset = 0
  for name, shape in shapes.items():
    end = offset + math.prod(shape) * dtype.itemsize
    fields[name] = {
      "dtype": _SAFETENSORS_DTYPES[dtype],
      "shape": list(shape),
      "data_offsets": [offset, end],
    }
    offset = end
  text = json.dumps(fields, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  return struct.pack("<Q", len(text)) + text


def check_floats(name, folder, dtype):
  """Raises a ValueError if a tensor does not hold floats."""
  if dtype not in (*DTYPES.values(), np.float16, np.float64):
    raise ValueError(
      f"tensor {name!r} in {folder} has dtype {dtype}; expected floats."
      " Quantised weights are not supported."
    )


def missing_file(path, folder):
  """The error about a file that the folder lacks."""
  here = sorted(p.name for p in folder.iterdir())
  hint = ""
  if any(name.endswith((".bin", ".msgpack", ".h5")) for name in here):
    hint = (
      ". Weights in other formats are not read here: load them in transformers"
      " and call save_pretrained, which writes safetensors"
    )
  return FileNotFoundError(
    f"{folder} is not a backbone folder: no {path.name}. Expected config.json"
    " and params.safetensors (mpt_jax), config.json and model.safetensors or"
    " pytorch_model.bin (Hugging Face), or a checkpoint of t5x; there is"
    f" {', '.join(here) or 'nothing'}{hint}"
  )
