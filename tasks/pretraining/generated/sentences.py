"""Tasks about sentences, and about two texts that may belong together."""

import re

from mpt_jax.tasks.pretraining.generated.source import (
  TRUTH,
  GeneratedSource,
  from_lists,
  sentences_of,
)
from mpt_jax.tasks.public import readers

EMOTIONS = {
  "joy": "happy glad joy delight cheerful pleased smile smiled laugh laughed"
  " enjoy fun celebrate wonderful grin",
  "anger": "angry anger furious rage hate hated mad annoyed irritated outrage"
  " resent fury bitter temper",
  "fear": "afraid fear scared terror terrified panic frightened anxious worry"
  " worried nervous horror dread alarm",
  "sadness": "sad sorrow grief cry cried tears lonely miserable mourn unhappy"
  " depressed loss despair weep",
  "love": "love loved affection tender darling kiss kissed adore romance dear"
  " beloved fond sweetheart",
  "surprise": "surprise surprised astonished amazed suddenly unexpected shock"
  " shocked startled wow incredible",
}
GENRES = {
  "a": "report",
  "b": "editorial",
  "c": "criticism",
  "d": "religion",
  "e": "hobby",
  "f": "lore",
  "g": "biography",
  "h": "government",
  "j": "science",
  "k": "fiction",
  "l": "mystery",
  "m": "fantasy",
  "n": "adventure",
  "p": "romance",
  "r": "humor",
}


def sentence_sources(material):
  """What a sentence is like."""
  sentences = sentences_of(material)
  spellings = material.spellings
  genres, emotions = {}, {name: [] for name in EMOTIONS}
  for name, paragraph in material.paragraphs:
    text = readers.first_words(" ".join(paragraph), 40)
    if text.count(" ") > 8:
      genres.setdefault(GENRES[name[1]], []).append(text)
  words = {w: name for name, ws in EMOTIONS.items() for w in ws.split()}
  for text in (
    *sentences,
    *_split([text for _, text in material.articles] + material.plain),
  ):
    found = {
      words[w] for w in re.findall(r"[a-z]+", text.lower()) if w in words
    }
    if len(found) == 1:
      emotions[found.pop()].append(text)

  def misspelled(rng, label):
    wrong, right = rng.choice(spellings)
    word = right if label == "right" else wrong
    if rng.random() < 0.5:
      return word
    parts = rng.choice(sentences).split()[:12]
    parts.insert(rng.randrange(len(parts)), word)
    return " ".join(parts)

  def order(rng, label):
    parts = rng.choice(sentences).split()
    if label == "wrong":
      i = rng.randrange(len(parts) - 3)
      middle = parts[i : i + 4]
      while middle == parts[i : i + 4]:
        rng.shuffle(middle)
        if len(set(middle)) == 1:
          break
      parts[i : i + 4] = middle
    return " ".join(parts)

  yield from_lists(
    "genre",
    "genre: ",
    ("what kind of writing is it?", "genre of the text", "which genre?"),
    0.8,
    genres,
  )
  yield from_lists(
    "emotion",
    "emotion: ",
    ("which feeling does it show?", "emotion", "what does the writer feel?"),
    1.5,
    emotions,
  )
  for name, draw in (("spelling", misspelled), ("word_order", order)):
    title = name.replace("_", " ")
    yield GeneratedSource(
      name,
      f"{title} check: ",
      ("right", "wrong"),
      (f"is the {title} right?", f"{title}: right or wrong?", f"check {title}"),
      0.4,
      draw,
    )


def _split(texts):
  for text in texts:
    for sentence in re.split(r"(?<=[.!?])\s+", text):
      if 4 < sentence.count(" ") < 25:
        yield sentence


def text_pair_sources(material):
  """Whether two texts belong together."""
  articles, descriptions = material.articles, material.descriptions
  paragraphs = [p for _, p in material.paragraphs if len(p) > 1]
  topics = [
    source
    for source in material.labelled
    if source["name"] in ("newsgroups", "r8", "news_section", "debian_section")
  ]

  def pair(rng, first, second):
    a, b = rng.choice((("a", "b"), ("first", "second"), ("1", "2")))
    return f"{a}: {first} {b}: {second}"

  def same_topic(rng, label):
    source = rng.choice(topics)
    names = list(source["texts"])
    first = rng.choice(names)
    others = [name for name in names if name != first]
    second = first if label == "same" else rng.choice(others)
    texts = (rng.choice(source["texts"][name]) for name in (first, second))
    return pair(rng, *(readers.first_words(text, 22) for text in texts))

  def headline(rng, label):
    title, text = rng.choice(articles)
    if label == "no":
      title = rng.choice(articles)[0]
    return f"headline: {title} text: {readers.first_words(text, 30)}"

  def summary(rng, label):
    short, long = rng.choice(descriptions)
    if label == "no":
      short = rng.choice(descriptions)[0]
    return f"summary: {short} text: {readers.first_words(long, 30)}"

  def follows(rng, label):
    paragraph = rng.choice(paragraphs)
    i = rng.randrange(len(paragraph) - 1)
    second = paragraph[i + 1]
    if label == "no":
      second = rng.choice(rng.choice(paragraphs))
    return pair(
      rng, *(readers.first_words(s, 20) for s in (paragraph[i], second))
    )

  yield GeneratedSource(
    "same_topic",
    "topic pair: ",
    ("different", "same"),
    ("same topic or different?", "are both about one topic?", "compare topics"),
    1.0,
    same_topic,
  )
  for name, draw, questions in (
    ("headline_fits", headline, ("does the headline fit?", "right headline?")),
    ("summary_fits", summary, ("does the summary fit?", "right summary?")),
    (
      "follows",
      follows,
      ("does one follow the other?", "do they belong together?"),
    ),
  ):
    prefix = name.replace("_", " ") + ": "
    yield GeneratedSource(name, prefix, TRUTH, questions, 0.6, draw)
