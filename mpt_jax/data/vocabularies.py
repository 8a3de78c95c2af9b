"""Vocabularies: sentencepiece models with T5's sentinels, and ByT5's bytes.

A vocabulary is identified by the path of its file: a sentencepiece `.model`, or
a `.json` with {"type": "bytes", "extra_ids": 125}. Only the functions that
return a seqio vocabulary import TensorFlow and seqio.
"""

import functools
import json
import os
import pathlib

from mpt_jax.io import paths

NUM_EXTRA_IDS = 100
BYTES_PATH = pathlib.Path(__file__).parent / "byte_vocabulary.json"
# In ByT5, padding, end of sequence and unknown precede the 256 bytes.
NUM_SPECIAL_IDS = 3
NUM_BYTES = 256


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
  data = pathlib.Path(path).read_bytes()
  if is_bytes(path):
    try:
      fields = json.loads(data)
      if fields["type"] != "bytes":
        raise ValueError(f"type is {fields['type']!r}")
      return int(fields["extra_ids"])
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f'{path} must be like {{"type": "bytes", "extra_ids": 125}}: {error!r}'
      ) from error
  return 0 if b"<extra_id_0>" in data else NUM_EXTRA_IDS


def vocabulary_size(path) -> tuple[int, int]:
  """Returns (number of ids, number of added sentinels among them).

  Raises:
    ValueError: the file is damaged.
  """
  if is_bytes(path):
    extra_ids = num_extra_ids(path)
    return NUM_SPECIAL_IDS + NUM_BYTES + extra_ids, extra_ids
  import sentencepiece

  try:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
  except (RuntimeError, OSError) as error:
    raise ValueError(
      f"{path} is not a readable sentencepiece model: {error}"
    ) from error
  extra_ids = num_extra_ids(path)
  return pieces.get_piece_size() + extra_ids, extra_ids


# -------------------------------------------------------------- tokenizer


class Tokenizer:
  """A vocabulary with T5's sentinels, without seqio.

  Its ids equal those of `seqio_vocabulary`: the sentinels follow the
  sentencepiece model's own pieces, from the highest down to `<extra_id_0>`. A
  byte vocabulary encodes the UTF-8 bytes of a text and recognises no sentinels.

  Args:
    path: the file of a vocabulary.
    extra_ids: see `seqio_vocabulary`.
  """

  def __init__(self, path, extra_ids: int | None = None):
    self._pieces = None
    if is_bytes(path):
      return
    import sentencepiece

    if extra_ids is None:
      extra_ids = num_extra_ids(path)
    model = pathlib.Path(path).read_bytes() + sentinel_pieces(extra_ids)
    self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

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
    if self._pieces is None:
      return [NUM_SPECIAL_IDS + byte for byte in text.encode("utf-8")]
    return self._pieces.encode(text)

  def decode(self, ids) -> str:
    """Returns the text of the ids up to the first end of sequence."""
    ids = [int(i) for i in ids]
    if 1 in ids:
      ids = ids[: ids.index(1) + 1]
    if self._pieces is None:
      end = NUM_SPECIAL_IDS + NUM_BYTES
      text = bytes(
        i - NUM_SPECIAL_IDS for i in ids if NUM_SPECIAL_IDS <= i < end
      )
      return text.decode("utf-8", errors="ignore")
    unknown, size = self._pieces.unk_id(), self._pieces.get_piece_size()
    return self._pieces.decode([i if i < size else unknown for i in ids])


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
  note = b"no <extra_id_0>"
  return model + b"\xc2\x3e" + bytes([len(note)]) + note
