"""Safetensors files read tensor by tensor, and what a T5's should hold."""

import collections.abc
import functools
import json

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from mpt_jax.model import Model
from mpt_jax.network import T5Config

DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


@functools.cache
def parameter_shapes(config: T5Config) -> dict[str, tuple[int, ...]]:
  """Shapes of all tensors of a T5, by flat t5x name, sorted."""
  model = Model(config, trainable="everything")
  params = jax.eval_shape(model.init_variables, jax.random.key(0))["params"]
  flat = traverse_util.flatten_dict(params, sep="/")
  return {name: tuple(flat[name].shape) for name in sorted(flat)}


class TensorFiles(collections.abc.Mapping):
  """The tensors of safetensors files, each read when it is asked for."""

  def __init__(self, folder, paths):
    self._folder = folder
    self._files = {}
    self.metadata = {}
    for path in paths:
      if not path.is_file():
        raise missing_file(path, folder)
      try:
        opened = safe_open(path, framework="np")
        self.metadata.update(opened.metadata() or {})
        self._files.update(dict.fromkeys(opened.keys(), opened))
      except SafetensorError as error:
        raise ValueError(
          f"{path} is damaged or incomplete ({error}); copy it again"
        ) from error

  def __getitem__(self, name):
    array = self._files[name].get_tensor(name)
    if array.dtype not in (*DTYPES.values(), np.float16, np.float64):
      raise ValueError(
        f"tensor {name!r} in {self._folder} has dtype {array.dtype}; expected"
        " floats. Quantised weights are not supported."
      )
    return array

  def shape(self, name):
    return tuple(self._files[name].get_slice(name).get_shape())

  def __iter__(self):
    return iter(self._files)

  def __len__(self):
    return len(self._files)


def missing_file(path, folder):
  """The error for a file that the folder should hold."""
  here = sorted(p.name for p in folder.iterdir())
  hint = ""
  if any(name.endswith((".bin", ".msgpack", ".h5")) for name in here):
    hint = (
      ". Weights in other formats are not read: load them in transformers and"
      " call save_pretrained, which writes safetensors"
    )
  return FileNotFoundError(
    f"{folder} is not a backbone folder: no {path.name}. Expected config.json"
    " and params.safetensors (mpt_jax), or config.json and model.safetensors"
    f" (Hugging Face); there is {', '.join(here) or 'nothing'}{hint}"
  )


def read_json(path, folder):
  """Reads a JSON object; ValueError or FileNotFoundError where it cannot."""
  if not path.is_file():
    raise missing_file(path, folder)
  try:
    fields = json.loads(path.read_text())
  except ValueError as error:
    raise ValueError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(fields, dict):
    raise ValueError(f"{path} must hold a JSON object, got {fields!r:.40}")
  return fields


def check_tensors(where, found, expected):
  """Raises a ValueError that lists all that does not fit."""
  problems = [f"missing: {name}" for name in expected if name not in found]
  problems += [f"unexpected: {n}" for n in sorted(found) if n not in expected]
  problems += [
    f"shape of {name}: expected {expected[name]}, got {found[name]}"
    for name in expected
    if name in found and found[name] != expected[name]
  ]
  raise_problems(where, problems)


def raise_problems(where, problems):
  """Raises a ValueError that lists the problems, if there are any."""
  if problems:
    shown = "; ".join(problems[:8])
    if len(problems) > 8:
      shown += f"; and {len(problems) - 8} more"
    raise ValueError(
      f"the tensors of {where} are not those of its config: {shown}"
    )
