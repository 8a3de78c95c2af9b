"""Reads the files of a Hugging Face tokenizer beside its vocabulary.

They are tokenizer_config.json, special_tokens_map.json, added_tokens.json and
the added tokens of tokenizer.json. Every field of tokenizer_config.json is
obeyed, refused, harmless or named in a warning.
"""

import pathlib
import warnings

from mpt_jax.io import files
from mpt_jax.text.added_tokens import AddedToken, from_json

CONFIG = "tokenizer_config.json"
_MAP = "special_tokens_map.json"
_OLD = "added_tokens.json"
WHOLE = "tokenizer.json"
FILES = (CONFIG, _MAP, _OLD, WHOLE)
# transformers gives new ids in this order. The ids of the first three are T5's.
_T5S_OWN = {"pad_token": 0, "eos_token": 1, "unk_token": 2}
_NAMED = (
  *("bos_token", "eos_token", "unk_token", "sep_token", "pad_token"),
  *("cls_token", "mask_token"),
)
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
_CLASSES = (
  *("T5Tokenizer", "T5TokenizerFast", "MT5Tokenizer", "MT5TokenizerFast"),
  *("ByT5Tokenizer", "PreTrainedTokenizerFast", "PreTrainedTokenizer"),
  *("TokenizersBackend", None),
)
# Fields that change the ids of a text, and the values that are supported.
_FIXED = {
  "tokenizer_class": _CLASSES,
  "do_lower_case": (False, None),
  "split_special_tokens": (False, None),
  "add_bos_token": (False, None),
  "add_eos_token": (True, None),
  "add_prefix_space": (True, None),
  "sp_model_kwargs": ({}, None),
  "unk_id": (2, None),
  "auto_map": ({}, None),
}
_HARMLESS = {
  # Lengths and padding, which are settings of a run here.
  *("model_max_length", "max_length", "padding_side", "truncation_side"),
  *("stride", "truncation_strategy", "pad_token_type_id", "pad_to_multiple_of"),
  *("max_len", "padding", "truncation", "pad_to_max_length"),
  # How transformers makes texts of ids, and what its calls return.
  *("clean_up_tokenization_spaces", "spaces_between_special_tokens"),
  *("model_input_names", "return_token_type_ids", "verbose"),
  # T5's treatment of spaces after a token; transformers 5 ignores it.
  "legacy",
  # Origin.
  *("name_or_path", "_name_or_path", "special_tokens_map_file", "vocab_file"),
  *("tokenizer_file", "slow_tokenizer_class", "device_map", "backend"),
  *(
    "is_local",
    "local_files_only",
    "use_fast",
    "processor_class",
    "_commit_hash",
  ),
  *("transformers_version", "from_slow", "trust_remote_code", "chat_template"),
  *("language", "tokenizer_type", "errors"),
}
_READ = {*_NAMED, *_LISTS, *_FIXED, "extra_ids", "added_tokens_decoder"}


def read_settings(folder) -> dict:
  """The fields of tokenizer_config.json; none if there is no such file.

  Raises:
    ValueError: a field has a value that is not supported.
  """
  path = pathlib.Path(folder) / CONFIG
  fields = _read(path)
  for name, values in _FIXED.items():
    if name in fields and fields[name] not in values:
      if name == "tokenizer_class":
        expected = "T5Tokenizer or ByT5Tokenizer, or one of tokenizers' own"
      else:
        expected = repr(values[0])
      raise ValueError(
        f"{path}: {name} must be {expected}, got {fields[name]!r:.80}"
      )
  # A tokenizer of version 5 may give tokens names of its own.
  own = {
    name
    for name, value in fields.items()
    if name.endswith("_token") and isinstance(value, str | dict)
  }
  unknown = sorted(map(str, set(fields) - _READ - _HARMLESS - own))
  if unknown:
    warnings.warn(
      f"{path}: unknown fields ignored: {', '.join(unknown):.300}",
      stacklevel=2,
    )
  return fields


def read_tokens(
  folder, settings, pieces, size, own=()
) -> tuple[AddedToken, ...]:
  """The added tokens of a tokenizer, T5's own among them, sorted by id.

  Args:
    folder: its folder.
    settings: the result of `read_settings`.
    pieces: ids of T5's own tokens and of the vocabulary's pieces, by text.
    size: the number of ids before the first new one.
    own: texts of T5's own tokens, which are added tokens even if no file says
      so.

  Raises:
    ValueError: files contradict each other; a token has another id than its
      piece; the new ids do not follow each other; or T5's padding, end or
      unknown token is another one.
  """
  folder = pathlib.Path(folder)
  listed = _listed(folder, settings)
  for content in own:
    if content not in listed:
      listed[content] = AddedToken(pieces[content], content, special=True)
  for name, entry in _unlisted(folder, settings):
    token = _parse(folder / CONFIG, None, entry, special=True)
    content = token.content
    if content not in listed:
      new = max([size, *(t.id + 1 for t in listed.values())])
      listed[content] = token._replace(id=pieces.get(content, new))
    if name in _T5S_OWN and listed[content].id != _T5S_OWN[name]:
      raise ValueError(
        f"{folder}: {name} must have the id {_T5S_OWN[name]}, as T5 has it, but"
        f" {content!r:.40} has {listed[content].id}"
      )
  new = []
  for content, token in listed.items():
    if pieces.get(content, token.id) != token.id:
      raise ValueError(
        f"{folder}: the added token {content!r:.40} has the id {token.id}, but"
        f" the vocabulary has {pieces[content]} for it"
      )
    if token.id >= size:
      new.append(token.id)
    elif content not in pieces:
      raise ValueError(
        f"{folder}: the added token {content!r:.40} has the id {token.id},"
        " which the vocabulary has for another piece"
      )
  if sorted(new) != list(range(size, size + len(new))):
    raise ValueError(
      f"{folder}: the ids of the added tokens must follow the vocabulary's,"
      f" {size} and on, got {sorted(new)!s:.100}"
    )
  return tuple(sorted(listed.values()))


def _read(path):
  return files.read_json(path) if path.is_file() else {}


def _listed(folder, settings) -> dict[str, AddedToken]:
  """The tokens that a file lists with their ids."""
  sources = []
  decoder = settings.get("added_tokens_decoder")
  if decoder is not None:
    path = folder / CONFIG
    if not isinstance(decoder, dict):
      raise ValueError(f"{path}: added_tokens_decoder must be an object")
    sources.append(
      (path, [_parse(path, key, entry) for key, entry in decoder.items()])
    )
  else:
    path = folder / _OLD
    names = {
      entry["content"] if isinstance(entry, dict) else entry
      for _, entry in _unlisted(folder, settings)
    }
    tokens = [
      _parse(path, i, {"content": content}, special=content in names)
      for content, i in _read(path).items()
    ]
    sources.append((path, tokens))
  path = folder / WHOLE
  if path.is_file():
    entries = _read(path).get("added_tokens") or []
    if not isinstance(entries, list) or not all(
      isinstance(entry, dict) for entry in entries
    ):
      raise ValueError(f"{path}: added_tokens must be a list of objects")
    tokens = [_parse(path, entry.get("id"), entry) for entry in entries]
    sources.append((path, tokens))
  return _merge(folder, sources)


def _merge(folder, sources):
  """The tokens of all files, which must not contradict each other."""
  listed, places = {}, {}
  for path, tokens in sources:
    for token in tokens:
      old = listed.get(token.content)
      if old is not None and old.id != token.id:
        raise ValueError(
          f"{token.content!r:.40} has the id {old.id} in"
          f" {places[token.content]} and {token.id} in {path}"
        )
      # The flags of tokenizer_config.json count.
      if (
        old is None or path.name == WHOLE and places[token.content].name == _OLD
      ):
        listed[token.content], places[token.content] = token, path
  ids = [token.id for token in listed.values()]
  if len(set(ids)) < len(ids):
    twice = next(i for i in ids if ids.count(i) > 1)
    names = [t.content for t in listed.values() if t.id == twice]
    raise ValueError(f"{folder}: {names!s:.80} have one id, {twice}")
  return listed


def _unlisted(folder, settings):
  """(field, entry) of the tokens that have names but perhaps no ids."""
  fields = dict(settings)
  if settings.get("added_tokens_decoder") is None:
    fields |= _read(folder / _MAP)
  found = [(n, fields[n]) for n in _NAMED if fields.get(n) is not None]
  for name in _LISTS:
    value = fields.get(name) or []
    # Version 5 writes an object for names of one's own.
    if isinstance(value, dict):
      value = list(value.values())
    if not isinstance(value, list):
      raise ValueError(f"{folder}: {name} must be a list, got {value!r:.40}")
    found += [(name, entry) for entry in value]
  for name, entry in fields.items():
    if name.endswith("_token") and name not in {*_NAMED, *_FIXED}:
      found.append((name, entry))
  for name, entry in found:
    content = entry.get("content") if isinstance(entry, dict) else entry
    if not isinstance(content, str) or not content:
      raise ValueError(
        f"{folder}: {name} holds {entry!r:.60}, which is no token"
      )
  return found


def _parse(path, key, entry, special=False) -> AddedToken:
  """An added token of an entry, which is text or an object."""
  if isinstance(entry, str):
    entry = {"content": entry}
  if not isinstance(entry, dict):
    raise ValueError(f"{path}: {entry!r:.60} is no added token")
  try:
    number = 0 if key is None else int(key)
    special = bool(entry.get("special", special)) or special
    flags = {name: entry[name] for name in _FLAGS if name in entry}
    # The defaults of transformers.
    flags = {"normalized": not special, **flags, "special": special}
    (token,) = from_json([{"id": number, "content": entry["content"], **flags}])
  except (KeyError, TypeError, ValueError, OverflowError) as error:
    raise ValueError(
      f"{path} holds the damaged token {entry!r:.60}: {error!r:.100}"
    ) from error
  return token
