"""Kinds of questions, and answers that fit."""

import random
import types

import pytest

from mpt_jax.tasks.pretraining.generated import questions
from mpt_jax.tasks.public import readers

CATEGORIES = (
  *("animal", "plant", "food", "artifact", "substance", "body"),
  *("person", "location", "event", "act"),
)


@pytest.fixture(scope="module")
def made():
  """One meaning of each category: its word is WORDx, its gloss GLOSSx."""

  def number(name):
    return 3 + readers.WORDNET_CATEGORIES.index(name)

  material = types.SimpleNamespace(
    synsets=[
      *(["noun", number(c), [f"word{c}"], f"gloss{c}"] for c in CATEGORIES),
      ["verb", 30, ["wordverb"], "glossverb"],
      ["adj", 0, ["wordadj"], "glossadj"],
      # The category of everything has no questions.
      ["noun", 3, ["wordtop"], "glosstop"],
    ],
    computing=[
      ["CPU", "hardware", "central processing unit of a machine, its heart"],
      ["gcc", "tool", "a compiler"],
      ["C++", "language", "a language"],
    ],
    choices=[
      ["long " * 30 + "fog?", ["sea", "sand"], 1],
      ["wet?", ["rain", "sun"], 0],
    ],
  )
  sources = questions.question_sources(material)
  return {source.name: source for source in sources}


def draws(source, label, count=200):
  rng = random.Random(0)
  return {source.draw(rng, label) for _ in range(count)}


@pytest.mark.parametrize(
  ("kind", "starts", "about"),
  [
    ("person", ("Who ", "Which ", "What is the name of "), {"person"}),
    (
      "place",
      ("Where ", "What ", "In what country "),
      {"location", "animal"},
    ),
    (
      "number",
      ("How ", "When did ", "What year ", "What is the "),
      {*CATEGORIES[:6], "event", "location"},
    ),
    (
      "description",
      ("What ", "Why do people ", "How do you "),
      {*CATEGORIES[:6], "verb", "act"},
    ),
    ("thing", ("What ", "Which "), {*CATEGORIES[:6]}),
  ],
)
def test_questions_of_a_kind(made, kind, starts, about):
  found = draws(made["question_kind"], kind, 500)
  for question in found:
    assert question.startswith(starts) and question.endswith("?")
  text = " ".join(found).lower()
  every = {*CATEGORIES, "verb", "adj", "top"}
  named = {c for c in every if f"word{c}" in text or f"gloss{c}" in text}
  assert named == about


def test_abbreviations_are_all_capitals(made):
  found = draws(made["question_kind"], "abbreviation")
  assert found == {
    "What does CPU stand for?",
    "What is CPU short for?",
    "What is the abbreviation of central processing unit of a machine,?",
    "What is the full form of CPU?",
    "What is the acronym for central processing unit of a machine,?",
  }


def test_answers_that_fit(made):
  source = made["answer_fits"]
  question = " ".join(["long"] * 27 + ["fog?"])
  assert draws(source, "yes") == {
    f"question: {question} answer: sand",
    "question: wet? answer: rain",
  }
  assert draws(source, "no") == {
    f"question: {question} answer: sea",
    "question: wet? answer: sun",
  }
