"""The vocabulary of the embedded default model, and others like it."""

import functools
import os
import pathlib

NUM_EXTRA_IDS = 100


def default_vocabulary_path() -> pathlib.Path:
  """Returns the sentencepiece model of the embedded default model."""
  return pathlib.Path(__file__).parent / "default_t5" / "sentencepiece.model"


def default_vocabulary():
  """Returns the default model's `seqio.SentencePieceVocabulary`, 8,000 ids.

  The file is opened on the vocabulary's first use, not here.
  """
  return seqio_vocabulary(default_vocabulary_path())


def seqio_vocabulary(path: str | os.PathLike, extra_ids: int = NUM_EXTRA_IDS):
  """Returns a `seqio.SentencePieceVocabulary`.

  Args:
    path: a sentencepiece `.model` file.
    extra_ids: sentinels that follow the model's own pieces.

  Raises:
    FileNotFoundError: there is no such file.
  """
  if "://" not in str(path) and not pathlib.Path(path).is_file():
    raise FileNotFoundError(
      f"no sentencepiece model at {path}. Give the path of a `.model` file;"
      f" the default model's is {default_vocabulary_path()}."
    )
  return _seqio_vocabulary(str(path), extra_ids)


@functools.cache
def _seqio_vocabulary(path, extra_ids):
  import seqio

  return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)
