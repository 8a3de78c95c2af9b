"""T5s on the Hugging Face hub, by their names.

A name is told from a folder like this:

1. What exists on this machine under the given path is a folder.
2. Otherwise `owner/model` and `owner/model@revision` are names on the hub: one
   slash, and letters, digits, `_`, `-` and `.` around it. A revision is a
   branch, a tag or a commit.
3. Everything else is a folder, such as `./owner/model` and `model`.

huggingface_hub, which is the extra `hub`, downloads a model and keeps it in its
own cache. The config is read first, so that no weights are fetched of a model
that is no T5. Only the files that are read are fetched: no code, and PyTorch's
files only if there are no safetensors.
"""

import os
import pathlib
import re
from typing import NamedTuple

from mpt_jax.backbones import own_folder
from mpt_jax.backbones.hf_config import CONFIG, GENERATION, hf_config
from mpt_jax.io import files
from mpt_jax.text import tokenizer_settings, vocabulary_files

_NAME = re.compile(
  r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+(?:/[\w.-]+)*))?",
  re.ASCII,
)
_SMALL = (
  CONFIG,
  GENERATION,
  vocabulary_files.PIECES,
  *vocabulary_files.OWN_FILES,
  *tokenizer_settings.FILES,
)
_SAFETENSORS = (
  own_folder.PARAMS,
  "model.safetensors",
  "model.safetensors.index.json",
  "model-*-of-*.safetensors",
)
_PYTORCH = (
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
  "pytorch_model-*-of-*.bin",
)


class Name(NamedTuple):
  """A model on the hub: `owner/model`, and a revision or None."""

  model: str
  revision: str | None

  def __str__(self):
    return self.model if self.revision is None else "@".join(self)


def find_name(path) -> Name | None:
  """Returns the name on the hub that a user means, or None for a folder.

  >>> find_name("google/flan-t5-base@main")
  Name(model='google/flan-t5-base', revision='main')
  >>> find_name("./google/flan-t5-base"), find_name("/models/t5")
  (None, None)
  """
  found = _NAME.fullmatch(os.fspath(path))
  if found is None or pathlib.Path(path).exists():
    return None
  return Name(*found.groups())


def fetch(name: Name) -> pathlib.Path:
  """Returns the folder of a T5 in huggingface_hub's cache; fetches it there.

  Offline, and if the hub cannot be reached, the folder is what an earlier call
  has fetched.

  Raises:
    FileNotFoundError: huggingface_hub is not installed, there is no such model
      or revision, or it can be neither fetched nor found in the cache.
    PermissionError: the model is gated, and this login may not read it.
    OSError: the download failed in another way.
    ValueError: it is not a T5.
  """
  try:
    import huggingface_hub.errors
  except ImportError as error:
    raise FileNotFoundError(
      f"there is no folder {str(name)!r}; to fetch it from the Hugging Face"
      " hub, install huggingface_hub: pip install 'mpt_jax[hub]'"
    ) from error

  def get(patterns):
    # A pattern is matched with the whole path of a file, so files in folders
    # are left out.
    try:
      folder = huggingface_hub.snapshot_download(
        name.model, revision=name.revision, allow_patterns=list(patterns)
      )
    except (huggingface_hub.errors.HTTPError, OSError) as error:
      raise _explained(name, error) from error
    return pathlib.Path(folder)

  folder = get(_SMALL)
  if not (folder / CONFIG).is_file():
    raise FileNotFoundError(
      f"{str(name)!r} on the Hugging Face hub is no T5 that can be read here:"
      f" it has no {CONFIG}"
    )
  fields = files.read_json(folder / CONFIG)
  if "model_type" in fields:
    hf_config(fields, folder)
  folder = get(_SAFETENSORS)
  if not any(folder.glob("*.safetensors")):
    folder = get(_PYTORCH)
  return folder


def _explained(name, error) -> OSError:
  """Returns what to raise for an error of huggingface_hub, as one line."""
  from huggingface_hub import constants, errors

  model, hub = name.model, constants.ENDPOINT
  log_in = "log in with `hf auth login`, or set HF_TOKEN"
  response = getattr(error, "response", None)
  status = getattr(response, "status_code", None)
  if isinstance(error, errors.GatedRepoError):
    return PermissionError(
      f"{model!r} is gated: accept its conditions at {hub}/{model}, then"
      f" {log_in}"
    )
  if isinstance(error, errors.RevisionNotFoundError):
    return FileNotFoundError(
      f"{model!r} has no revision {name.revision!r} on the Hugging Face hub;"
      f" see {hub}/{model}/commits"
    )
  if isinstance(error, errors.RepositoryNotFoundError):
    return FileNotFoundError(
      f"there is neither a folder {str(name)!r} on this machine nor a public"
      f" model {model!r} on {hub}; check the spelling, and for a private model"
      f" {log_in}"
    )
  if status in (401, 403):
    return PermissionError(
      f"{hub} refuses to give {model!r} ({status}): {log_in}"
    )
  if isinstance(error, errors.LocalEntryNotFoundError):
    why = f"{hub} cannot be reached"
    if constants.is_offline_mode():
      why = "HF_HUB_OFFLINE is set"
    return FileNotFoundError(
      f"{str(name)!r} is not a folder on this machine, and {why}, and"
      f" {constants.HF_HUB_CACHE} does not hold all of its files; fetch it"
      f" where there is a network, with `hf download {model}`, or name a folder"
    )
  text = " ".join(str(error).split())
  return OSError(f"{str(name)!r} cannot be fetched from {hub}: {text:.200}")
