"""Kinds of questions, and whether an answer fits a question."""

from mpt_jax.tasks.pretraining.generated.source import (
  FIRST_NOUN_CATEGORY,
  TRUTH,
  GeneratedSource,
)
from mpt_jax.tasks.public import readers

_THINGS = ("animal", "plant", "food", "artifact", "substance", "body")
_DEGREES = ("long", "tall", "old", "far", "much", "big", "fast")
_QUANTITIES = (
  "population",
  "length",
  "price",
  "size",
  "date",
  "age",
  "temperature",
)
_CLASSES = (
  "color",
  "language",
  "sport",
  "instrument",
  "disease",
  "game",
  "religion",
  "book",
  "film",
)


class _Questions:
  """Writes questions that ask for one kind of answer, from definitions."""

  def __init__(self, material):
    self._glosses = {}
    for part, number, words, gloss, *_ in material.synsets:
      if part == "noun" and number > FIRST_NOUN_CATEGORY:
        name = readers.WORDNET_CATEGORIES[number - FIRST_NOUN_CATEGORY]
        self._glosses.setdefault(name, []).append((words, gloss))
      elif part == "verb":
        self._glosses.setdefault("verb", []).append((words, gloss))
    self._abbreviations = [
      (word, meaning)
      for word, _, meaning in material.computing
      if word.isupper() and word.isalpha()
    ]

  def person(self, rng):
    words, gloss = rng.choice(self._glosses["person"])
    short = readers.first_words(gloss, 12)
    name = words[0].title()
    return rng.choice(
      (
        f"Who was {short}?",
        f"Which {rng.choice(('man', 'woman', 'person', 'author'))} is {short}?",
        f"What is the name of {short}?",
        f"Who {rng.choice(('invented', 'wrote', 'founded', 'led'))}"
        f" {gloss.split(' of ')[-1]}?",
        f"Who is {name}'s {rng.choice(('wife', 'son', 'father', 'teacher'))}?",
      )
    )

  def place(self, rng):
    words, gloss = rng.choice(self._glosses["location"])
    name = words[0].title()
    return rng.choice(
      (
        f"Where is {name}?",
        f"What {rng.choice(('city', 'country', 'state', 'river', 'town'))} is"
        f" {readers.first_words(gloss, 12)}?",
        f"In what country is {name}?",
        f"Where can one find {rng.choice(self._glosses['animal'])[0][0]}s?",
        f"What is the capital of {name}?",
      )
    )

  def number(self, rng):
    noun = rng.choice(self._glosses[rng.choice(_THINGS)])[0][0]
    words, gloss = rng.choice(self._glosses["event"])
    return rng.choice(
      (
        f"How many {noun}s are there in"
        f" {rng.choice(self._glosses['location'])[0][0].title()}?",
        f"When did the {words[0]} {rng.choice(('begin', 'end', 'happen'))}?",
        f"How {rng.choice(_DEGREES)} is a {noun}?",
        f"What year was the {words[0]}?",
        f"How much does a {noun} {rng.choice(('cost', 'weigh'))}?",
        f"What is the {rng.choice(_QUANTITIES)} of {noun}?",
      )
    )

  def description(self, rng):
    words, gloss = rng.choice(
      self._glosses[rng.choice((*_THINGS, "verb", "act"))]
    )
    word = rng.choice(words)
    return rng.choice(
      (
        f"What is {word}?",
        f"What does {word} mean?",
        f"Why do people {rng.choice(self._glosses['verb'])[0][0]}?",
        f"How do you {rng.choice(self._glosses['verb'])[0][0]} a {word}?",
        f"What is the origin of the word {word}?",
        f"What causes {word}?",
        f"What is the difference between {word} and {rng.choice(words)}?",
      )
    )

  def thing(self, rng):
    kind = rng.choice(_THINGS)
    words, gloss = rng.choice(self._glosses[kind])
    short = readers.first_words(gloss, 12)
    return rng.choice(
      (
        f"What {kind} is {short}?",
        f"What do you call {short}?",
        f"Which {kind} is {short}?",
        f"What {rng.choice(_CLASSES)} is {short}?",
        f"What is another name for {words[0]}?",
      )
    )

  def abbreviation(self, rng):
    word, meaning = rng.choice(self._abbreviations)
    short = readers.first_words(meaning, 6)
    return rng.choice(
      (
        f"What does {word} stand for?",
        f"What is {word} short for?",
        f"What is the abbreviation of {short}?",
        f"What is the full form of {word}?",
        f"What is the acronym for {short}?",
      )
    )


def question_sources(material):
  questions = _Questions(material)
  draws = {
    "person": questions.person,
    "place": questions.place,
    "number": questions.number,
    "description": questions.description,
    "thing": questions.thing,
    "abbreviation": questions.abbreviation,
  }

  def answer(rng, label):
    question, options, right = rng.choice(material.choices)
    wrong = [o for i, o in enumerate(options) if i != right]
    shown = options[right] if label == "yes" else rng.choice(wrong)
    question = " ".join(question.split()[-28:])
    return f"question: {question} answer: {shown}"

  yield GeneratedSource(
    "question_kind",
    "question kind: ",
    tuple(draws),
    ("what does the question ask for?", "kind of answer", "answer type"),
    1.0,
    lambda rng, label: draws[label](rng),
  )
  yield GeneratedSource(
    "answer_fits",
    "answer: ",
    TRUTH,
    ("is the answer right?", "does the answer fit the question?", "correct?"),
    0.5,
    answer,
  )
