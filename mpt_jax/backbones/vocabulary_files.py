"""Finds the vocabulary in the folder of a T5."""

import hashlib
import json
import pathlib

from mpt_jax.backbones import unigram
from mpt_jax.data import vocabularies
from mpt_jax.io import cache, files

# Names of vocabularies in folders that this package writes.
OWN_FILES = ("sentencepiece.model", "byte_vocabulary.json")
# The version of the conversion: raise it when the conversion changes, so that
# no cached model of an older one is read.
_VERSION = b"2"


def own_file_name(path) -> str:
  """The name of a vocabulary's file in a folder of ours."""
  return OWN_FILES[vocabularies.is_bytes(path)]


def find_vocabulary(folder, config=None) -> str | None:
  """The vocabulary of a T5's folder.

  The first that applies: `sentencepiece.model` or `byte_vocabulary.json` (our
  names); `spiece.model`; the bytes if the tokenizer is ByT5's; or
  `tokenizer.json`, from which a sentencepiece model is made and kept in the
  user's cache folder. A model is also made and kept if `tokenizer_config.json`
  asks for another number of sentinels than T5's 100.

  Args:
    folder: the folder.
    config: the fields of its Hugging Face config.json, if it has one.

  Returns:
    The path of a file, or None.

  Raises:
    ValueError: the tokenizer is not of T5's kind, tokens were added to it, or a
      file is damaged.
  """
  folder = pathlib.Path(folder)
  for name in OWN_FILES:
    if (folder / name).is_file():
      return str(folder / name)
  pieces = folder / "spiece.model"
  if config is None:
    return str(pieces) if pieces.is_file() else None
  settings = _tokenizer_settings(folder / "tokenizer_config.json")
  if pieces.is_file():
    _refuse_added_tokens(folder, settings, pieces)
    return str(_with_sentinels(pieces, settings))
  if "ByT5Tokenizer" in (
    config.get("tokenizer_class"),
    settings.get("tokenizer_class"),
  ):
    return str(vocabularies.BYTES_PATH)
  if (folder / "tokenizer.json").is_file():
    return str(_cached_model(folder / "tokenizer.json"))
  return None


def _tokenizer_settings(path):
  if not path.is_file():
    return {}
  try:
    settings = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(settings, dict):
    raise ValueError(f"{path} must hold a JSON object, got {settings!r:.40}")
  return settings


def _refuse_added_tokens(folder, settings, pieces):
  """Raises a ValueError if the tokenizer has more tokens than the model."""
  added = settings.get("added_tokens_decoder") or {}
  tokens = [token.get("content", "") for token in added.values()]
  # Older folders list them in a file, newer ones in tokenizer.json alone.
  tokens += _tokenizer_settings(folder / "added_tokens.json")
  whole = _tokenizer_settings(folder / "tokenizer.json")
  tokens += [token["content"] for token in whole.get("added_tokens") or ()]
  tokens = [t for t in dict.fromkeys(tokens) if not unigram.is_t5s_own(t)]
  if tokens:
    data = pathlib.Path(pieces).read_bytes()
    tokens = [t for t in tokens if t.encode() not in data]
  if tokens:
    raise unigram.added_tokens_error(folder, tokens)


def _with_sentinels(path, settings):
  """The sentencepiece model with as many sentinels as the settings ask for.

  Args:
    path: the model.
    settings: the fields of tokenizer_config.json; `extra_ids` is the number of
      sentinels. The model stays as it is if that is None or T5's 100, or if it
      is 0 and the model or the settings name the sentinels.
  """
  extra_ids = settings.get("extra_ids")
  if (
    extra_ids in (None, vocabularies.NUM_EXTRA_IDS)
    or vocabularies.num_extra_ids(path) == 0
  ):
    return path
  if extra_ids == 0 and "<extra_id_0>" in json.dumps(settings):
    return path
  if not isinstance(extra_ids, int) or extra_ids < 0:
    raise ValueError(
      f"{path.parent / 'tokenizer_config.json'}: extra_ids must be a number of"
      f" sentinels, got {extra_ids!r}"
    )
  return _cached_model(path, extra_ids)


def _cached_model(path, extra_ids=None) -> pathlib.Path:
  """The sentencepiece model made from a file.

  It is made once and kept in the user's cache folder (`cache.cache_dir`) under
  the hash of its source.

  Args:
    path: a tokenizer.json, or with extra_ids a sentencepiece model.
    extra_ids: the number of sentinels to add.
  """
  data = pathlib.Path(path).read_bytes()
  digest = hashlib.sha256(_VERSION + data).hexdigest()[:32]
  if extra_ids is not None:
    digest += f"-{extra_ids}"
  target = cache.cache_dir() / f"{digest}.model"
  if not target.is_file():
    if extra_ids is None:
      model = unigram.sentencepiece_model(data, path)
    else:
      # Protocol buffers merge by concatenation.
      model = data + vocabularies.sentinel_pieces(extra_ids)
    if b"<extra_id_0>" not in model:
      model = vocabularies.without_sentinels(model)
    files.write_bytes(target, model)
  return target
