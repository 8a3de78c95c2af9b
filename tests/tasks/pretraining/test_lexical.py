"""Questions without labels: their answers are right."""

import random

from mpt_jax.tasks.pretraining import lexical


def test_questions_about_spelling_and_meaning_are_answered_rightly():
  rng = random.Random(0)
  spelling, misspelled = lexical.spelling_makers([("teh", "the")])
  assert spelling(rng) == ("correct spelling: teh", "the")
  found = {misspelled(rng) for _ in range(50)}
  asked = "is the spelling right? "
  assert found == {(f"{asked}the", "right"), (f"{asked}teh", "wrong")}

  synsets = [(["car", "auto"], "a vehicle"), (["oak"], "a tree")]
  define, meaning, matches, synonym = lexical.word_makers(synsets)
  assert {define(rng) for _ in range(50)} == {
    ("which word means: a vehicle", "car"),
    ("which word means: a tree", "oak"),
  }
  assert {meaning(rng) for _ in range(50)} == {
    ("meaning of: car", "a vehicle"),
    ("meaning of: oak", "a tree"),
  }
  yes = {
    inputs for inputs, answer in map(matches, [rng] * 99) if answer == "yes"
  }
  assert yes == {
    "word: car meaning: a vehicle fits?",
    "word: oak meaning: a tree fits?",
  }
  # "oak" has no other word.
  assert {synonym(rng) for _ in range(50)} == {
    ("another word for: car", "auto"),
    ("another word for: auto", "car"),
  }


def test_questions_about_order_are_answered_rightly():
  rng = random.Random(0)
  paragraphs, others = [["One a.", "Two b.", "Three c."]], ["Far D e f g"]
  following, order, case = lexical.order_makers(paragraphs, others)
  for inputs, answer in map(following, [rng] * 99):
    first, second = inputs.removeprefix("does b follow a? a: ").split(" b: ")
    together = f"{first} {second}" in "One a. Two b. Three c."
    assert together == (answer == "yes")
  found = [order(rng) for _ in range(99)]
  for inputs, answer in found:
    assert (inputs == "word order: Far D e f g") == (answer == "right")
    assert sorted(inputs.split()[2:]) == sorted("Far D e f g".split())
  assert {answer for _, answer in found} == {"right", "wrong"}
  assert case(rng) == ("capitals: far d e f g", "Far D e f g")


def test_summaries_and_words_that_are_pointed_at():
  rng = random.Random(0)
  article = {"title": "A title", "text": "Some text"}
  title, summary = lexical.summary_makers([article], [("Short", "long text")])
  assert title(rng) == ("headline for: Some text", "A title")
  assert summary(rng) == ("summary: long text", "Short")
  pick = lexical.pick_maker(["a b c"])
  assert {pick(rng) for _ in range(50)} == {
    ("first word: a b c", "a"),
    ("second word: a b c", "b"),
    ("last word: a b c", "c"),
  }
