"""Counts the runs of eight words that pretraining shares with the targets.

  python -m mpt_jax.tasks.pretraining.packed.overlap --data FOLDER

prints a line for each held-out dataset: its texts, how many of them share at
least one run with the pretraining material, and the shared runs. Runs that
several texts of the same dataset have in common are phrases of its kind (a
licence, a signature) and do not count.
"""

import argparse
import collections
import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator

from mpt_jax.tasks.pretraining.packed import material
from mpt_jax.tasks.public import sources

NUM_WORDS = 8
# A run in more texts of a dataset than this is a phrase of its kind.
_MOST_TEXTS = 2


def runs(text: str, length: int = NUM_WORDS) -> Iterator[str]:
  """Yields a text's runs of words, without case and punctuation.

  >>> list(runs("One, two three!", 2))
  ['one two', 'two three']
  """
  words = re.findall(r"[a-z0-9]+", text.lower())
  for i in range(len(words) - length + 1):
    yield " ".join(words[i : i + length])


def own_runs(texts: Iterable[str]) -> set[str]:
  """Returns the runs of a dataset that only one or two of its texts have."""
  counts = collections.Counter()
  for text in texts:
    counts.update(set(runs(text)))
  return {run for run, count in counts.items() if count <= _MOST_TEXTS}


def target_texts(name: str) -> list[str]:
  """Returns the texts of all splits of a dataset."""
  template = sources.SOURCES[name].template
  splits = sources.load_splits(name).values()
  return [template.format(**row) for rows in splits for row in rows]


def held_out_names() -> list[str]:
  """Returns the names of the targets."""
  return [n for n, source in sources.SOURCES.items() if source.held_out]


def held_out_runs() -> set[str]:
  """Returns the own runs of all held-out datasets."""
  names = held_out_names()
  return set().union(*(own_runs(target_texts(name)) for name in names))


@dataclasses.dataclass(frozen=True)
class Count:
  """The overlap of one dataset.

  Attributes:
    name: the dataset.
    texts: its texts.
    touched: those that share a run.
    runs: its own runs.
    shared: those that pretraining has too.
  """

  name: str
  texts: int
  touched: int
  runs: int
  shared: int


def count_overlaps(
  targets: dict[str, list[str]], pretraining: Iterable[str]
) -> list[Count]:
  """Counts what each target shares with the pretraining texts.

  Args:
    targets: {name: texts}.
    pretraining: texts.
  """
  own = {name: own_runs(texts) for name, texts in targets.items()}
  wanted = set().union(*own.values())
  seen = set()
  for text in pretraining:
    seen.update(run for run in runs(text) if run in wanted)
  counts = []
  for name, texts in targets.items():
    shared = own[name] & seen
    touched = sum(any(run in shared for run in runs(text)) for text in texts)
    counts.append(Count(name, len(texts), touched, len(own[name]), len(shared)))
  return counts


def without_overlaps(texts: Iterable[str], banned: set[str]) -> list[str]:
  """Returns the texts that share no run with `banned`."""
  return [
    text for text in texts if not any(run in banned for run in runs(text))
  ]


def main(arguments=None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data", required=True, help="pretraining data folder")
  folder = pathlib.Path(parser.parse_args(arguments).data)
  gathered = material.load(folder / material.FILE)
  targets = {name: target_texts(name) for name in held_out_names()}
  print(f"{'target':16}{'texts':>8}{'touched':>9}{'runs':>10}{'shared':>8}")
  for count in count_overlaps(targets, material.all_texts(gathered)):
    print(
      f"{count.name:16}{count.texts:8}{count.touched:9}{count.runs:10}"
      f"{count.shared:8}"
    )
  return 0


if __name__ == "__main__":
  sys.exit(main())
