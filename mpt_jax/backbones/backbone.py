"""Reading and writing T5 backbones: ours, Hugging Face's and t5x's.

A folder of ours holds

  config.json          the fields of `T5Config` and "format": "mpt_jax"
  params.safetensors   tensors under t5x's names, such as
                       "encoder/layers_0/attention/query/kernel"
  sentencepiece.model  the vocabulary, if there is one; a ByT5 has
                       byte_vocabulary.json instead

A Hugging Face folder holds `config.json`, `model.safetensors` (or its shards,
or PyTorch's files) and `spiece.model` or `tokenizer.json`. For t5x's
checkpoints see `t5x_checkpoints`. Nothing here imports TensorFlow or seqio.
PyTorch is imported only if there are no other files than PyTorch's.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from flax import traverse_util

from mpt_jax.backbones import hub, own_folder
from mpt_jax.backbones.fingerprints import TensorDigest, fingerprint_of_digest
from mpt_jax.backbones.hf_config import hf_config, hf_shares_head
from mpt_jax.backbones.huggingface import (
  hf_files,
  hf_items,
  hf_sources,
  hf_tensors,
)
from mpt_jax.backbones.shapes import (
  check_sizes,
  check_tensors,
  parameter_shapes,
)
from mpt_jax.backbones.t5x_checkpoints import (
  T5xTensors,
  find_checkpoint,
  infer_config,
)
from mpt_jax.backbones.tensor_files import (
  DTYPES,
  TensorFiles,
  missing_file,
  write_tensors,
)
from mpt_jax.io import files, paths
from mpt_jax.model.config import T5Config
from mpt_jax.text import vocabularies, vocabulary_files

DEFAULT = "default"
DEFAULT_FOLDER = paths.DEFAULT_T5


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
  """A T5 without prompts.

  Attributes:
    config: its shape.
    params: tree of NumPy arrays with t5x's names, without `prompt`.
    vocabulary_path: a sentencepiece model, a byte vocabulary (a file that ends
      in .json), or None if the folder has no vocabulary.
    fingerprint: 16 hex digits, see `fingerprints.fingerprint`. It is that of
      the tensors on disk and does not depend on the dtype that they are loaded
      with. A saved prompt names its T5 by it.
    name: "default", the folder's path, or the name on the hub.
  """

  config: T5Config
  params: Any
  vocabulary_path: str | None
  fingerprint: str
  name: str


def save_backbone(
  directory, config: T5Config, params, vocabulary_path=None, dtype="float32"
) -> Backbone:
  """Writes a backbone as a folder of ours and replaces one that is there.

  Args:
    directory: the folder; it is made if it does not exist.
    config: shape of the T5.
    params: tree of arrays with t5x's names, without `prompt`.
    vocabulary_path: a vocabulary to copy into the folder.
    dtype: type of the tensors on disk, "float32" or "bfloat16".

  Returns:
    The backbone as `load_backbone(directory)` reads it.

  Raises:
    ValueError: tensors are missing, unexpected or of another shape than config
      says.
    OSError: the folder cannot be written, or the disk is full.
  """
  _checked_dtype(dtype)
  flat = traverse_util.flatten_dict(params, sep="/")
  check_tensors(
    "params",
    {name: tuple(x.shape) for name, x in flat.items()},
    parameter_shapes(config),
  )
  items = ((name, np.asarray(flat[name])) for name in sorted(flat))
  write_backbone(directory, config, items, vocabulary_path, dtype)
  return load_backbone(directory)


def write_backbone(
  directory,
  config: T5Config,
  items,
  vocabulary_path=None,
  dtype="float32",
  seen=None,
) -> str:
  """Writes a backbone as `save_backbone` does, one tensor at a time.

  Args:
    directory: the folder; it is made if it does not exist.
    config: shape of the T5.
    items: (name, array) of all tensors, sorted by name, of any float dtype.
    vocabulary_path: as `Backbone.vocabulary_path`.
    dtype: type of the tensors on disk, "float32" or "bfloat16".
    seen: called with the name and the array of each tensor as it is written.

  Returns:
    The fingerprint.

  Raises:
    ValueError: a tensor holds NaN or an infinite number.
    OSError: the folder cannot be written, or the disk is full.
  """
  disk_dtype = _checked_dtype(dtype)
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  vocabulary = own_folder.copy_vocabulary(vocabulary_path, directory)
  with TensorDigest("the T5 to be written") as digest:

    def converted():
      for name, array in items:
        array = np.ascontiguousarray(array).astype(disk_dtype, copy=False)
        digest.add(name, array)
        if seen is not None:
          seen(name, array)
        yield name, array

    write_tensors(
      directory / own_folder.PARAMS,
      parameter_shapes(config),
      disk_dtype,
      converted(),
      {own_folder.TENSORS_SHA256: digest},
    )
  own_folder.write_config(directory, config, vocabulary)
  return fingerprint_of_digest(config, digest.hexdigest())


@dataclasses.dataclass(frozen=True, eq=False)
class OpenBackbone:
  """A backbone whose tensors have not been read yet.

  Attributes:
    kind: "mpt_jax", "Hugging Face" or "t5x".
    folder: the folder it is read from.
    config: its shape.
    items: makes an iterator of (t5x name, array as it is on disk), sorted by
      name, which holds one tensor at a time.
    find_vocabulary: gives the value of `Backbone.vocabulary_path`. It raises a
      ValueError if the tokenizer is not of T5's kind.
    tensors_sha256: the digest of the tensors that our own files hold, or None.
    files: the files that hold config and tensors.
  """

  kind: str
  folder: pathlib.Path
  config: T5Config
  items: Callable[[], Iterator[tuple[str, np.ndarray]]]
  find_vocabulary: Callable[[], str | None]
  tensors_sha256: str | None
  files: tuple[pathlib.Path, ...]


def open_backbone(path=DEFAULT) -> OpenBackbone:
  """Finds a backbone and checks that its tensors are all there.

  Args:
    path: see `load_backbone`.

  Raises:
    FileNotFoundError: there is no such folder, or files are missing in it.
    ValueError: the files are damaged or are not those of a T5. Tensors that
      are missing, unexpected or of another shape are listed.
  """
  folder = pathlib.Path(path)
  if str(path) == DEFAULT:
    folder = DEFAULT_FOLDER
    if not (folder / "params.safetensors").is_file():
      raise FileNotFoundError(
        "this version of mpt_jax comes without the weights of its default T5;"
        " name another with --backbone DIR (in Python and gin: backbone), for"
        " instance a Hugging Face T5 folder"
      )
  elif (name := hub.find_name(path)) is not None:
    folder = hub.fetch(name)
  if not (folder / "config.json").is_file():
    checkpoint = find_checkpoint(folder)
    if checkpoint is not None:
      return _open_t5x(checkpoint, folder)
  if not folder.is_dir():
    raise FileNotFoundError(
      f"no backbone folder {str(path)!r}. Give 'default', a folder written by"
      " mpt_jax, a Hugging Face T5 folder or t5x checkpoint on this machine, or"
      " a model on the Hugging Face hub, such as google/flan-t5-base."
    )
  config = folder / "config.json"
  if not config.is_file():
    raise missing_file(config, folder)
  fields = files.read_json(config)
  if fields.get("format") == own_folder.FORMAT:
    return _open_own(fields, folder)
  if "model_type" in fields:
    return _open_hugging_face(fields, folder)
  raise ValueError(
    f"{folder / 'config.json'} is not a backbone's: it has neither"
    ' "format": "mpt_jax" nor Hugging Face\'s "model_type"'
  )


def _open_own(fields, folder):
  config = own_folder.read_config(fields, folder)
  files = (folder / own_folder.CONFIG, folder / own_folder.PARAMS)
  tensors = TensorFiles(folder, files[1:])
  _check_shapes(folder, tensors, config)
  return OpenBackbone(
    own_folder.FORMAT,
    folder,
    config,
    lambda: ((name, tensors[name]) for name in sorted(tensors)),
    lambda: own_folder.find_vocabulary(fields, folder),
    tensors.metadata.get(own_folder.TENSORS_SHA256),
    files,
  )


def _open_hugging_face(fields, folder):
  config = hf_config(fields, folder)
  tensors = hf_tensors(folder)
  sources = hf_sources(tensors, config, folder, hf_shares_head(fields))
  return OpenBackbone(
    "Hugging Face",
    folder,
    config,
    lambda: hf_items(tensors, sources, folder),
    lambda: vocabulary_files.find_vocabulary(folder, fields),
    None,
    (folder / "config.json", *hf_files(folder)),
  )


def _open_t5x(checkpoint, folder):
  tensors = T5xTensors(checkpoint)
  config = infer_config(tensors, folder)
  _check_shapes(folder, tensors, config)
  return OpenBackbone(
    "t5x",
    checkpoint,
    config,
    lambda: ((name, tensors[name]) for name in sorted(tensors)),
    # t5x keeps no vocabulary, but the user may have put one beside it.
    lambda: vocabulary_files.find_vocabulary(
      folder if folder.is_dir() else checkpoint
    ),
    None,
    (tensors.index_file,),
  )


def _check_shapes(folder, tensors, config):
  found = {name: tensors.shape(name) for name in tensors}
  check_sizes(folder, config, found.values())
  check_tensors(folder, found, parameter_shapes(config))


def load_backbone(
  path=DEFAULT, dtype: str | None = None, vocabulary_path: str | None = None
) -> Backbone:
  """Reads a backbone.

  Args:
    path: "default" for the model in this package, a folder of ours, a Hugging
      Face folder of a T5 1.0 or 1.1 (LM-adapted, Flan, mT5, UMT5, ByT5), a
      checkpoint of t5x, or a model on the Hugging Face hub as `owner/model` or
      `owner/model@revision`; see `hub`.
    dtype: type of the arrays and of the computation, "float32" or "bfloat16".
      None takes the type in our folder's config, and float32 for all other
      backbones. float32 weights are exact whatever is on disk.
    vocabulary_path: a vocabulary to use in place of the backbone's, or the
      folder of a tokenizer; see `vocabulary_files.resolve`.

  Raises:
    FileNotFoundError: there is no such folder, or files are missing in it.
    ValueError: the files are damaged, are not those of such a T5, or hold NaN
      or infinite numbers.
  """
  if dtype is not None:
    _checked_dtype(dtype)
  opened = open_backbone(path)
  config = dataclasses.replace(
    opened.config, dtype=dtype or opened.config.dtype
  )
  flat = {}
  with TensorDigest(opened.folder) as digest:
    for name, array in opened.items():
      digest.add(name, array)
      flat[name] = array.astype(DTYPES[config.dtype], copy=False)
    fingerprint = _checked_fingerprint(opened, digest)
  return Backbone(
    config,
    traverse_util.unflatten_dict(flat, sep="/"),
    vocabulary_files.resolve(vocabulary_path) or opened.find_vocabulary(),
    fingerprint,
    str(path),
  )


def identify_backbone(path=DEFAULT) -> tuple[T5Config, str]:
  """A backbone's config and fingerprint; its tensors are not kept."""
  opened = open_backbone(path)
  with TensorDigest(opened.folder) as digest:
    for name, array in opened.items():
      digest.add(name, array)
    return opened.config, _checked_fingerprint(opened, digest)


def _checked_fingerprint(opened, digest):
  """The fingerprint of the tensors that were read, as they were written."""
  found = digest.hexdigest()
  own_folder.check_tensors_sha256(opened.folder, opened.tensors_sha256, found)
  return fingerprint_of_digest(opened.config, found)


def is_hugging_face(path) -> bool:
  """Whether a path is a name on the hub, or a folder of Hugging Face's."""
  if hub.find_name(path) is not None:
    return True
  config = pathlib.Path(path) / "config.json"
  return config.is_file() and "model_type" in files.read_json(config)


def check_vocabulary(backbone: Backbone) -> int:
  """Checks that every id of the vocabulary has a row in the embedding.

  Returns:
    The number of ids: those of the sentencepiece model and the sentinels.

  Raises:
    FileNotFoundError: the backbone has no vocabulary.
    ValueError: the file is damaged, or has more ids than the embedding has
      rows.
  """
  path = backbone.vocabulary_path
  if path is None:
    raise FileNotFoundError(
      f"the backbone {backbone.name!r} has no vocabulary: put its"
      " sentencepiece model into the folder, as 'sentencepiece.model', or"
      " 'spiece.model' in a Hugging Face folder"
    )
  size, extra_ids = vocabularies.vocabulary_size(path)
  if size > backbone.config.vocab_size:
    raise ValueError(
      f"the vocabulary does not fit the model: {path} has {size} ids"
      f" ({extra_ids} sentinels included), but the embedding of"
      f" {backbone.name!r} has vocab_size={backbone.config.vocab_size} rows"
    )
  return size


def _checked_dtype(dtype):
  if dtype not in DTYPES:
    raise ValueError(f"dtype must be one of {tuple(DTYPES)}, got {dtype!r}")
  return DTYPES[dtype]
