"""A vocabulary with added tokens under seqio's interface."""

import numpy as np
import pytest
import tensorflow as tf

from mpt_jax.text.tokenizer_vocabulary import TokenizerVocabulary


class Letters:
  """A tokenizer of single letters: "a" is 3."""

  def encode(self, text):
    return [ord(letter) - ord("a") + 3 for letter in text]

  def decode(self, ids):
    return "".join(chr(i - 3 + ord("a")) for i in ids if i >= 3)


@pytest.fixture
def vocabulary(tmp_path):
  path = tmp_path / "letters.json"
  path.write_text("the file of the vocabulary")
  return TokenizerVocabulary(path, Letters(), 29)


def test_ids_and_sizes(vocabulary):
  special = vocabulary.bos_id, vocabulary.eos_id, vocabulary.unk_id
  assert special == (None, 1, 2)
  assert vocabulary.pad_id == 0 and vocabulary.vocab_size == 29
  assert vocabulary.encode("bad") == [4, 3, 6]
  assert vocabulary.decode([4, 3, 6]) == "bad"


def test_seqio_cuts_at_eos_and_replaces_ids_outside(vocabulary):
  # 40 is no id, so seqio puts `unk_id` there, which has no letter.
  assert vocabulary.decode([4, 40, 6, 1, 5]) == "bd"


def test_tensorflow_gives_the_same(vocabulary):
  data = tf.data.Dataset.from_tensor_slices(["bad", ""])
  data = data.map(vocabulary.encode_tf)
  assert data.element_spec == tf.TensorSpec([None], tf.int32)
  assert [x.tolist() for x in data.as_numpy_iterator()] == [[4, 3, 6], []]
  rows = tf.constant([[[4, 3], [6, 0]]])
  made = vocabulary.decode_tf(rows).numpy()
  assert made.tolist() == [[b"ba", b"d"]]
  assert vocabulary.decode_tf(tf.constant([4, 3])).numpy() == b"ba"


def test_bytes_that_are_no_text_do_not_end_the_pipeline(vocabulary):
  damaged = vocabulary.encode_tf(tf.constant(b"a\xff")).numpy()
  assert damaged.tolist() == [3, 0xFFFD - ord("a") + 3]


def test_equal_files_are_equal_vocabularies(vocabulary, tmp_path):
  copy, other = tmp_path / "copy.json", tmp_path / "other.json"
  copy.write_text("the file of the vocabulary")
  other.write_text("another file")
  assert vocabulary == TokenizerVocabulary(copy, Letters(), 29)
  assert vocabulary != TokenizerVocabulary(other, Letters(), 29)
  assert vocabulary != "a text"
  assert "letters.json" in str(vocabulary) and "29" in str(vocabulary)


def test_it_passes_through_seqios_own_preprocessing(vocabulary):
  import seqio

  made = seqio.preprocessors.tokenize(
    tf.data.Dataset.from_tensors({"inputs": "ab", "targets": "c"}),
    {
      name: seqio.Feature(vocabulary, add_eos=True)
      for name in ("inputs", "targets")
    },
    copy_pretokenized=False,
    with_eos=True,
  )
  (row,) = made.as_numpy_iterator()
  np.testing.assert_array_equal(row["inputs"], [3, 4, 1])
  np.testing.assert_array_equal(row["targets"], [5, 1])
