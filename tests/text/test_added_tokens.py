"""Added tokens: where a text is cut, and where a vocabulary keeps them."""

import pytest
import sentencepiece
import tokenizers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mpt_jax.text import added_tokens
from mpt_jax.text.added_tokens import AddedToken, Splitter
from mpt_jax.text.vocabularies import default_vocabulary_path

CONTENTS = ("<a>", "<a>b", "ab", "<A>", "é", "a b", "\u3000", "_")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def split_by_the_library(tokens, text):
  """What `tokenizers` cuts, as (token, content) or a lower-case text."""
  # A model that knows no word makes one piece of every text between tokens.
  model = tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = tokenizers.normalizers.Lowercase()
  for token in tokens:
    flags = {name: getattr(token, name) for name in FLAGS}
    tokenizer.add_tokens([tokenizers.AddedToken(token.content, **flags)])
  try:
    made = tokenizer.encode(text)
  except BaseException as error:
    # Some texts, with tokens that strip spaces, end its code with a panic.
    assume(type(error).__name__ != "PanicException")
    raise
  return [
    ("token", tokens[i - 1].content) if i else text[start:end].lower()
    for i, (start, end) in zip(made.ids, made.offsets, strict=True)
  ]


@settings(max_examples=300, deadline=None)
@given(
  chosen=st.dictionaries(
    st.sampled_from(CONTENTS),
    st.fixed_dictionaries({name: st.booleans() for name in FLAGS}),
    max_size=4,
  ),
  text=st.text("<a>bAé \u3000\t_-7", max_size=14),
)
def test_texts_are_cut_where_the_library_cuts(chosen, text):
  tokens = [
    AddedToken(i + 1, content, **flags)
    for i, (content, flags) in enumerate(chosen.items())
  ]
  made = Splitter(tokens, str.lower).split(text)
  ours = [
    ("token", part.content) if isinstance(part, AddedToken) else part.lower()
    for part in made
  ]
  assert ours == split_by_the_library(tokens, text)


@pytest.mark.parametrize(
  ("flags", "parts"),
  [
    ({}, ["x ", "<a>", " y<", "<a>", ">"]),
    ({"lstrip": True}, ["x", "<a>", " y<", "<a>", ">"]),
    ({"rstrip": True}, ["x ", "<a>", "y<", "<a>", ">"]),
  ],
)
def test_spaces_belong_to_a_token_that_strips(flags, parts):
  token = AddedToken(7, "<a>", **flags)
  made = Splitter([token], str).split("x <a> y<<a>>")
  assert [p if isinstance(p, str) else p.content for p in made] == parts


def test_a_single_word_is_cut_between_characters_of_no_word():
  token = AddedToken(7, "ab", single_word=True)
  made = Splitter([token], str).split("ab abc-ab_ab.ab")
  assert made == [token, " abc-ab_ab.", token]


def test_the_longest_of_two_tokens_wins():
  short, long = AddedToken(7, "<a>"), AddedToken(8, "<a>b")
  assert Splitter([short, long], str).split("<a>b<a>") == [long, short]


def test_no_tokens_and_no_text():
  assert Splitter([], str).split("as it is") == ["as it is"]
  assert Splitter([], str).split("") == []


def test_json_keeps_what_is_set():
  token = AddedToken(7, "<a>", rstrip=True, special=True)
  entry = {"id": 7, "content": "<a>", "rstrip": True, "special": True}
  assert token.to_json() == entry
  assert added_tokens.from_json([entry]) == (token,)


@pytest.mark.parametrize(
  "entry",
  [
    {"id": -1, "content": "<a>"},
    {"id": True, "content": "<a>"},
    {"id": 7, "content": ""},
    {"id": 7, "content": 8},
    {"id": 7, "content": "<a>", "lstrip": 1},
    {"id": 7, "content": "<a>", "other": True},
    {"content": "<a>"},
  ],
)
def test_other_json_is_refused(entry):
  with pytest.raises(ValueError, match="added token"):
    added_tokens.from_json([entry])


# The size of a field takes one byte, two, or three.
@pytest.mark.parametrize("number", [1, 10, 400])
def test_a_sentencepiece_model_with_tokens_is_still_the_same_model(number):
  with open(default_vocabulary_path(), "rb") as file:
    model = file.read()
  tokens = tuple(AddedToken(8000 + i, f"<t{i}>") for i in range(number))
  made = added_tokens.with_tokens(model, tokens)
  assert added_tokens.of_model(made) == tokens
  assert added_tokens.of_model(model) == ()
  before = sentencepiece.SentencePieceProcessor(model_proto=model)
  after = sentencepiece.SentencePieceProcessor(model_proto=made)
  text = "A text with <t0> in it."
  assert after.encode(text) == before.encode(text)
  assert after.get_piece_size() == before.get_piece_size()


def test_damaged_tokens_of_a_model():
  made = added_tokens.with_tokens(b"", [AddedToken(7, "<a>")])
  with pytest.raises(ValueError):
    added_tokens.of_model(made[:-2])
