"""Tasks made from a tiny material: each label is drawn, answers are listed."""

import random

import pretraining_fixtures

from mpt_jax.tasks.pretraining.generated import catalogue, lexical


def test_every_generated_task_draws_every_label():
  material = pretraining_fixtures.make_material()
  rng = random.Random(0)
  names = set()
  for source in catalogue.make_sources(material):
    names.add(source.name)
    for label in source.label_names:
      assert all(source.draw(rng, label).strip() for _ in range(20))
  assert len(names) == 21
  for maker in lexical.make_makers(material):
    for _ in range(20):
      inputs, targets = maker(rng)
      assert inputs.strip() and targets.strip()


def test_listed_options_hold_the_answer():
  material = pretraining_fixtures.make_material()
  rng = random.Random(0)
  for maker in lexical._choice_makers(material):
    for _ in range(50):
      inputs, targets = maker(rng)
      assert targets in inputs
