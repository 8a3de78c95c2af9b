"""A tokenizer.json that cannot become a sentencepiece model."""

import json

import pytest

from mpt_jax.backbones import unigram


def _fields(**changes):
  fields = {
    "model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0]] * 3},
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
  }
  return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize(
  "data, message",
  [
    (b"{", "x is not a tokenizer.json"),
    (b"[]", "x is not a tokenizer.json"),
    (_fields(model={"type": "BPE"}), "type 'BPE'; T5's are 'Unigram'"),
    (_fields(normalizer={"type": "Lowercase"}), "Lowercase.*spiece.model"),
    (_fields(pre_tokenizer={"type": "ByteLevel"}), "ByteLevel.*spiece.model"),
    (
      _fields(normalizer={"type": "Precompiled", "precompiled_charsmap": "%"}),
      "damaged charsmap",
    ),
    (
      _fields(added_tokens=[{"id": 9, "content": "<new>", "special": True}]),
      "'<new>' has id 9, but the ids before it end at 2",
    ),
    (
      _fields(added_tokens=[{"id": 3, "content": "<hl>", "special": False}]),
      r"tokens were added to T5's \(<hl>\)",
    ),
  ],
)
def test_other_tokenizers_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    unigram.sentencepiece_model(data, "x")
