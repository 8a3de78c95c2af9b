"""Finds the vocabulary in the folder of a T5."""

import hashlib
import json
import pathlib

from mpt_jax.io import cache, files
from mpt_jax.io.errors import reading
from mpt_jax.text import added_tokens, tokenizer_settings, unigram, vocabularies

# Names of vocabularies in folders that this package writes.
OWN_FILES = ("sentencepiece.model", "byte_vocabulary.json")
PIECES = "spiece.model"
# The version of the conversion: raise it when the conversion changes, so that
# no cached model of an older one is read.
_VERSION = b"3"


def own_file_name(path) -> str:
  """The name of a vocabulary's file in a folder of ours."""
  return OWN_FILES[vocabularies.is_bytes(path)]


def find_vocabulary(folder, config=None) -> str | None:
  """The vocabulary of a T5's folder.

  The first that applies: `sentencepiece.model` or `byte_vocabulary.json` (our
  names); `spiece.model`; the bytes if the tokenizer is ByT5's; or
  `tokenizer.json`, from which a sentencepiece model is made. Where tokens were
  added to the tokenizer, or tokenizer_config.json asks for another number of
  sentinels than T5's 100, a vocabulary with them is made. What is made is kept
  in the user's cache folder.

  T5's own special tokens, such as `</s>`, are characters in a text, as in
  seqio; see `as_transformers`.

  Args:
    folder: the folder.
    config: the fields of its Hugging Face config.json, if it has one.

  Returns:
    The path of a file, or None.

  Raises:
    ValueError: the tokenizer is not of T5's kind, or a file is damaged.
  """
  folder = pathlib.Path(folder)
  for name in OWN_FILES:
    if (folder / name).is_file():
      return str(folder / name)
  if config is None:
    pieces = folder / PIECES
    return str(pieces) if pieces.is_file() else None
  return _find(folder, config, own_tokens=False)


def resolve(path) -> str | None:
  """The vocabulary that a user names: a file, or the folder of a tokenizer.

  The texts of a folder are read as transformers reads them: T5's own special
  tokens, such as `</s>` and `<extra_id_0>`, are cut out of texts as tokens.

  Raises:
    FileNotFoundError: there is no tokenizer in the folder.
    ValueError: the tokenizer is not of T5's kind, or a file is damaged.
  """
  if path is None or "://" in str(path) or not pathlib.Path(path).is_dir():
    return path
  folder = pathlib.Path(path)
  config = folder / "config.json"
  fields = files.read_json(config) if config.is_file() else {}
  found = _find(folder, fields, own_tokens=True)
  if found is None:
    raise FileNotFoundError(
      f"{folder} has no tokenizer: expected {PIECES} or tokenizer.json"
    )
  return found


def _find(folder, config, own_tokens):
  settings = tokenizer_settings.read_settings(folder)
  own = next((f for n in OWN_FILES if (f := folder / n).is_file()), None)
  pieces = own or folder / PIECES
  is_bytes = own is not None and vocabularies.is_bytes(own)
  if is_bytes or "ByT5Tokenizer" in (
    config.get("tokenizer_class"),
    settings.get("tokenizer_class"),
  ):
    return _bytes(folder, settings, own or vocabularies.BYTES_PATH, own_tokens)
  whole = folder / tokenizer_settings.WHOLE
  if pieces.is_file():
    if whole.is_file():
      unigram.check_same(whole, pieces)
    return _model(folder, pieces, settings, own_tokens)
  if whole.is_file():
    return _model(folder, _translated(whole), settings, own_tokens)
  return None


def _bytes(folder, settings, path, own_tokens) -> str:
  """ByT5's vocabulary, with the tokens that were added to it."""
  pieces = {"<pad>": 0, "</s>": 1, "<unk>": 2}
  first = vocabularies.NUM_SPECIAL_IDS + vocabularies.NUM_BYTES
  _, extra_ids = vocabularies.vocabulary_size(path)
  tokens = tokenizer_settings.read_tokens(
    folder, _with_byt5s_own(settings, extra_ids), pieces, first
  )
  if any(t.single_word for t in tokens):
    raise ValueError(f"{folder}: ByT5's tokens cannot be single_word here")
  if not own_tokens:
    tokens = [t for t in tokens if not unigram.is_t5s_own(t.content)]
  if not tokens:
    return str(path)
  # transformers looks for all of ByT5's tokens in the text as it stands.
  entries = [t._replace(normalized=False).to_json() for t in tokens]
  fields = {"type": "bytes", "extra_ids": extra_ids, "tokens": entries}
  data = json.dumps(fields).encode()
  return str(_cached(data, ".json", lambda: data))


def _with_byt5s_own(settings, extra_ids):
  """The settings with ByT5's own special tokens, if they list none."""
  own = {
    str(i): {"content": name, "lstrip": True, "rstrip": True, "special": True}
    for i, name in enumerate(("<pad>", "</s>", "<unk>"))
  }
  first = vocabularies.NUM_SPECIAL_IDS + vocabularies.NUM_BYTES
  for i in range(settings.get("extra_ids") or extra_ids):
    token = {"content": f"<extra_id_{i}>", "special": True}
    own[str(first + i)] = token
  listed = settings.get("added_tokens_decoder")
  if listed is None:
    return {**settings, "added_tokens_decoder": own}
  return settings


def _model(folder, path, settings, own_tokens) -> str:
  """A sentencepiece model with its sentinels and added tokens.

  Args:
    folder: the tokenizer's folder.
    path: the model.
    settings: the fields of tokenizer_config.json; `extra_ids` is the number of
      sentinels. It is T5's 100 if that is None. None are added if the model has
      them, or if `extra_ids` is 0 and the settings name them.
    own_tokens: whether T5's own special tokens are cut out of texts too.
  """
  data = pathlib.Path(path).read_bytes()
  count = vocabularies.num_extra_ids(path)
  extra_ids = settings.get("extra_ids")
  if extra_ids is not None and (type(extra_ids) is not int or extra_ids < 0):
    raise ValueError(
      f"{folder / tokenizer_settings.CONFIG}: extra_ids must be a number of"
      f" sentinels, got {extra_ids!r:.40}"
    )
  named = "<extra_id_0>" in json.dumps(settings)
  changed = count > 0 and extra_ids not in (None, vocabularies.NUM_EXTRA_IDS)
  if changed and not (extra_ids == 0 and named):
    count = extra_ids
  model = data + vocabularies.sentinel_pieces(count)
  tokens = _tokens(folder, path, settings, count, own_tokens)
  if not tokens and not changed:
    return str(path)
  if not tokens and count == vocabularies.num_extra_ids(path):
    return str(path)
  if b"<extra_id_0>" not in model:
    model = vocabularies.without_sentinels(model)
  if tokens:
    model = added_tokens.with_tokens(model, tokens)
  return str(_cached(model, ".model", lambda: model))


def _tokens(folder, path, settings, count, own_tokens):
  """The tokens that are cut out of texts."""
  opened = vocabularies.open_pieces(path)
  size = opened.get_piece_size()
  pieces = {opened.id_to_piece(i): i for i in range(size)}
  # transformers knows a sentinel without the space, seqio with it.
  pieces |= {f"<extra_id_{i}>": size + count - 1 - i for i in range(count)}
  for text, i in list(pieces.items()):
    if text.startswith("▁<extra_id_"):
      pieces.setdefault(text.removeprefix("▁"), i)
  old = vocabularies.read_added_tokens(path)
  own = []
  if own_tokens:
    own = [t for t in ("<pad>", "</s>", "<unk>") if t in pieces]
    own += [f"<extra_id_{i}>" for i in range(count)]
  tokens = tokenizer_settings.read_tokens(
    folder, settings, pieces, size + count, own
  )
  if not own_tokens:
    tokens = [
      t
      for t in tokens
      if t.id >= size + count or not unigram.is_t5s_own(t.content)
    ]
  return tuple(dict.fromkeys([*old, *tokens]))


def _translated(whole):
  """The sentencepiece model of a tokenizer.json, without its new tokens."""
  data = whole.read_bytes()

  def make():
    with reading(whole, "a tokenizer.json"):
      model = unigram.sentencepiece_model(data, whole)
    if b"<extra_id_0>" not in model:
      model = vocabularies.without_sentinels(model)
    return model

  return _cached(data, ".model", make)


def _cached(data, suffix, make) -> pathlib.Path:
  """The file made from some data, in the user's cache folder.

  It is made once and kept (`cache.keep`) under the hash of its source.
  """
  digest = hashlib.sha256(_VERSION + data).hexdigest()[:32]
  target = cache.cache_dir() / f"{digest}{suffix}"
  return cache.keep(target, make)
