"""Tasks about words: each text belongs to its label."""

import random
import types

import pytest

from mpt_jax.tasks.pretraining.generated import words


def synset(part, number, names, gloss, relations=None, opposites=()):
  return [part, number, names, gloss, [], relations or {}, [*opposites]]


@pytest.fixture(scope="module")
def made():
  """The sources over six meanings and two dictionaries, by name."""
  meanings = [
    synset("noun", 3, ["entity"], "that which is"),
    synset("noun", 5, ["animal", "beast"], "a living thing", {"kind": [0]}, ()),
    synset("noun", 5, ["dog"], "it barks", {"kind": [1], "part": [3]}),
    synset("noun", 8, ["tail"], "it wags", {"kind": [0], "topic": [1]}),
    synset("adj", 0, ["hot"], "of heat", {}, [["hot", "cold"]]),
    synset("adv", 2, ["at once"], "now"),
  ]
  material = types.SimpleNamespace(
    synsets=meanings,
    definitions=[
      *(["bark", "medicine", "dried bark"] for _ in range(40)),
      *(["law", "law", "a rule"] for _ in range(39)),
      ["thing", "", "what is"],
    ],
    computing=[["actor", "programming", "an object " * 30]] * 80,
  )
  sources = [*words.word_sources(material), *words.relation_sources(material)]
  return {source.name: source for source in sources}


def draws(source, label, count=80):
  rng = random.Random(0)
  return {source.draw(rng, label) for _ in range(count)}


def test_subjects_of_at_least_40_words(made):
  # 39 of law are too few, and a word without a field has no subject.
  assert made["subject"].label_names == ("medicine",)
  assert draws(made["subject"], "medicine") == {"bark: dried bark"}


def test_fields_of_computing_are_cut_to_30_words(made):
  assert made["computing_field"].label_names == ("programming",)
  (text,) = draws(made["computing_field"], "programming")
  assert text == "actor: " + " ".join(["an object"] * 15)


def pairs(texts):
  """The two words of each text, whatever is around them."""
  found = set()
  for text in texts:
    text = text.removeprefix("a: ").replace(" b: ", ", ")
    first, second = text.replace(" and ", ", ").split(", ")
    found.add((first, second))
  return found


def test_relations_of_two_words(made):
  source = made["word_relation"]
  assert pairs(draws(source, "synonym")) == {
    ("animal", "beast"),
    ("beast", "animal"),
  }
  assert pairs(draws(source, "opposite")) == {("hot", "cold"), ("cold", "hot")}
  # The first word is a kind of the second one, or a part of it.
  assert pairs(draws(source, "kind")) == {
    ("animal", "entity"),
    ("dog", "animal"),
    ("tail", "entity"),
  }
  assert pairs(draws(source, "part")) == {("tail", "dog")}


def test_definitions_that_fit(made):
  assert draws(made["definition_fits"], "yes", 900) == {
    f"{before}{word}{between}{meaning}"
    for word, meaning in (
      ("bark", "dried bark"),
      ("law", "a rule"),
      ("thing", "what is"),
    )
    for before, between in (("word: ", " meaning: "), ("", ": "))
  }
  assert draws(made["close_definition"], "yes") == {
    "word: animal meaning: a living thing",
    "word: beast meaning: a living thing",
    "word: dog meaning: it barks",
    "word: tail meaning: it wags",
  }
  # A wrong meaning is that of a word of the same category.
  assert "word: dog meaning: it wags" not in draws(
    made["close_definition"], "no"
  )


def test_words_of_one_category(made):
  same = pairs(draws(made["same_category"], "same"))
  assert same == {
    *(("animal", "dog"), ("dog", "animal"), ("animal", "animal")),
    *(("dog", "dog"), ("tail", "tail")),
  }
  for first, second in pairs(draws(made["same_category"], "different")):
    assert (first == "tail") != (second == "tail")


def test_topics_categories_and_parts_of_speech():
  # 30 words of a topic, and 20 of each category and part.
  meanings = [synset("noun", 3, ["entity"], "that which is")]
  meanings += [
    synset("noun", 5, [f"dog{i}", f"hound{i}", "x"], "barks", {"topic": [0]})
    for i in range(30)
  ]
  meanings += [synset("adj", 0, [f"hot{i}"], "of heat") for i in range(20)]
  meanings += [synset("adv", 2, [f"at once{i}"], "now") for i in range(40)]
  material = types.SimpleNamespace(
    synsets=meanings, definitions=[["thing", "", "what is"]], computing=[]
  )
  made = {source.name: source for source in words.word_sources(material)}
  assert made["word_topic"].label_names == ("entity",)
  assert "dog3: barks" in draws(made["word_topic"], "entity", 500)
  # The first category of nouns is all of them, and says nothing.
  assert made["category_of_word"].label_names == ("animal",)
  names = {f"{word}{i}" for word in ("dog", "hound") for i in range(30)}
  assert draws(made["category_of_word"], "animal", 900) == names
  # Words of several words are no adverbs here.
  assert made["part_of_speech"].label_names == ("noun", "adjective")
  found = draws(made["part_of_speech"], "adjective", 500)
  assert {"hot3", "hot3: of heat"} <= found
