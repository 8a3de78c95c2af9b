"""Vocabularies: sentencepiece models with T5's sentinels, and ByT5's bytes.

A vocabulary is identified by the path of its file: a sentencepiece `.model`, or
a `.json` with {"type": "bytes", "extra_ids": 125}. Either may hold added
tokens, see `added_tokens`. Only the functions that return a seqio vocabulary
import TensorFlow and seqio.
"""

import functools
import json
import os
import pathlib

from mpt_jax.io import paths
from mpt_jax.io.errors import reading
from mpt_jax.text import added_tokens
from mpt_jax.text.added_tokens import AddedToken

NUM_EXTRA_IDS = 100
BYTES_PATH = pathlib.Path(__file__).parent / "byte_vocabulary.json"
# In ByT5, padding, end of sequence and unknown precede the 256 bytes.
NUM_SPECIAL_IDS = 3
NUM_BYTES = 256
SPACE = "▁"


def default_vocabulary_path() -> pathlib.Path:
  """Returns the sentencepiece model of the embedded default model."""
  return paths.DEFAULT_T5 / "sentencepiece.model"


def default_vocabulary():
  """Returns the default model's `seqio.SentencePieceVocabulary` of 8,000 ids.

  seqio opens the file on the vocabulary's first use.
  """
  return seqio_vocabulary(default_vocabulary_path(), NUM_EXTRA_IDS)


def seqio_vocabulary(path: str | os.PathLike, extra_ids: int | None = None):
  """Returns a `seqio.SentencePieceVocabulary`, or a `seqio.ByteVocabulary`.

  A vocabulary with added tokens becomes a
  `tokenizer_vocabulary.TokenizerVocabulary`.

  Args:
    path: a sentencepiece `.model` file, or a byte vocabulary's `.json`.
    extra_ids: number of sentinels that follow the model's own pieces; None uses
      `num_extra_ids`.

  Raises:
    FileNotFoundError: there is no such file.
  """
  if "://" not in str(path):
    if not pathlib.Path(path).is_file():
      raise FileNotFoundError(
        f"no sentencepiece model at {path}. Give the path of a `.model` file;"
        f" the default model's is {default_vocabulary_path()}."
      )
    if read_added_tokens(path):
      from mpt_jax.text.tokenizer_vocabulary import TokenizerVocabulary

      size, _ = vocabulary_size(path)
      return TokenizerVocabulary(path, Tokenizer(path), size)
    if extra_ids is None:
      extra_ids = num_extra_ids(path)
  if extra_ids is None:
    extra_ids = NUM_EXTRA_IDS
  return _seqio_vocabulary(str(path), extra_ids)


@functools.cache
def _seqio_vocabulary(path, extra_ids):
  import seqio

  if is_bytes(path):
    return seqio.ByteVocabulary(extra_ids=extra_ids)
  return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)


def is_bytes(path) -> bool:
  """Returns whether a path is that of a byte vocabulary."""
  return str(path).endswith(".json")


def num_extra_ids(path) -> int:
  """Returns how many sentinels must be added to a vocabulary's own pieces.

  It is 100 for T5's sentencepiece models, which lack them. It is 0 for models
  with such pieces, e.g. mT5's, and for models from `without_sentinels`.

  Raises:
    ValueError: a `.json` is not a byte vocabulary.
  """
  if is_bytes(path):
    return _read_bytes(path)["extra_ids"]
  data = pathlib.Path(path).read_bytes()
  return 0 if b"<extra_id_0>" in data else NUM_EXTRA_IDS


def read_added_tokens(path) -> tuple[AddedToken, ...]:
  """Returns the added tokens that a vocabulary's file holds.

  Raises:
    ValueError: the file is damaged.
  """
  with reading(path, "a vocabulary"):
    if is_bytes(path):
      return added_tokens.from_json(_read_bytes(path).get("tokens", ()))
    return added_tokens.of_model(pathlib.Path(path).read_bytes())


def _read_bytes(path) -> dict:
  """The fields of a byte vocabulary."""
  try:
    fields = json.loads(pathlib.Path(path).read_bytes())
    if fields["type"] != "bytes":
      raise ValueError(f"type is {fields['type']!r:.40}")
    extra_ids = fields["extra_ids"]
    if type(extra_ids) is not int or extra_ids < 0 or extra_ids > 2**16:
      raise ValueError(f"extra_ids is {extra_ids!r:.40}")
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise ValueError(
      f'{path} must be like {{"type": "bytes", "extra_ids": 125}}:'
      f" {error!r:.200}"
    ) from error
  return fields


def vocabulary_size(path) -> tuple[int, int]:
  """Returns (number of ids, number of added sentinels among them).

  Raises:
    ValueError: the file is damaged.
  """
  extra_ids = num_extra_ids(path)
  if is_bytes(path):
    size = NUM_SPECIAL_IDS + NUM_BYTES
  else:
    size = open_pieces(path).get_piece_size()
  ids = [token.id for token in read_added_tokens(path)]
  return max([size + extra_ids, *(i + 1 for i in ids)]), extra_ids


def open_pieces(path, extra_ids: int = 0):
  """Returns a `SentencePieceProcessor` with so many sentinels added.

  Raises:
    ValueError: the file is not a sentencepiece model.
  """
  import sentencepiece

  model = pathlib.Path(path).read_bytes() + sentinel_pieces(extra_ids)
  try:
    return sentencepiece.SentencePieceProcessor(model_proto=model)
  except Exception as error:  # Damaged models raise many types.
    raise ValueError(
      f"{path} is not a readable sentencepiece model: {error}"
    ) from error


# -------------------------------------------------------------- tokenizer


class Tokenizer:
  """A vocabulary with T5's sentinels, without seqio.

  Its ids equal those of `seqio_vocabulary`: the sentinels follow the
  sentencepiece model's own pieces, from the highest down to `<extra_id_0>`. A
  byte vocabulary encodes the UTF-8 bytes of a text and recognises no sentinels.
  A text is cut at the vocabulary's added tokens first.

  Args:
    path: the file of a vocabulary.
    extra_ids: see `seqio_vocabulary`.

  Raises:
    ValueError: the file is damaged.
  """

  def __init__(self, path, extra_ids: int | None = None):
    self._pieces, normalize = None, lambda text: text
    tokens = read_added_tokens(path)
    if not is_bytes(path):
      if extra_ids is None:
        extra_ids = num_extra_ids(path)
      self._pieces = open_pieces(path, extra_ids)
      if tokens:
        normalize = _normalizer(path)
    self._splitter = added_tokens.Splitter(tokens, normalize)
    # The end and the padding are no part of a decoded text.
    self._added = {
      t.id: t._replace(content=normalize(t.content)) if t.normalized else t
      for t in tokens
      if t.id >= NUM_SPECIAL_IDS
    }

  def encode(self, text: str) -> list[int]:
    """Returns the ids of a text without the end of sequence.

    Raises:
      ValueError: the text contains half of a surrogate pair, which JSON allows
        but Unicode does not.
    """
    try:
      text.encode()
    except UnicodeEncodeError as error:
      raise ValueError(
        f"not Unicode text: half of a surrogate pair at character"
        f" {error.start}: {text[max(0, error.start - 20) : error.start]!r}..."
      ) from error
    ids = []
    for part in self._splitter.split(text):
      if isinstance(part, AddedToken):
        ids.append(part.id)
      elif self._pieces is None:
        ids += [NUM_SPECIAL_IDS + byte for byte in part.encode("utf-8")]
      else:
        ids += self._pieces.encode(part)
    return ids

  def decode(self, ids, skip_special_tokens: bool = False) -> str:
    """Returns the text of the ids up to the first end of sequence.

    Args:
      ids: the ids.
      skip_special_tokens: leave out the added tokens that are special.
    """
    ids = [int(i) for i in ids]
    if 1 in ids:
      ids = ids[: ids.index(1) + 1]
    parts = [[]]
    for i in ids:
      token = self._added.get(i)
      if token is None:
        parts[-1].append(i)
      elif not (skip_special_tokens and token.special):
        parts += [token.content, []]
    if self._pieces is None:
      data = (
        part.encode() if isinstance(part, str) else _byte_string(part)
        for part in parts
      )
      return b"".join(data).decode("utf-8", errors="ignore")
    text = ""
    for part in parts:
      text += part if isinstance(part, str) else self._decode(part, bool(text))
    return text

  def _decode(self, ids, follows) -> str:
    """Decodes ids without added tokens, which may follow on another text."""
    unknown, size = self._pieces.unk_id(), self._pieces.get_piece_size()
    ids = [i if i < size else unknown for i in ids]
    text = self._pieces.decode(ids)
    # sentencepiece drops the space at the start of a text.
    is_spaced = follows and ids and self._pieces.id_to_piece(ids[0])[0] == SPACE
    return " " + text if is_spaced else text


def _byte_string(ids) -> bytes:
  end = NUM_SPECIAL_IDS + NUM_BYTES
  return bytes(i - NUM_SPECIAL_IDS for i in ids if NUM_SPECIAL_IDS <= i < end)


def _normalizer(path):
  """The normalisation of a sentencepiece model, without that of spaces."""
  import sentencepiece

  return sentencepiece.SentencePieceNormalizer(
    model_proto=pathlib.Path(path).read_bytes(),
    add_dummy_prefix=False,
    escape_whitespaces=False,
    remove_extra_whitespaces=False,
  ).normalize


def sentinel_pieces(count: int) -> bytes:
  """Returns a serialised ModelProto that holds only T5's sentinels.

  Protocol buffers merge by concatenation. Append the result to the bytes of a
  sentencepiece model, and the sentinels become its last pieces.

  Args:
    count: the number of sentinels, `▁<extra_id_{count - 1}>` down to 0.
  """
  from sentencepiece import sentencepiece_model_pb2

  model = sentencepiece_model_pb2.ModelProto()
  for i in reversed(range(count)):
    model.pieces.add(
      piece=f"▁<extra_id_{i}>", score=0.0, type=model.SentencePiece.USER_DEFINED
    )
  return model.SerializeToString()


def without_sentinels(model: bytes) -> bytes:
  """Marks a serialised ModelProto as one of a T5 without sentinels.

  The mark is a field whose number sentencepiece does not know and skips.
  `num_extra_ids` finds it.
  """
  return model + added_tokens.field(b"no <extra_id_0>")
