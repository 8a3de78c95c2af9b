"""The proof that a sentencepiece model has the ids of a tokenizer.json."""

import sys

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizer_folders import META, SPLIT, read_parts, tokenizer_json

from mpt_jax.text import tokenizer_proof, unigram

pytest.importorskip("tokenizers", reason="the proof needs it")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  return read_parts(tmp_path_factory.mktemp("spiece"))


@pytest.fixture(scope="module")
def whole(parts):
  """A tokenizer.json, and the sentencepiece model of the same ids."""
  data = tokenizer_json(parts, [], [SPLIT, META])
  return data, unigram.sentencepiece_model(data, "x")


def test_it_finds_a_model_that_differs(whole):
  data, model = whole
  tokenizer_proof.prove(model, data, "x")
  other = sentencepiece_model_pb2.ModelProto()
  other.ParseFromString(model)
  for piece in other.pieces[3:]:
    piece.score = -5.0
  with pytest.raises(ValueError, match="x gives .* other ids than sentencep"):
    tokenizer_proof.prove(other.SerializeToString(), data, "x")


def test_it_finds_one_frequent_piece_that_differs(whole):
  # The fourth piece is the most frequent one, so the sample has it.
  data, model = whole
  other = sentencepiece_model_pb2.ModelProto()
  other.ParseFromString(model)
  other.pieces[3].score -= 20.0
  with pytest.raises(ValueError, match="put the model's spiece.model into"):
    tokenizer_proof.prove(other.SerializeToString(), data, "x")


def test_lengths_of_the_file_do_not_count(parts, whole):
  cut = {"direction": "Right", "max_length": 4, "stride": 0}
  cut |= {"strategy": "LongestFirst"}
  data = tokenizer_json(parts, [], [SPLIT, META], truncation=cut)
  tokenizer_proof.prove(whole[1], data, "x")


def test_texts_with_added_tokens_are_left_out(parts, whole):
  # Such texts are cut before the model sees them, and proven elsewhere.
  flags = dict.fromkeys(
    ("lstrip", "rstrip", "single_word", "normalized", "special"), False
  )
  token = {"id": 500, "content": "Hello", **flags}
  data = tokenizer_json(parts, [], [SPLIT, META], added_tokens=[token])
  tokenizer_proof.prove(whole[1], data, "x")


def test_a_panic_of_the_library_is_one_line(parts, whole, capfd):
  # The table of characters ends in its middle.
  damaged = {**parts[1], "precompiled_charsmap": "AAAA"}
  data = tokenizer_json((parts[0], damaged), [], [SPLIT, META])
  for wrong in (data, b"{}", b"no JSON"):
    with pytest.raises(ValueError, match="^x is not a tokenizer.json: "):
      tokenizer_proof.prove(whole[1], wrong, "x")
  assert capfd.readouterr().err == ""


def test_without_the_library_nothing_is_proven(whole, monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  tokenizer_proof.prove(whole[1], b"no JSON", "x")


def test_the_sample_is_the_same_each_time_and_of_the_models_pieces(whole):
  pieces = sentencepiece.SentencePieceProcessor(model_proto=whole[1])
  made = tokenizer_proof.sample(pieces)
  assert made == tokenizer_proof.sample(pieces)
  assert {"", " a", "日本語のテキスト。"} <= set(made)
  used = {piece for text in made for piece in pieces.encode(text, out_type=str)}
  ordinary = [
    pieces.id_to_piece(i)
    for i in range(pieces.get_piece_size())
    if not (pieces.is_control(i) or pieces.is_unknown(i))
  ]
  assert len(used & set(ordinary)) > 0.9 * len(ordinary)


def test_normalisers_must_leave_ordinary_spaces_alone(parts, whole):
  tokenizer_proof.check_spaces(whole[1], "x")
  # Without T5's table of characters every space stays what it is.
  bare = sentencepiece_model_pb2.ModelProto()
  bare.ParseFromString(whole[1])
  bare.normalizer_spec.precompiled_charsmap = b""
  bare.normalizer_spec.name = "identity"
  with pytest.raises(ValueError, match=r"^x: its normaliser keeps the space"):
    tokenizer_proof.check_spaces(bare.SerializeToString(), "x")
