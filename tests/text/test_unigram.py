"""A tokenizer.json becomes a model of the same ids, or is refused."""

import functools
import itertools
import json

import pytest
import sentencepiece
from odd_texts import make_texts
from tokenizer_folders import (
  META,
  SPACES,
  SPLIT,
  STRIP,
  read_parts,
  tokenizer_json,
  write_spiece,
)

from mpt_jax.text import unigram


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
  ],
)
def test_other_tokenizers_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    unigram.sentencepiece_model(data, "x")


# ------------------------------------------------------------------ as a whole

NORMALIZERS = {
  "nothing": [],
  "spaces": [SPACES],
  "spaces as one": [{**SPACES, "content": " "}],
  "strip": [STRIP],
  "strip both, spaces as one": [
    {**STRIP, "strip_left": True},
    {**SPACES, "content": " "},
  ],
  "strip, spaces as one": [STRIP, {**SPACES, "content": " "}],
  "strip, spaces": [STRIP, SPACES],
  "spaces, strip": [SPACES, STRIP],
  "strip left, spaces": [
    {**STRIP, "strip_left": True, "strip_right": False},
    SPACES,
  ],
  "strip both, spaces": [{**STRIP, "strip_left": True}, SPACES],
  "no spaces": [{"type": "Replace", "pattern": {"Regex": " +"}, "content": ""}],
  "lowercase": [{"type": "Lowercase"}],
  "NFD": [{"type": "NFD"}],
  "replace": [{"type": "Replace", "pattern": {"String": "a"}, "content": "b"}],
  "prepend": [{"type": "Prepend", "prepend": "▁"}],
}
PRE_TOKENIZERS = {
  "nothing": [],
  "split": [SPLIT],
  "split, meta": [SPLIT, META],
  "meta": [META],
  "meta, split": [META, SPLIT],
  "meta first": [{**META, "prepend_scheme": "first"}],
  "meta never": [{**META, "prepend_scheme": "never"}],
  "split, meta first": [SPLIT, {**META, "prepend_scheme": "first"}],
  "split, meta never": [SPLIT, {**META, "prepend_scheme": "never"}],
  "meta whole": [{**META, "split": False}],
  "digits": [{"type": "Digits", "individual_digits": True}, SPLIT, META],
  "punctuation": [SPLIT, {"type": "Punctuation", "behavior": "Isolated"}, META],
  "underscore": [SPLIT, {**META, "replacement": "_"}],
}
EXACT = {
  ("nothing", "split, meta"),
  ("spaces as one", "split, meta"),
  *itertools.product(
    ("strip, spaces as one", "strip both, spaces as one"),
    ("split, meta", "meta", "meta whole"),
  ),
  *itertools.product(
    ("strip, spaces", "strip both, spaces"), ("meta", "meta whole")
  ),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  return read_parts(tmp_path_factory.mktemp("spiece"))


@pytest.mark.parametrize("with_package", [True, False])
def test_every_arrangement_is_exact_or_refused(
  parts, with_package, monkeypatch
):
  tokenizers = pytest.importorskip("tokenizers", reason="the other side")
  if not with_package:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
  exact = set()
  for (name, normalizer), (other, pre_tokenizer) in itertools.product(
    NORMALIZERS.items(), PRE_TOKENIZERS.items()
  ):
    for precompiled in (True, False):
      data = tokenizer_json(parts, normalizer, pre_tokenizer, precompiled)
      try:
        model = unigram.sentencepiece_model(data, "x")
      except ValueError as error:
        assert str(error).startswith("x")
        continue
      assert precompiled
      exact.add((name, other))
      ours = sentencepiece.SentencePieceProcessor(model_proto=model)
      theirs = tokenizers.Tokenizer.from_str(data.decode())
      for text in (*make_texts(7), " a  b ", "\n a\t\tb\n", "Ab12 c's"):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == expected, (name, other, text)
  assert exact == EXACT


def test_more_than_the_steps_counts(parts):
  good = ([STRIP, SPACES], [META])
  unigram.sentencepiece_model(tokenizer_json(parts, *good), "x")
  model, charsmap = parts
  crossing = {**model, "vocab": [*model["vocab"], ["▁on▁a", -0.1]]}
  lowercase = {"type": "TemplateProcessing", "single": [], "pair": []}
  for changes, message in (
    ({"model": crossing}, "'▁on▁a' goes over the end of a word"),
    (
      {"model": {**model, "alpha": 0.1}},
      "unknown fields of the model: .*alpha",
    ),
    ({"model": {**model, "unk_id": 10**6}}, "unk_id must be a piece's id"),
    ({"model": {**model, "unk_id": None}}, "unk_id must be a piece's id"),
    ({"post_processor": lowercase}, "post_processor must put </s> behind"),
    ({"normalizer": {"type": "Sequence"}}, "damaged step"),
    ({"pre_tokenizer": "Metaspace"}, "damaged step"),
  ):
    with pytest.raises(ValueError, match=message):
      unigram.sentencepiece_model(tokenizer_json(parts, *good, **changes), "x")


def test_spiece_beside_tokenizer_json(parts, tmp_path):
  """Both files are read by somebody, so they must say the same."""
  make = functools.partial(tokenizer_json, parts)
  path = write_spiece(tmp_path)
  whole = tmp_path / "tokenizer.json"
  model, _ = parts
  whole.write_bytes(make([], [SPLIT, META]))
  unigram.check_same(whole, path)
  changed = [*model["vocab"][:40], ["zzz", -1.0], *model["vocab"][41:]]
  scored = [*model["vocab"][:40], [model["vocab"][40][0], -1e-3]]
  for data, message in (
    (
      tokenizer_json(parts, [{"type": "Lowercase"}], [SPLIT, META]),
      "no counterpart",
    ),
    (
      tokenizer_json(parts, [], [META], model={**model, "vocab": changed}),
      "piece 40",
    ),
    (
      tokenizer_json(parts, [], [META], model={**model, "vocab": scored}),
      "piece 40",
    ),
    (b"[1]", "tokenizer.json"),
    (b'{"model": {"type": "Unigram", "vocab": 3}}', "tokenizer.json"),
  ):
    whole.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
      unigram.check_same(whole, path)
    assert str(whole) in str(error.value)
