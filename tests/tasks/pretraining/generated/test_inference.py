"""Paraphrase and inference: how a sentence is changed for each label."""

import random
import types

import pytest

from mpt_jax.tasks.pretraining.generated import inference

# [part, category, words, gloss, examples, relations, opposites]
SYNSETS = [
  ["noun", 3, ["vehicle"], "", [], {}, []],
  ["noun", 3, ["truck", "lorry", "Mack"], "", [], {"kind": [0]}, []],
  ["adj", 0, ["quick", "fast"], "", [], {}, [["quick", "slow"]]],
  ["noun", 3, ["Rome"], "", [], {"kind": [0]}, []],
]
SENTENCES = [
  "the quick truck was on the road today",
  "the truck stood in the yard, and nobody came to see it",
]


@pytest.fixture
def edits():
  return inference._Edits(SYNSETS)


def draws(change, sentence, count=60):
  rng = random.Random(0)
  return {change(rng, sentence) for _ in range(count)}


def test_rewording_takes_synonyms(edits):
  assert draws(edits.reword, SENTENCES[0]) == {
    "the fast lorry was on the road today"
  }
  # "Mack" is a name, and "fast" would do for "quick" but not for "quickly".
  assert draws(edits.reword, "the road went quickly on to Rome") == {None}


def test_shortening_drops_a_clause_or_names_the_kind(edits):
  assert draws(edits.shorten, SENTENCES[1]) == {"the truck stood in the yard"}
  assert draws(edits.shorten, SENTENCES[0]) == {
    "the quick vehicle was on the road today"
  }
  # What stands before the comma is too short.
  assert draws(edits.shorten, "on that day, it went on") == {None}


def test_negation_adds_not_or_takes_the_opposite(edits):
  assert draws(edits.negate, SENTENCES[0]) == {
    "the quick truck was not on the road today",
    "the slow truck was on the road today",
  }
  assert draws(edits.negate, "it stood in the yard") == {None}


@pytest.fixture
def sources():
  material = types.SimpleNamespace(
    synsets=SYNSETS, paragraphs=[["ca01", SENTENCES]]
  )
  made = inference.inference_sources(material)
  return {source.name: source for source in made}


def test_pairs_of_inference(sources):
  source = sources["inference"]
  rng = random.Random(0)

  def split(text):
    return text.removeprefix("premise: ").split(" hypothesis: ")

  for _ in range(50):
    first, second = split(source.draw(rng, "entailment"))
    assert first in SENTENCES
    assert second in (
      "the truck stood in the yard",
      "the quick vehicle was on the road today",
    )
    first, second = split(source.draw(rng, "contradiction"))
    assert first == SENTENCES[0]
    assert " not " in second or "slow" in second
    first, second = split(source.draw(rng, "neutral"))
    assert first in SENTENCES
    assert second in (SENTENCES[0], "the truck stood in the yard")


def test_pairs_of_paraphrase(sources):
  source = sources["paraphrase"]
  rng = random.Random(0)

  def split(text):
    return text.removeprefix("sentence1: ").split(" sentence2: ")

  places = set()
  for _ in range(50):
    pair = split(source.draw(rng, "yes"))
    (original,) = {*pair} & {*SENTENCES}
    places.add(pair.index(original))
    (other,) = {*pair} - {original}
    assert "lorry" in other
    # A wrong paraphrase says the opposite, or something else.
    assert not any("lorry" in text for text in split(source.draw(rng, "no")))
  assert places == {0, 1}
