"""A classification task that draws its texts, and what such tasks share."""

import dataclasses
import random
from collections.abc import Callable

TRUTH = ("no", "yes")
FIRST_NOUN_CATEGORY = 3


@dataclasses.dataclass(frozen=True)
class GeneratedSource:
  """A classification task whose texts are drawn.

  Attributes:
    name: the source's name.
    prefix: the native task prefix.
    label_names: the classes' words.
    questions: wordings of what is asked.
    weight: share among the sources.
    draw: (generator, label) -> text.
  """

  name: str
  prefix: str
  label_names: tuple[str, ...]
  questions: tuple[str, ...]
  weight: float
  draw: Callable[[random.Random, str], str]

  @property
  def labels(self) -> list[str]:
    return list(self.label_names)

  @property
  def label_weights(self) -> list[float]:
    return [1.0] * len(self.label_names)


def from_lists(name, prefix, questions, weight, texts):
  """Returns a source that draws from lists of texts by label.

  Labels with fewer than 20 texts are left out.
  """
  texts = {label: rows for label, rows in texts.items() if len(rows) >= 20}
  return GeneratedSource(
    name,
    prefix,
    tuple(texts),
    questions,
    weight,
    lambda rng, label: rng.choice(texts[label]),
  )


def sentences_of(material) -> list[str]:
  """Returns the material's sentences of 6 to 25 words."""
  return [s for _, p in material.paragraphs for s in p if 4 < s.count(" ") < 25]
