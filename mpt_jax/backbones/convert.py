"""Converts a T5 to a folder of ours, or of Hugging Face's."""

import hashlib
import json
import pathlib

import numpy as np

from mpt_jax.backbones import hub
from mpt_jax.backbones.backbone import open_backbone, write_backbone
from mpt_jax.backbones.fingerprints import TensorDigest, fingerprint_of_digest
from mpt_jax.backbones.hf_config import CONFIG
from mpt_jax.backbones.huggingface import hf_fields, to_hf
from mpt_jax.backbones.shapes import parameter_shapes
from mpt_jax.backbones.tensor_files import DTYPES, write_tensors
from mpt_jax.io import files
from mpt_jax.process.progress import Progress
from mpt_jax.text import tokenizer_settings, vocabularies, vocabulary_files

MANIFEST = "manifest.json"


def convert(source, out, dtype="float32", vocabulary=None) -> list[str]:
  """Writes a backbone as a folder of ours, with one tensor in memory at a time.

  The folder takes its name once it is complete. Its manifest.json lists each
  tensor with its shape, its dtype in the source and in the folder, and the
  SHA-256 of its bytes in the folder. It also lists the SHA-256 of the source's
  files.

  Args:
    source: see `backbone.load_backbone`.
    out: the folder; it must not exist, or be empty.
    dtype: type of the tensors on disk, "float32" or "bfloat16".
    vocabulary: a sentencepiece model, the folder of a tokenizer, or "bytes";
      None takes the source's.

  Returns:
    Lines for the user about the folder.

  Raises:
    FileNotFoundError: there is no such source, or files are missing in it.
    ValueError: `out` is not empty; tensors are missing, unexpected or of other
      shapes (they are listed); or the vocabulary does not fit.
    OSError: `out` cannot be written, or the disk is full.
  """
  out = files.check_free(out)
  opened = open_backbone(source)
  path = _vocabulary(vocabulary, opened)
  _check_vocabulary(path, opened, source)
  tensors = {}
  total = _num_bytes(opened.config)

  def items():
    for name, array in opened.items():
      tensors[name] = {
        "shape": list(array.shape),
        "source_dtype": str(array.dtype),
      }
      yield name, array

  with files.new_folder(out) as temporary:
    with Progress("convert", total, in_bytes=True) as bar:

      def seen(name, array):
        tensors[name] |= {"dtype": str(array.dtype), "sha256": _sha256(array)}
        bar.advance(4 * array.size)

      fingerprint = write_backbone(
        temporary, opened.config, items(), path, dtype, seen
      )
    manifest = {
      "fingerprint": fingerprint,
      "source": {
        "kind": opened.kind,
        **_where(source, opened),
        "files": _hashed_files(opened),
      },
      "vocabulary": _vocabulary_entry(path),
      "tensors": tensors,
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (temporary / MANIFEST).write_text(text, encoding="utf-8")
  lines = [_told(out, total, dtype, fingerprint)]
  if path is None:
    lines.append(
      "no vocabulary was found: give --vocabulary, or put its sentencepiece"
      f" model into {out} as sentencepiece.model"
    )
  return lines


def convert_to_hugging_face(source, out, dtype="float32") -> list[str]:
  """Writes a T5 as a folder that transformers loads.

  It has config.json, model.safetensors and the files of the tokenizer. Read
  here, it is the same T5, so its prompts fit; in bfloat16 it is the T5 of the
  rounded weights. transformers opens the tokenizer with `AutoTokenizer`, and
  that of a UMT5 with `T5Tokenizer`.

  Args:
    source: see `backbone.load_backbone`.
    out: the folder; it must not exist, or be empty.
    dtype: type of the tensors on disk, "float32" or "bfloat16".

  Returns:
    Lines for the user about the folder.

  Raises:
    FileNotFoundError: there is no such source, or files are missing in it.
    ValueError: `out` is not empty, or transformers has no such T5 or tokenizer.
    OSError: `out` cannot be written, or the disk is full.
  """
  out = files.check_free(out)
  opened = open_backbone(source)
  config, path = opened.config, opened.find_vocabulary()
  _check_vocabulary(path, opened, source)
  fields, total = hf_fields(config), _num_bytes(config)
  turned = (
    to_hf(name, np.broadcast_to(np.float32(0), shape))
    for name, shape in parameter_shapes(config).items()
  )
  shapes = {name: array.shape for name, array in turned}
  with files.new_folder(out) as folder:
    _write_json(folder / CONFIG, {**fields, "dtype": dtype})
    _write_tokenizer(folder, path)
    with (
      TensorDigest(opened.folder) as digest,
      Progress("convert", total, in_bytes=True) as bar,
    ):

      def items():
        for name, array in opened.items():
          array = array.astype(DTYPES[dtype], copy=False)
          digest.add(name, array)
          yield to_hf(name, array)
          bar.advance(4 * array.size)

      file = folder / "model.safetensors"
      write_tensors(file, shapes, DTYPES[dtype], items(), {}, {"format": "pt"})
      fingerprint = fingerprint_of_digest(config, digest.hexdigest())
  return [_told(out, total, dtype, fingerprint)]


def _write_tokenizer(folder, path):
  """Writes the files from which transformers makes the tokenizer.

  Args:
    folder: the folder.
    path: the vocabulary, or None for no tokenizer.
  """
  if path is None:
    return
  if vocabularies.read_added_tokens(path):
    raise ValueError(
      f"{path} holds tokens that were added to a tokenizer, which cannot be"
      " written as transformers' own files; use the folder that they came from"
    )
  is_bytes = vocabularies.is_bytes(path)
  if not is_bytes:
    data = pathlib.Path(path).read_bytes()
    (folder / vocabulary_files.PIECES).write_bytes(data)
  fields = {
    "tokenizer_class": "ByT5Tokenizer" if is_bytes else "T5Tokenizer",
    "extra_ids": vocabularies.num_extra_ids(path),
  }
  _write_json(folder / tokenizer_settings.CONFIG, fields)


def _write_json(path, fields):
  path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _check_vocabulary(path, opened, source):
  if path is None:
    return
  size, _ = vocabularies.vocabulary_size(path)
  if size > opened.config.vocab_size:
    raise ValueError(
      f"the vocabulary does not fit the model: {path} has {size} ids, but"
      f" the embedding of {source} has {opened.config.vocab_size} rows"
    )


def _num_bytes(config) -> int:
  """The size of all tensors in float32."""
  shapes = parameter_shapes(config)
  return 4 * sum(int(np.prod(shape)) for shape in shapes.values())


def _told(out, total, dtype, fingerprint) -> str:
  return (
    f"{out}: {total // 4:,} parameters in {dtype}, fingerprint {fingerprint}"
  )


def _where(source, opened):
  """Where the source is: a folder, or a name and a commit on the hub."""
  name = hub.find_name(source)
  if name is None:
    return {"path": str(pathlib.Path(source).absolute())}
  # huggingface_hub names a folder of its cache by the commit.
  return {"hub": name.model, "commit": opened.folder.name}


def _vocabulary(given, opened):
  if given is None:
    return opened.find_vocabulary()
  if given == "bytes":
    return str(vocabularies.BYTES_PATH)
  if not pathlib.Path(given).exists():
    raise FileNotFoundError(
      f"no vocabulary at {given}; give a sentencepiece model, the folder of a"
      " tokenizer, or 'bytes'"
    )
  return vocabulary_files.resolve(given)


def _vocabulary_entry(path):
  if path is None:
    return None
  data = pathlib.Path(path).read_bytes()
  return {
    "file": vocabulary_files.own_file_name(path),
    "sha256": hashlib.sha256(data).hexdigest(),
  }


def _hashed_files(opened):
  """Size and SHA-256 of each file of the source."""
  total = sum(path.stat().st_size for path in opened.files)
  entries = {}
  with Progress("hash the source", total, in_bytes=True) as bar:
    for path in opened.files:
      with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      size = path.stat().st_size
      entries[path.name] = {"bytes": size, "sha256": digest}
      bar.advance(size)
  return entries


def _sha256(array):
  data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
  return hashlib.sha256(data).hexdigest()
