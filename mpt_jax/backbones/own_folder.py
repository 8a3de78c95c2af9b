"""The files of a T5 folder of ours, and the digests in them.

`params.safetensors` has `tensors_sha256` in its metadata (see
`fingerprints.TensorDigest`). `config.json` has the SHA-256 of the vocabulary as
`vocabulary_sha256`, and a `digest` of its own fields (see `io.digests`).
"""

import dataclasses
import json
import pathlib
import shutil

from mpt_jax.io import digests, files
from mpt_jax.model.config import T5Config
from mpt_jax.text import vocabulary_files

FORMAT = "mpt_jax"
CONFIG, PARAMS = "config.json", "params.safetensors"
TENSORS_SHA256, VOCABULARY_SHA256 = "tensors_sha256", "vocabulary_sha256"


def copy_vocabulary(vocabulary_path, folder) -> str | None:
  """Copies a vocabulary into a folder, where it replaces another one.

  Args:
    vocabulary_path: the file, or None for no vocabulary.
    folder: the folder.

  Returns:
    The SHA-256 of the file, or None.
  """
  copied = None
  if vocabulary_path is not None:
    copied = folder / vocabulary_files.own_file_name(vocabulary_path)
    if pathlib.Path(vocabulary_path).resolve() != copied.resolve():
      with files.replacing(copied) as temporary:
        shutil.copyfile(vocabulary_path, temporary)
  for name in vocabulary_files.OWN_FILES:
    if folder / name != copied:
      (folder / name).unlink(missing_ok=True)
  return None if copied is None else digests.file_sha256(copied)


def write_config(folder, config: T5Config, vocabulary_sha256: str | None):
  """Writes config.json."""
  fields = {"format": FORMAT, **dataclasses.asdict(config)}
  if vocabulary_sha256 is not None:
    fields[VOCABULARY_SHA256] = vocabulary_sha256
  text = json.dumps(digests.seal(fields), indent=2) + "\n"
  files.write_text(folder / CONFIG, text)


def read_config(fields, folder) -> T5Config:
  """Makes the config of a folder from the fields of its config.json.

  Raises:
    ValueError: the fields are damaged, or do not fit `T5Config`.
  """
  path = folder / CONFIG
  fields = digests.unseal(fields, path)
  known = [field.name for field in dataclasses.fields(T5Config)]
  others = {"format", VOCABULARY_SHA256}
  try:
    return T5Config(**{k: v for k, v in fields.items() if k not in others})
  except TypeError as error:
    raise ValueError(
      f"{path} does not fit T5Config: {error}; its fields are"
      f" {', '.join(known)}"
    ) from error
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def find_vocabulary(fields, folder) -> str | None:
  """The vocabulary of a folder; see `vocabulary_files.find_vocabulary`.

  Raises:
    ValueError: it is missing or is not the one that the folder was written
      with.
  """
  path = vocabulary_files.find_vocabulary(folder)
  expected = fields.get(VOCABULARY_SHA256)
  if expected is None:
    return path
  if path is None:
    raise ValueError(
      f"the vocabulary of {folder} is missing; copy the folder again"
    )
  if digests.file_sha256(path) != expected:
    raise ValueError(
      f"{path} is damaged or is another vocabulary: its SHA-256 is not that in"
      f" {folder / CONFIG}; copy it again, or write the folder again with mpt"
      " convert --vocabulary"
    )
  return path


def check_tensors_sha256(folder, expected: str | None, found: str):
  """Compares the digest of the tensors that were read.

  Args:
    folder: the folder.
    expected: the digest in the file; None if it has none.
    found: the digest of the tensors.

  Raises:
    ValueError: the digests differ.
  """
  if expected is not None and expected != found:
    raise ValueError(
      f"{folder / PARAMS} is damaged: its tensors differ from its"
      f" {TENSORS_SHA256}; copy the file again"
    )
