"""All generated tasks together, from a tiny material."""

import random

from mpt_jax.tasks.pretraining.generated import catalogue


def test_every_task_draws_every_label(material):
  rng = random.Random(0)
  for source in catalogue.make_sources(material):
    assert source.weight > 0 and source.questions
    assert len(source.label_names) > 1
    for label in source.label_names:
      assert all(source.draw(rng, label).strip() for _ in range(20))


def test_tasks_have_names_and_prefixes_of_their_own(material):
  made = catalogue.make_sources(material)
  assert [source.name for source in made] == [
    *("subject", "word_topic", "category_of_word", "part_of_speech"),
    *("computing_field", "word_relation", "definition_fits"),
    *("close_definition", "same_category", "genre", "emotion", "spelling"),
    *("word_order", "same_topic", "headline_fits", "summary_fits", "follows"),
    *("paraphrase", "inference", "question_kind", "answer_fits"),
  ]
  assert len({source.prefix for source in made}) == len(made)
  assert all(source.prefix.endswith(": ") for source in made)
