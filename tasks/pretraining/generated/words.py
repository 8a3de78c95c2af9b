"""Tasks about words: what they are, and how they belong together."""

from mpt_jax.tasks.pretraining.generated.source import (
  FIRST_NOUN_CATEGORY,
  TRUTH,
  GeneratedSource,
  from_lists,
)
from mpt_jax.tasks.public import readers


def word_sources(material):
  """What a word or a definition is."""
  categories, parts = {}, {}
  for part, number, words, gloss, *_ in material.synsets:
    name = {"adj": "adjective", "adv": "adverb"}.get(part, part)
    parts.setdefault(name, []).extend(
      [words[0], f"{words[0]}: {gloss}"] if " " not in words[0] else []
    )
    if part == "noun" and number > FIRST_NOUN_CATEGORY:
      label = readers.WORDNET_CATEGORIES[number - FIRST_NOUN_CATEGORY]
      categories.setdefault(label, []).extend(words[:2])
  fields = {}
  for word, field, meaning in material.computing:
    short = readers.first_words(meaning, 30)
    fields.setdefault(field, []).append(f"{word}: {short}")
  fields = {name: rows for name, rows in fields.items() if len(rows) >= 80}
  subjects = {}
  for word, field, meaning in material.definitions:
    subjects.setdefault(field, []).append(f"{word}: {meaning}")
  del subjects[""]
  topics = {}
  for _, _, words, gloss, _, relations, _ in material.synsets:
    for other in relations.get("topic", ()):
      topic = material.synsets[other][2][0]
      topics.setdefault(topic, []).append(f"{words[0]}: {gloss}")
  yield from_lists(
    "subject",
    "subject: ",
    ("which subject does the word belong to?", "subject", "field of the word"),
    1.0,
    {name: rows for name, rows in subjects.items() if len(rows) >= 40},
  )
  yield from_lists(
    "word_topic",
    "topic of the word: ",
    ("which topic does the word belong to?", "topic", "domain of the word"),
    1.0,
    {name: rows for name, rows in topics.items() if len(rows) >= 30},
  )
  yield from_lists(
    "category_of_word",
    "word kind: ",
    ("what kind of thing is this word?", "kind of thing", "category"),
    0.8,
    categories,
  )
  yield from_lists(
    "part_of_speech",
    "part of speech: ",
    ("which part of speech?", "grammatical class", "word class"),
    0.3,
    parts,
  )
  yield from_lists(
    "computing_field",
    "field of computing: ",
    ("which field of computing?", "area", "field of the term"),
    0.4,
    fields,
  )


def relation_sources(material):
  """How two words, or a word and a definition, belong together."""
  nouns = [s for s in material.synsets if s[0] == "noun" and s[5].get("kind")]
  yield GeneratedSource(
    "word_relation",
    "word relation: ",
    ("synonym", "opposite", "kind", "part", "unrelated"),
    ("how are the two words related?", "relation of the words", "relation"),
    0.8,
    _relation_drawer(material.synsets, nouns),
  )
  yield from _definition_sources(material, nouns)


def _relation_drawer(synsets, nouns):
  """Returns a function that draws two words that are related as asked."""
  related = {
    "synonym": [s[2] for s in synsets if len(s[2]) > 1],
    "opposite": [pair for s in synsets for pair in s[6]],
    "kind": [
      (word, parent)
      for s in nouns
      for word in s[2][:1]
      for parent in synsets[s[5]["kind"][0]][2][:1]
    ],
    "part": [
      (synsets[other][2][0], s[2][0])
      for s in synsets
      for other in s[5].get("part", ())
    ],
    "unrelated": [s[2] for s in synsets],
  }

  def relation(rng, label):
    if label == "unrelated":
      a, b = (rng.choice(rng.choice(related[label])) for _ in range(2))
    elif label in ("synonym", "opposite"):
      a, b = rng.sample(list(rng.choice(related[label])), 2)
    else:
      a, b = rng.choice(related[label])
    return rng.choice((f"{a} and {b}", f"a: {a} b: {b}", f"{a}, {b}"))

  return relation


def _definition_sources(material, nouns):
  """Whether a definition fits, and whether two words are of one category."""

  def fits(rng, label):
    word, _, meaning = rng.choice(material.definitions)
    if label == "no":
      meaning = rng.choice(material.definitions)[2]
    return rng.choice(
      (f"word: {word} meaning: {meaning}", f"{word}: {meaning}")
    )

  by_category = {}
  for s in nouns:
    by_category.setdefault(s[1], []).append(s)
  categories = list(by_category)

  def close(rng, label):
    """The wrong meaning is that of a word of the same category."""
    s = rng.choice(nouns)
    gloss = s[3]
    if label == "no":
      gloss = rng.choice(by_category[s[1]])[3]
    return f"word: {rng.choice(s[2])} meaning: {gloss}"

  def same_category(rng, label):
    first = rng.choice(categories)
    others = [c for c in categories if c != first]
    second = first if label == "same" else rng.choice(others)
    a, b = (rng.choice(by_category[c])[2][0] for c in (first, second))
    return f"a: {a} b: {b}"

  yield GeneratedSource(
    "definition_fits",
    "definition: ",
    TRUTH,
    ("does the meaning fit the word?", "is the definition right?", "fits?"),
    0.6,
    fits,
  )
  yield GeneratedSource(
    "close_definition",
    "exact definition: ",
    TRUTH,
    ("does the meaning fit the word?", "is the definition right?", "fits?"),
    0.5,
    close,
  )
  yield GeneratedSource(
    "same_category",
    "word pair: ",
    ("different", "same"),
    ("same kind of thing or different?", "are both of one kind?", "compare"),
    0.4,
    same_category,
  )
