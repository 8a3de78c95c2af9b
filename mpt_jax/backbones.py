"""Reading and writing T5 backbones: our own folders and Hugging Face's.

A folder of ours holds

  config.json          the fields of `T5Config` and "format": "mpt_jax"
  params.safetensors   tensors under t5x's names, such as
                       "encoder/layers_0/attention/query/kernel"
  sentencepiece.model  the vocabulary, if there is one

and a Hugging Face folder `config.json`, `model.safetensors` (or its shards)
and `spiece.model`. Nothing here imports TensorFlow, seqio or PyTorch.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mpt_jax.huggingface import hf_config, hf_files, hf_items
from mpt_jax.network import T5Config
from mpt_jax.tensor_files import (
  DTYPES,
  TensorFiles,
  check_tensors,
  parameter_shapes,
  read_json,
)
from mpt_jax.vocabularies import NUM_EXTRA_IDS

DEFAULT = "default"
DEFAULT_FOLDER = pathlib.Path(__file__).parent / "default_t5"


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
  """A T5 without prompts.

  Attributes:
    config: its shape.
    params: tree of NumPy arrays with t5x's names, without `prompt`.
    vocabulary_path: a sentencepiece model, or None where the folder has none.
    fingerprint: 16 hex digits of `fingerprint(config, params)` as they are on
      disk: the same for every load of the same weights, whatever the dtype
      asked for. A saved prompt names the T5 it was trained on by it.
    name: "default", or the folder's path.
  """

  config: T5Config
  params: Any
  vocabulary_path: str | None
  fingerprint: str
  name: str


def fingerprint(config: T5Config, params) -> str:
  """16 hex digits that tell one T5 from another.

  SHA-256 over the config (without dtype and dropout, which are not the
  model's) and every tensor's name and float32 values: bfloat16 weights have
  the same fingerprint as their float32 copies.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  digest = hashlib.sha256()
  for name in sorted(flat):
    _update_digest(digest, name, np.asarray(flat[name]))
  return _fingerprint(config, digest.hexdigest())


def _update_digest(digest, name, array):
  digest.update(f"{name} {array.shape} ".encode())
  digest.update(np.ascontiguousarray(array, np.float32).tobytes())


def _fingerprint(config, tensors_sha256):
  fields = dataclasses.asdict(config)
  del fields["dtype"], fields["dropout_rate"]
  text = json.dumps([fields, tensors_sha256], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_backbone(
  directory, config: T5Config, params, vocabulary_path=None, dtype="float32"
) -> Backbone:
  """Writes a backbone as a folder of ours, replacing what is there.

  Args:
    directory: the folder, made if need be.
    config: shape of the T5.
    params: tree of arrays with t5x's names, without `prompt`.
    vocabulary_path: a sentencepiece model to copy into the folder.
    dtype: "float32" or "bfloat16", of the tensors on disk.

  Returns:
    The backbone as `load_backbone(directory)` reads it.

  Raises:
    ValueError: tensors missing, too many, or of another shape than config's.
    OSError: the folder cannot be written, or the disk is full.
  """
  disk_dtype = _checked_dtype(dtype)
  flat = traverse_util.flatten_dict(params, sep="/")
  check_tensors(
    "params",
    {name: tuple(x.shape) for name, x in flat.items()},
    parameter_shapes(config),
  )
  tensors, digest = {}, hashlib.sha256()
  for name in sorted(flat):
    tensors[name] = np.ascontiguousarray(flat[name]).astype(disk_dtype)
    _update_digest(digest, name, tensors[name])
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  vocabulary = directory / "sentencepiece.model"
  if vocabulary_path is None:
    vocabulary.unlink(missing_ok=True)
  elif pathlib.Path(vocabulary_path).resolve() != vocabulary.resolve():
    shutil.copyfile(vocabulary_path, vocabulary)
  # Written aside and renamed, so that a full disk leaves no half of a file.
  partial = directory / "params.safetensors.partial"
  try:
    save_file(tensors, partial, {"tensors_sha256": digest.hexdigest()})
    os.replace(partial, directory / "params.safetensors")
  except SafetensorError as error:
    raise OSError(f"cannot write {partial}: {error}") from error
  finally:
    partial.unlink(missing_ok=True)
  fields = {"format": "mpt_jax", **dataclasses.asdict(config)}
  (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
  return load_backbone(directory)


def load_backbone(path=DEFAULT, dtype: str | None = None) -> Backbone:
  """Reads a backbone.

  Args:
    path: "default" for the model in this package, a folder of ours, or a
      Hugging Face folder of a T5 1.0 or 1.1.
    dtype: "float32" or "bfloat16", of the arrays and of the computation. None:
      what our folder's config says, and float32 for Hugging Face's. float32
      weights are exact whatever is on disk.

  Raises:
    FileNotFoundError: there is no such folder, or files are missing in it.
    ValueError: the files are damaged, or are not those of such a T5.
  """
  if dtype is not None:
    _checked_dtype(dtype)
  name = str(path)
  folder = pathlib.Path(path)
  if name == DEFAULT:
    folder = DEFAULT_FOLDER
    if not (folder / "params.safetensors").is_file():
      raise FileNotFoundError(
        "this version of mpt_jax comes without the weights of its default T5;"
        " name another with --backbone DIR (in Python and gin: backbone), for"
        " instance a Hugging Face T5 folder"
      )
  if not folder.is_dir():
    raise FileNotFoundError(
      f"no backbone folder {name!r}. Give 'default', a folder written by"
      " mpt_jax, or a Hugging Face T5 folder on this machine."
    )
  fields = read_json(folder / "config.json", folder)
  if fields.get("format") == "mpt_jax":
    config = _own_config(fields, folder)
    tensors = TensorFiles(folder, [folder / "params.safetensors"])
    check_tensors(
      folder,
      {name: tensors.shape(name) for name in tensors},
      parameter_shapes(config),
    )
    items = ((name, tensors[name]) for name in sorted(tensors))
    tensors_sha256 = tensors.metadata.get("tensors_sha256")
    vocabulary = folder / "sentencepiece.model"
  elif "model_type" in fields:
    config = hf_config(fields, folder)
    tensors = TensorFiles(folder, hf_files(folder))
    items = hf_items(tensors, config, folder)
    tensors_sha256 = None
    vocabulary = folder / "spiece.model"
  else:
    raise ValueError(
      f"{folder / 'config.json'} is not a backbone's: it has neither"
      ' "format": "mpt_jax" nor Hugging Face\'s "model_type"'
    )
  config = dataclasses.replace(config, dtype=dtype or config.dtype)
  flat, digest = {}, hashlib.sha256()
  for tensor_name, array in items:
    if not tensors_sha256:
      _update_digest(digest, tensor_name, array)
    flat[tensor_name] = array.astype(DTYPES[config.dtype], copy=False)
  return Backbone(
    config,
    traverse_util.unflatten_dict(flat, sep="/"),
    str(vocabulary) if vocabulary.is_file() else None,
    _fingerprint(config, tensors_sha256 or digest.hexdigest()),
    name,
  )


def check_vocabulary(backbone: Backbone) -> int:
  """Checks that every id of the vocabulary has a row in the embedding.

  Returns:
    The number of ids: the sentencepiece model's and the sentinels after them.

  Raises:
    FileNotFoundError: the backbone has no vocabulary.
    ValueError: the file is damaged, or has more ids than the embedding rows.
  """
  import sentencepiece

  path = backbone.vocabulary_path
  if path is None:
    raise FileNotFoundError(
      f"the backbone {backbone.name!r} has no vocabulary: put its"
      " sentencepiece model into the folder, as 'sentencepiece.model', or"
      " 'spiece.model' in a Hugging Face folder"
    )
  try:
    pieces = sentencepiece.SentencePieceProcessor(model_file=path)
  except (RuntimeError, OSError) as error:
    raise ValueError(
      f"{path} is not a readable sentencepiece model: {error}"
    ) from error
  size = pieces.get_piece_size() + NUM_EXTRA_IDS
  if size > backbone.config.vocab_size:
    raise ValueError(
      f"the vocabulary does not fit the model: {path} has {size} ids"
      f" ({NUM_EXTRA_IDS} sentinels included), the embedding of"
      f" {backbone.name!r} vocab_size={backbone.config.vocab_size} rows"
    )
  return size


def _checked_dtype(dtype):
  if dtype not in DTYPES:
    raise ValueError(f"dtype must be one of {tuple(DTYPES)}, got {dtype!r}")
  return DTYPES[dtype]


def _own_config(fields, folder):
  fields = {k: v for k, v in fields.items() if k != "format"}
  try:
    return T5Config(**fields)
  except TypeError as error:
    known = ", ".join(f.name for f in dataclasses.fields(T5Config))
    raise ValueError(
      f"{folder / 'config.json'} does not fit T5Config: {error}; its fields"
      f" are {known}"
    ) from error
