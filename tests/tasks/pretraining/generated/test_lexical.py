"""Tasks whose answer is a text: none is empty, and options hold the answer."""

import random

from mpt_jax.tasks.pretraining.generated import lexical


def test_no_example_is_empty(material):
  rng = random.Random(0)
  for maker in lexical.make_makers(material):
    for _ in range(20):
      inputs, targets = maker(rng)
      assert inputs.strip() and targets.strip()


def test_listed_options_hold_the_answer(material):
  rng = random.Random(0)
  for maker in lexical._choice_makers(material):
    for _ in range(50):
      inputs, targets = maker(rng)
      assert targets in inputs
