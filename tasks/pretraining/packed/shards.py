"""Shards: files of packed pretraining rows, each made from its number alone.

A data folder holds the material, the vocabulary and `recipe.json`. Shard i is
always the same, on every machine, so shards are made when they are needed and
thrown away afterwards.
"""

import dataclasses
import functools
import json
import os
import pathlib
import random

import numpy as np

from mpt_jax.io import digests, errors
from mpt_jax.tasks.pretraining import sources as pretraining_sources
from mpt_jax.tasks.pretraining.generated import catalogue, lexical
from mpt_jax.tasks.pretraining.packed import material, tokens
from mpt_jax.tasks.pretraining.packed.forms import PackedExampleMaker
from mpt_jax.tasks.pretraining.packed.tokens import EOS_ID, RowShape

PIECES = "pieces.json"
VOCABULARY = "sentencepiece.model"
_RECIPE = "recipe.json"


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a shard holds.

  Attributes:
    version: goes up with every change of the examples.
    vocab_size: ids, sentinels included.
    examples: examples of a shard.
    span_share: share of span corruption among them.
    span_tokens: tokens of a text before its corruption.
    longest_input: tokens at most, end of sequence included.
    inputs: encoder positions of a row.
    targets: decoder positions of a row.
  """

  version: int = 4
  vocab_size: int = 12000
  examples: int = 20000
  span_share: float = 0.12
  span_tokens: int = 60
  longest_input: int = 96
  inputs: int = 128
  targets: int = 20

  @property
  def shape(self) -> RowShape:
    return RowShape(self.inputs, self.targets)


def write_recipe(folder: str | os.PathLike, recipe: Recipe) -> None:
  """Writes the recipe of a data folder."""
  fields = digests.seal(dataclasses.asdict(recipe))
  text = json.dumps(fields, indent=2) + "\n"
  (pathlib.Path(folder) / _RECIPE).write_text(text)


class ShardMaker:
  """Makes the shards of a data folder.

  Args:
    folder: with the material, the pieces and the recipe.
  """

  def __init__(self, folder: str | os.PathLike):
    self.folder = pathlib.Path(folder)
    path = self.folder / _RECIPE
    with errors.reading(path, "a recipe of pretraining"):
      fields = digests.read_sealed(path, "the recipe")
      self.recipe = Recipe(**fields)
    self.tokenizer = tokens.Tokenizer.from_file(self.folder / PIECES)

  @functools.cached_property
  def _material(self):
    return material.load(self.folder / material.FILE)

  @functools.cached_property
  def examples(self) -> PackedExampleMaker:
    """Makes the examples that are no span corruption."""
    gathered = self._material
    labelled = [
      pretraining_sources.LabelledSource(**fields)
      for fields in gathered.labelled
    ]
    common, rare = self._single_pieces()
    return PackedExampleMaker(
      [*labelled, *catalogue.make_sources(gathered)],
      common,
      rare,
      lexical=lexical.make_makers(gathered),
    )

  def _single_pieces(self):
    """Frequent words, for labels, and rarer ones, for tags: whole pieces."""
    rows = json.loads((self.folder / PIECES).read_text(encoding="utf-8"))
    words = [
      piece[1:]
      for piece, _, _ in rows
      if len(piece) > 3
      and piece[0] == tokens.SPACE
      and piece[1:].isascii()
      and piece[1:].isalpha()
      and piece[1:].islower()
    ]
    third = len(words) // 3
    return words[:third], words[third:]

  @functools.cached_property
  def _texts(self):
    """All running text in a drawn order, and where each text's words end."""
    texts = list(material.running_texts(self._material))
    random.Random(0).shuffle(texts)
    return texts, np.cumsum([text.count(" ") + 1 for text in texts])

  def draw(self, index: int) -> list[tuple[list[int], list[int]]]:
    """The examples of a shard, as ids with their ends of sequence."""
    recipe = self.recipe
    num_spans = round(recipe.examples * recipe.span_share)
    rng = random.Random(f"spans {recipe.version} {index}")
    examples = [self._span(rng) for _ in range(num_spans)]
    source = self.examples.examples(f"{recipe.version} {index}")
    while len(examples) < recipe.examples:
      inputs, targets = next(source)
      targets = self.tokenizer.encode(targets)[: recipe.targets - 1]
      if targets:  # Some articles have no headline.
        inputs = self.tokenizer.encode(inputs)[: recipe.longest_input - 1]
        examples.append(([*inputs, EOS_ID], [*targets, EOS_ID]))
    return examples

  def _span(self, rng):
    """Span corruption of a piece of text that begins at any word."""
    texts, ends = self._texts
    start = rng.randrange(int(ends[-1]))
    i = int(np.searchsorted(ends, start, side="right"))
    begin = start - int(ends[i - 1]) if i else start
    ids, words = [], texts[i].split(" ")[begin:]
    while len(ids) < self.recipe.span_tokens:
      piece = " ".join(words[: self.recipe.span_tokens])
      ids += self.tokenizer.encode(piece)
      i = (i + 1) % len(texts)
      words = texts[i].split(" ")
    inputs, targets = tokens.corrupt_spans(
      ids[: self.recipe.span_tokens], rng, self.recipe.vocab_size - 1
    )
    return [*inputs, EOS_ID], [*targets, EOS_ID]

  def make(self, index: int) -> dict[str, np.ndarray]:
    """The packed rows of a shard, in an order drawn from its number."""
    examples = self.draw(index)
    rows = tokens.pack(examples, self.recipe.shape)
    random.Random(f"rows {index}").shuffle(rows)
    return tokens.to_arrays(examples, rows, self.recipe.shape)

  def path(self, index: int) -> pathlib.Path:
    """The file of a shard."""
    return self.folder / "shards" / f"{index:06d}.npz"

  def write(self, index: int) -> pathlib.Path:
    """Writes a shard unless it is there."""
    path = self.path(index)
    if not path.exists():
      path.parent.mkdir(exist_ok=True)
      temporary = path.with_name(f"{index:06d}.{os.getpid()}.tmp.npz")
      np.savez(temporary, **self.make(index))
      os.replace(temporary, path)
    return path


_maker = functools.cache(ShardMaker)


def write_shard(folder: str, index: int) -> pathlib.Path:
  """Writes a shard, for a process of its own: at the lowest priority."""
  os.nice(19)
  return _maker(folder).write(index)
