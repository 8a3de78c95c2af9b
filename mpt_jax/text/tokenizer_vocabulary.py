"""A vocabulary with added tokens in seqio's interface."""

import pathlib

import numpy as np
import seqio
import tensorflow as tf


class TokenizerVocabulary(seqio.Vocabulary):
  """A `vocabularies.Tokenizer` in seqio's interface.

  TensorFlow calls it back in Python, because none of its operations cuts texts
  at added tokens.

  Args:
    path: the file of the vocabulary.
    tokenizer: the `Tokenizer`.
    size: the number of ids.
  """

  def __init__(self, path, tokenizer, size):
    super().__init__(extra_ids=0)
    self._path = str(path)
    self._content = pathlib.Path(path).read_bytes()
    self._tokenizer = tokenizer
    self._size = size

  @property
  def bos_id(self):
    return None

  @property
  def eos_id(self):
    return 1

  @property
  def unk_id(self):
    return 2

  @property
  def _base_vocab_size(self):
    return self._size

  def _encode(self, s):
    text = s if isinstance(s, str) else s.decode("utf-8", errors="replace")
    return self._tokenizer.encode(text)

  def _decode(self, ids):
    return self._tokenizer.decode(ids)

  def _encode_tf(self, s):
    def encode(text):
      # In eager mode TensorFlow hands over an array without axes.
      text = text.item() if isinstance(text, np.ndarray) else text
      return np.array(self._encode(text), np.int32)

    ids = tf.numpy_function(encode, [s], tf.int32)
    ids.set_shape([None])
    return ids

  def _decode_tf(self, ids):
    def decode(rows):
      texts = [self._decode(row) for row in rows.reshape(-1, rows.shape[-1])]
      return np.array(texts, object).reshape(rows.shape[:-1])

    return tf.numpy_function(decode, [ids], tf.string)

  def __eq__(self, other):
    return (
      isinstance(other, TokenizerVocabulary) and self._content == other._content
    )

  def __str__(self):
    return f"TokenizerVocabulary(path={self._path}, size={self._size})"
