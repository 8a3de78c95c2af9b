"""Tasks about sentences and pairs of texts: each text belongs to its label."""

import random
import types

import pytest

from mpt_jax.tasks.pretraining.generated import sentences

# Sentences of 6 to 25 words; each has its number.
FIRST = [f"one {i} of the first things here" for i in range(30)]
SECOND = [f"one {i} of the second things here" for i in range(30)]


def by_name(sources):
  return {source.name: source for source in sources}


@pytest.fixture(scope="module")
def made():
  material = types.SimpleNamespace(
    spellings=[["wrod", "word"], ["rivver", "river"]],
    paragraphs=[
      *(["ca01", [f"{a} again", b]] for a, b in zip(FIRST, FIRST, strict=True)),
      *(["cr09", [text, f"{text} again"]] for text in SECOND),
      ["cb01", ["Too short."]],
    ],
    articles=[
      ["A", "body a " * 30],
      ["B", "They were so sad on that day. No."],
    ],
    descriptions=[["Short x", "long x " * 40], ["Short y", "long y"]],
    plain=[f"He was angry and full of rage {i}." for i in range(20)]
    + [f"He was angry and happy all day {i}." for i in range(30)],
    labelled=[
      {"name": "r8", "texts": {"oil": ["crude " * 30], "trade": ["export"]}},
      {"name": "sarcasm", "texts": {"joke": ["fun"], "serious": ["news"]}},
    ],
  )
  return by_name(sentences.sentence_sources(material)) | by_name(
    sentences.text_pair_sources(material)
  )


def draws(source, label, count=300):
  rng = random.Random(0)
  return [source.draw(rng, label) for _ in range(count)]


def test_genres_of_browns_files(made):
  # Brown's categories A to R, without I, O and Q, in three groups of press, ten
  # of prose.
  assert "".join(sentences.GENRES) == "abcdefghjklmnpr"
  assert made["genre"].label_names == ("report", "humor")
  report = {*draws(made["genre"], "report", 900)}
  assert report == {f"{text} again {text}" for text in FIRST}


def test_a_sentence_with_words_of_one_emotion(made):
  # 20 are angry. The others name two emotions, or are fewer than 20.
  assert made["emotion"].label_names == ("anger",)
  assert {*draws(made["emotion"], "anger", 500)} == {
    f"He was angry and full of rage {i}." for i in range(20)
  }


def test_no_word_belongs_to_two_emotions():
  words = [
    word for text in sentences.EMOTIONS.values() for word in text.split()
  ]
  assert len(words) == len({*words})


def test_spelling(made):
  for label, words in (("right", "word river"), ("wrong", "wrod rivver")):
    alone = set()
    for text in draws(made["spelling"], label):
      (found,) = {*words.split()} & {*text.split()}
      if text == found:
        alone.add(found)
      else:
        assert len(text.split()) <= 13
    assert alone == {*words.split()}


def test_word_order(made):
  known = {*FIRST, *SECOND, *(f"{text} again" for text in FIRST + SECOND)}
  assert {*draws(made["word_order"], "right")} <= known
  for text in draws(made["word_order"], "wrong"):
    assert text not in known
    assert sorted(text.split()) in [sorted(other.split()) for other in known]


def parts(text):
  """The two texts of a pair, whatever names them."""
  for first, second in (("a", "b"), ("first", "second"), ("1", "2")):
    if text.startswith(f"{first}: "):
      return text.removeprefix(f"{first}: ").split(f" {second}: ")
  raise AssertionError(text)


def test_pairs_of_one_topic(made):
  def topic(text):
    return text.split()[0]

  for text in draws(made["same_topic"], "same"):
    first, second = parts(text)
    assert topic(first) == topic(second)
    assert len(first.split()) in (1, 22)
  for text in draws(made["same_topic"], "different"):
    # Only topics are read: nothing of `sarcasm`.
    assert {*map(topic, parts(text))} == {"crude", "export"}


def test_headlines_and_summaries_that_fit(made):
  assert {*draws(made["headline_fits"], "yes")} == {
    "headline: A text: " + " ".join(["body a"] * 15),
    "headline: B text: They were so sad on that day. No.",
  }
  assert {*draws(made["summary_fits"], "yes")} == {
    "summary: Short x text: " + " ".join(["long x"] * 15),
    "summary: Short y text: long y",
  }
  assert "summary: Short x text: long y" in draws(made["summary_fits"], "no")


def test_sentences_that_follow(made):
  for text in draws(made["follows"], "yes"):
    first, second = parts(text)
    again = "again" in first, "again" in second
    assert first.removesuffix(" again") == second.removesuffix(" again")
    # In the first kind of paragraph the longer sentence comes first.
    assert again == (("first" in first), ("second" in second))
