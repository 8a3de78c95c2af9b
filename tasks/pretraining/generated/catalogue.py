"""Classification tasks that are made from dictionaries and running text.

Each is a `GeneratedSource`: it draws a text for a label, so that the forms of
`packed.forms` can ask about it in all their ways.
"""

from mpt_jax.tasks.pretraining.generated import (
  inference,
  questions,
  sentences,
  words,
)
from mpt_jax.tasks.pretraining.generated.source import GeneratedSource


def make_sources(material) -> list[GeneratedSource]:
  """Returns all generated tasks of a `packed.material.Material`."""
  return [
    *words.word_sources(material),
    *words.relation_sources(material),
    *sentences.sentence_sources(material),
    *sentences.text_pair_sources(material),
    *inference.inference_sources(material),
    *questions.question_sources(material),
  ]
