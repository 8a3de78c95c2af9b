"""A generated task, and what such tasks share."""

import random
import types

from mpt_jax.tasks.pretraining.generated import source


def test_labels_with_few_texts_are_left_out():
  texts = {
    "many": [f"many {i}" for i in range(20)],
    "few": ["few"] * 19,
    "more": [f"more {i}" for i in range(90)],
  }
  made = source.from_lists("kind", "kind: ", ("which?",), 0.5, texts)
  assert made.label_names == ("many", "more")
  assert made.labels == ["many", "more"]
  # Every label is as likely as another one.
  assert made.label_weights == [1.0, 1.0]
  assert (made.name, made.prefix, made.weight) == ("kind", "kind: ", 0.5)
  assert made.questions == ("which?",)
  rng = random.Random(0)
  found = {made.draw(rng, "many") for _ in range(500)}
  assert found == {*texts["many"]}


def test_sentences_of_6_to_25_words():
  def sentence(count):
    return " ".join(["w"] * count)

  rows = [sentence(count) for count in (5, 6, 25, 26)]
  material = types.SimpleNamespace(
    paragraphs=[["ca01", rows[:3]], ["cb01", rows[3:]]]
  )
  assert source.sentences_of(material) == [sentence(6), sentence(25)]
