"""Tasks whose answer is a word or a text, made from the material."""

from mpt_jax.tasks.pretraining.generated.source import sentences_of
from mpt_jax.tasks.public import readers

_BLANK = "___"


def make_makers(material) -> list:
  """Returns functions of a generator that make (inputs, targets)."""
  return [
    *_word_makers(material),
    *_choice_makers(material),
    *_sentence_makers(material),
  ]


def _word_makers(material):
  """Definitions, synonyms, kinds, opposites and spelling."""
  synsets, definitions = material.synsets, material.definitions
  synonyms = [s[2] for s in synsets if len(s[2]) > 1]
  opposites = [pair for s in synsets for pair in s[6]]
  kinds = [s for s in synsets if s[5].get("kind")]

  def define(rng):
    if rng.random() < 0.5:
      word, _, gloss = rng.choice(definitions)
    else:
      synset = rng.choice(synsets)
      word, gloss = synset[2][0], synset[3]
    ask = rng.choice(
      ("which word means: ", "word for: ", "name this: ", "what is called: ")
    )
    return ask + gloss, word

  def meaning(rng):
    if rng.random() < 0.5:
      word, _, gloss = rng.choice(definitions)
    else:
      synset = rng.choice(synsets)
      word, gloss = rng.choice(synset[2]), synset[3]
    ask = rng.choice(("meaning of: ", "define: ", "what does it mean: "))
    return ask + word, readers.first_words(gloss, 14)

  def synonym(rng):
    words = rng.sample(rng.choice(synonyms), 2)
    ask = rng.choice(("another word for: ", "synonym: ", "same meaning as: "))
    return ask + words[0], words[1]

  def opposite(rng):
    word, other = rng.choice(opposites)
    return rng.choice(("opposite of: ", "antonym: ", "not ")) + word, other

  def kind(rng):
    synset = rng.choice(kinds)
    parent = synsets[rng.choice(synset[5]["kind"])]
    ask = rng.choice(("is a kind of: ", "hypernym: ", "more general word: "))
    return ask + rng.choice(synset[2]), parent[2][0]

  def spelling(rng):
    wrong, right = rng.choice(material.spellings)
    ask = rng.choice(("correct spelling: ", "spell: ", "correct: "))
    return ask + wrong, right

  return [define, define, meaning, synonym, opposite, kind, spelling]


def _choice_makers(material):
  """Questions whose options are listed in the input."""
  synsets, definitions = material.synsets, material.definitions
  sentences = sentences_of(material)
  words = list(dict.fromkeys(w for s in sentences for w in s.lower().split()))
  words = [w for w in words if w.isalpha() and len(w) > 3]
  by_category = {}
  for synset in synsets:
    by_category.setdefault((synset[0], synset[1]), []).append(synset)
  categories = [c for c in by_category if len(by_category[c]) > 10]

  def listed(rng, question, right, wrong):
    """Asks with options by letter, digit or word, in a random order."""
    options = [right, *wrong]
    rng.shuffle(options)
    names = rng.choice(("abcdef", "ABCDEF", "123456", None))
    if names is None:
      shown, answer = ", ".join(options), right
    else:
      shown = " ".join(
        f"{n}) {o}" for n, o in zip(names, options, strict=False)
      )
      answer = rng.choice((names[options.index(right)], right))
      if answer == right:
        shown = f"{shown} answer in words"
    return rng.choice(
      (f"{question} options: {shown}", f"choose: {shown} {question}")
    ), answer

  def cloze(rng):
    parts = rng.choice(sentences).split()
    places = [i for i, w in enumerate(parts) if w.isalpha() and len(w) > 3]
    if not places:
      return cloze(rng)
    i = rng.choice(places)
    right = parts[i].lower()
    wrong = [w for w in rng.sample(words, rng.randint(1, 4)) if w != right]
    question = " ".join([*parts[:i], _BLANK, *parts[i + 1 :]])
    return listed(rng, f"fill in: {question}", right, wrong)

  def word_of(rng):
    group = by_category[rng.choice(categories)]
    first, *others = rng.sample(group, rng.randint(2, 4))
    wrong = [o[2][0] for o in others]
    ask = rng.choice(("which word means: ", "word for: "))
    return listed(rng, ask + first[3], first[2][0], wrong)

  def meaning_of(rng):
    (word, _, right), *others = rng.sample(definitions, rng.randint(2, 3))

    def short(text):
      return readers.first_words(text, 12)

    wrong = [short(o[2]) for o in others]
    return listed(rng, f"meaning of {word}:", short(right), wrong)

  def odd_one(rng):
    first, second = rng.sample(categories, 2)
    same = rng.sample(by_category[first], 3)
    odd = rng.choice(by_category[second])[2][0]
    return listed(rng, "which does not belong?", odd, [s[2][0] for s in same])

  def question(rng):
    text, options, right = rng.choice(material.choices)
    text = " ".join(text.split()[-30:])
    shown = [readers.first_words(option, 12) for option in options]
    wrong = [o for i, o in enumerate(shown) if i != right]
    return listed(rng, text, shown[right], wrong)

  return [cloze, cloze, word_of, meaning_of, odd_one, question]


def _sentence_makers(material):
  """Repeats, restores or shortens a text."""
  sentences = sentences_of(material)

  def case(rng):
    text = readers.first_words(rng.choice(sentences), 12)
    return f"capitals: {text.lower()}", text

  def title(rng):
    name, text = rng.choice(material.articles)
    ask = rng.choice(("headline for: ", "title: ", "headline: "))
    return ask + readers.first_words(text, 36), readers.first_words(name, 14)

  def summary(rng):
    short, long = rng.choice(material.descriptions)
    ask = rng.choice(("summary: ", "in short: ", "summarize: "))
    return ask + readers.first_words(long, 36), readers.first_words(short, 12)

  def pick(rng):
    """Repeats a word that the instruction points at."""
    words = readers.first_words(rng.choice(sentences), 14).split()
    name, i = rng.choice((("first", 0), ("second", 1), ("last", -1)))
    return f"{name} word: " + " ".join(words), words[i]

  def unscramble(rng):
    words = readers.first_words(rng.choice(sentences), 7).split()
    mixed = rng.sample(words, len(words))
    return "put in order: " + " ".join(mixed), " ".join(words)

  return [case, title, summary, pick, unscramble]
