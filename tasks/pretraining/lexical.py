"""Makes text-to-text examples without labels: spelling, words, sentences.

A maker is a function of a `random.Random` that returns (inputs, targets).
"""

from mpt_jax.tasks.pretraining import corpus
from mpt_jax.tasks.public import packages, readers


def lexical_makers() -> list:
  """Returns all makers; reads their data and fetches it if it is missing."""
  (path,) = packages.fetch_members("codespell").values()
  spellings = [
    tuple(line.strip().split("->"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if "->" in line and "," not in line
  ]
  synsets = [
    (words, gloss.partition(";")[0].strip())
    for part in ("noun", "verb", "adj", "adv")
    for words, _, gloss in readers.read_wordnet(part)
  ]
  paragraphs = [s for s in corpus.read_brown() if len(s) > 1]
  sentences = [
    s for p in corpus.read_brown() for s in p if 4 < s.count(" ") < 25
  ]
  descriptions = [
    text.split(". ", 1) for text in corpus.read_debian_texts() if ". " in text
  ]
  return [
    *spelling_makers(spellings),
    *word_makers(synsets),
    *order_makers(paragraphs, sentences),
    *summary_makers(readers.read_news_articles(), descriptions),
    # Last, so that files made from a seed stay the same.
    pick_maker(sentences),
  ]


def spelling_makers(spellings) -> tuple:
  """Makers about the spelling of words.

  Args:
    spellings: pairs (wrong, right).
  """

  def spelling(rng):
    wrong, right = rng.choice(spellings)
    return f"correct spelling: {wrong}", right

  def misspelled(rng):
    wrong, right = rng.choice(spellings)
    correct = rng.random() < 0.5
    word = right if correct else wrong
    return f"is the spelling right? {word}", "right" if correct else "wrong"

  return spelling, misspelled


def word_makers(synsets) -> tuple:
  """Makers about the meaning of words.

  Args:
    synsets: pairs (words of this meaning, definition).
  """
  synonyms = [words for words, _ in synsets if len(words) > 1]

  def define(rng):
    words, gloss = rng.choice(synsets)
    return f"which word means: {gloss}", words[0]

  def meaning(rng):
    words, gloss = rng.choice(synsets)
    return f"meaning of: {words[0]}", readers.first_words(gloss, 14)

  def matches(rng):
    words, gloss = rng.choice(synsets)
    fits = rng.random() < 0.5
    if not fits:
      gloss = rng.choice(synsets)[1]
    return f"word: {words[0]} meaning: {gloss} fits?", "yes" if fits else "no"

  def synonym(rng):
    words = rng.sample(rng.choice(synonyms), 2)
    return f"another word for: {words[0]}", words[1]

  return define, meaning, matches, synonym


def order_makers(paragraphs, sentences) -> tuple:
  """Makers about the order of sentences and words, and about capitals.

  Args:
    paragraphs: lists of at least two sentences.
    sentences: sentences of at least four words.
  """

  def following(rng):
    paragraph = rng.choice(paragraphs)
    i = rng.randrange(len(paragraph) - 1)
    follows = rng.random() < 0.5
    second = paragraph[i + 1] if follows else rng.choice(sentences)
    first, second = (readers.first_words(s, 20) for s in (paragraph[i], second))
    return (
      f"does b follow a? a: {first} b: {second}",
      "yes" if follows else "no",
    )

  def order(rng):
    words = rng.choice(sentences).split()
    correct = rng.random() < 0.5
    if not correct:
      i = rng.randrange(len(words) - 2)
      middle = words[i : i + 4]
      rng.shuffle(middle)
      correct = middle == words[i : i + 4]
      words[i : i + 4] = middle
    return "word order: " + " ".join(words), "right" if correct else "wrong"

  def case(rng):
    text = readers.first_words(rng.choice(sentences), 12)
    return f"capitals: {text.lower()}", text

  return following, order, case


def summary_makers(articles, descriptions) -> tuple:
  """Makers about headlines and summaries.

  Args:
    articles: dicts of "title" and "text".
    descriptions: pairs (short, long).
  """

  def title(rng):
    article = rng.choice(articles)
    return "headline for: " + readers.first_words(article["text"], 36), (
      readers.first_words(article["title"], 14)
    )

  def summary(rng):
    short, long = rng.choice(descriptions)
    return "summary: " + readers.first_words(long, 36), (
      readers.first_words(short, 12)
    )

  return title, summary


def pick_maker(sentences):
  """A maker that repeats the word to which the instruction points.

  Args:
    sentences: sentences of at least two words.
  """

  def pick(rng):
    words = readers.first_words(rng.choice(sentences), 14).split()
    name, i = rng.choice((("first", 0), ("second", 1), ("last", -1)))
    return f"{name} word: " + " ".join(words), words[i]

  return pick
