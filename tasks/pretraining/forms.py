"""Turns labelled texts into many kinds of text-to-text examples.

A small model follows a tuned prompt only if pretraining taught it to read
the tokens before a text as an instruction. So the examples ask about one text
in many ways: T5's native task prefix, paraphrased questions with the options
listed, renamed label words, yes/no questions, and "tags": short sequences of
rare words, each of which stands for one task with one label vocabulary.
"""

import dataclasses
import random
from collections.abc import Iterator

from mpt_jax.tasks.pretraining import sources as pretraining_sources

# Share of each form among the examples. Most ask in the native form: a small
# model has to learn what the texts say before the many ways to ask. None shows
# a text alone, so that a text does not give its task away.
FORM_WEIGHTS = {
  "native": 0.62,
  "options": 0.08,
  "yes_no": 0.03,
  "tag": 0.19,
  "lexical": 0.08,
}
_TRUTH_WORDS = (
  ("yes", "no"),
  ("true", "false"),
  ("right", "wrong"),
  ("good", "bad"),
  ("one", "zero"),
)
LETTERS = "ABCDEFGH"


@dataclasses.dataclass(frozen=True)
class Tag:
  """Arbitrary words that stand for a task with its own label words."""

  words: str
  labels: dict[str, str]
  after: bool


class ExampleMaker:
  """Makes (inputs, targets) pairs from labelled sources and plain texts.

  Args:
    sources: the labelled sources.
    common_words: words for arbitrary labels, one vocabulary piece each.
    rare_words: words for tags, one vocabulary piece each.
    seed: seed of the tags only; examples take their own generator.
    lexical: the makers of examples without labels; see `lexical`.
  """

  weights_of_forms = FORM_WEIGHTS
  tags_per_source = 8
  longest_tag = 8

  def __init__(self, sources, common_words, rare_words, seed=0, lexical=()):
    self.sources = sources
    self.common_words = common_words
    self.lexical = lexical
    self.weights = [source.weight for source in sources]
    self.labels = {source.name: source.labels for source in sources}
    self.label_weights = {
      source.name: source.label_weights for source in sources
    }
    rng = random.Random(seed)
    self.tags = {
      source.name: [
        self._make_tag(rng, source, rare_words)
        for _ in range(self.tags_per_source)
      ]
      for source in sources
    }
    weights = self.weights_of_forms
    forms = [name for name in weights if lexical or name != "lexical"]
    self.forms = [getattr(self, "_" + name) for name in forms]
    self.form_weights = [weights[name] for name in forms]

  def restrict(self, source):
    """Takes a source's texts from another split, which may lack a class."""
    self.labels[source.name] = source.labels
    self.label_weights[source.name] = source.label_weights
    self.tags[source.name] = [
      tag for tag in self.tags[source.name] if {*tag.labels} & {*source.labels}
    ]

  def examples(self, seed: int | str) -> Iterator[tuple[str, str]]:
    """Yields examples without end, always the same ones for a seed."""
    rng = random.Random(seed)
    while True:
      (form,) = rng.choices(self.forms, self.form_weights)
      (source,) = rng.choices(self.sources, self.weights)
      yield form(rng, source)

  def _draw(self, rng, source, label=None):
    if label is None:
      (label,) = rng.choices(
        self.labels[source.name], self.label_weights[source.name]
      )
    return source.draw(rng, label), label

  def _make_tag(self, rng, source, rare_words):
    labels = self._some_labels(rng, source)
    kind = rng.random()
    if kind < 0.10:  # One class against the rest.
      chosen = rng.choice(source.labels)
      words = rng.choice(
        [rng.choice(_TRUTH_WORDS), tuple(rng.sample(self.common_words, 2))]
      )
      labels = {name: words[name != chosen] for name in source.labels}
    elif kind < 0.65:
      labels = {name: name for name in labels}
    elif kind < 0.85:
      labels = {name: rename(rng, name) for name in labels}
    elif kind < 0.92 and len(labels) <= len(LETTERS):
      labels = dict(zip(labels, rng.sample(LETTERS, len(labels)), strict=True))
    else:
      words = rng.sample(self.common_words, len(labels))
      labels = dict(zip(labels, words, strict=True))
    words = rng.sample(rare_words, rng.randint(1, self.longest_tag))
    return Tag(" ".join(words), labels, rng.random() < 0.1)

  def _some_labels(self, rng, source, at_most=8):
    """Some of a source's classes, in random order."""
    names = list(source.labels)
    rng.shuffle(names)
    if len(names) > 2 and (len(names) > at_most or rng.random() < 0.5):
      names = names[: rng.randint(2, min(at_most, len(names)))]
    return names

  def _native(self, rng, source):
    text, label = self._draw(rng, source)
    return source.prefix + text, label

  def _options(self, rng, source):
    names = self._some_labels(rng, source)
    text, label = self._draw(rng, source, rng.choice(names))
    renamed = rng.random() < 0.4
    words = {name: rename(rng, name) if renamed else name for name in names}
    shown = list(words.values())
    question = rng.choice(source.questions)
    options = rng.choice(
      (
        "options: " + ", ".join(shown),
        "choose: " + ", ".join(shown),
        " or ".join(shown) + "?",
        "(" + " / ".join(shown) + ")",
      )
    )
    inputs = rng.choice(
      (
        f"{question} {options} text: {text}",
        f"{options} {question} {text}",
        f"{options} {text}",
        f"{question} {text} {options}",
      )
    )
    return inputs, words[label]

  def _yes_no(self, rng, source):
    text, label = self._draw(rng, source)
    asked = label
    if rng.random() < 0.5:
      asked = rng.choice([name for name in source.labels if name != label])
    yes, no = rng.choice(_TRUTH_WORDS[:2])
    word = rename(rng, asked, 0.3)
    question = rng.choice(
      (
        f"is this {word}? {yes} or {no}?",
        f"does {word} fit? {yes}/{no}",
        f"{word}, {yes} or {no}:",
      )
    )
    return f"{question} {text}", yes if asked == label else no

  def _tag(self, rng, source):
    if not self.tags[source.name]:  # `restrict` removed all.
      return self._native(rng, source)
    tag = rng.choice(self.tags[source.name])
    label = rng.choice([name for name in tag.labels if name in source.labels])
    text, label = self._draw(rng, source, label)
    inputs = f"{text} {tag.words}" if tag.after else f"{tag.words} {text}"
    return inputs, tag.labels[label]

  def _lexical(self, rng, source):
    del source
    return rng.choice(self.lexical)(rng)


def rename(rng, name, chance=0.7):
  """Returns a label, or another word for it with that chance."""
  if name in pretraining_sources.SYNONYMS and rng.random() < chance:
    return rng.choice(pretraining_sources.SYNONYMS[name])
  return name
