"""Vocabularies: bytes, damaged files, missing files."""

import pytest
from odd_texts import make_texts

from mpt_jax.text import vocabularies, vocabulary_files
from mpt_jax.text.vocabularies import Tokenizer

REASON = "Hugging Face's side needs transformers (the test extra)"


def test_bytes_are_seqios_and_hugging_faces(tmp_path):
  transformers = pytest.importorskip("transformers", reason=REASON)
  theirs = transformers.ByT5Tokenizer()
  theirs.save_pretrained(tmp_path)
  path = vocabulary_files.find_vocabulary(tmp_path, {})
  assert path == str(vocabularies.BYTES_PATH)
  ours, seqio = Tokenizer(path), vocabularies.seqio_vocabulary(path)
  # 3 special ids, 256 bytes and 125 sentinels.
  assert vocabularies.vocabulary_size(path) == (384, 125)
  assert seqio.vocab_size == len(theirs) == 384
  # "a" is byte 97, after the three special ids.
  assert ours.encode("a") == [100]
  for text in make_texts():
    ids = ours.encode(text)
    assert ids == theirs(text, add_special_tokens=False).input_ids
    assert ids == list(seqio.encode(text))
    assert ours.decode([*ids, 1, 50]) == text
    assert ours.decode(ids) == seqio.decode(ids)
  # Decoding skips half of a letter, sentinels and padding.
  assert ours.decode([0, 100, 198, 300, 101]) == "ab"


def test_damaged_byte_vocabulary(tmp_path):
  path = tmp_path / "byte_vocabulary.json"
  for text in ("{", "{}", '{"type": "words", "extra_ids": 1}', "[]"):
    path.write_text(text)
    with pytest.raises(ValueError, match="byte_vocabulary.json must be like"):
      vocabularies.vocabulary_size(path)
