"""Everything that the generator of pretraining examples needs, in one file.

The material is plain text: labelled rows, dictionaries and running text. It is
gathered once from the fetched packages (`gather`) and kept as compressed JSON.
The generator needs nothing else, so it runs on a machine without network,
TensorFlow or seqio.
"""

import dataclasses
import json
import lzma
import os
import pathlib
from collections.abc import Iterator

from mpt_jax.io import errors

FILE = "material.json.xz"
# Labelled sources whose texts are those of other fields.
_REPEATED = (
  "domain",
  "news_section",
  "polarity",
  "word_polarity",
  "wordnet_category",
)


@dataclasses.dataclass
class Material:
  """Texts by kind; every value is made of JSON's types.

  Attributes:
    labelled: fields of `pretraining.sources.LabelledSource`.
    synsets: [part, category, words, gloss, examples, relations, opposites];
      relations name other synsets by their index.
    definitions: [word, field, definition] of a general dictionary; the field
      is "" for most words.
    computing: [word, field, definition].
    spellings: [wrong, right].
    paragraphs: [file, [sentence, ...]] of the Brown corpus.
    articles: [title, text] of news articles.
    descriptions: [short, long] of software packages.
    choices: [question, [option, ...], index of the right one].
    plain: running text that the other fields do not hold.
  """

  labelled: list
  synsets: list
  definitions: list
  computing: list
  spellings: list
  paragraphs: list
  articles: list
  descriptions: list
  choices: list
  plain: list


def running_texts(material: Material) -> Iterator[str]:
  """Yields all running text of the material, for the vocabulary and spans."""
  for source in material.labelled:
    if source["name"] not in _REPEATED:
      for texts in source["texts"].values():
        yield from texts
  for word, field, meaning in material.definitions:
    yield f"{word} ({field}): {meaning}" if field else f"{word}: {meaning}"
  for word, field, meaning in material.computing:
    yield f"{word} ({field}): {meaning}"
  for _, _, words, gloss, examples, *_ in material.synsets:
    yield "; ".join([f"{', '.join(words)}: {gloss}", *examples])
  for _, sentences in material.paragraphs:
    yield " ".join(sentences)
  for title, text in material.articles:
    yield f"{title}. {text}"
  for short, long in material.descriptions:
    yield f"{short}. {long}"
  yield from material.plain


def all_texts(material: Material) -> Iterator[str]:
  """Yields every text that examples are made from."""
  yield from running_texts(material)
  for source in material.labelled:
    for texts in source["texts"].values():
      yield from texts
  for question, options, _ in material.choices:
    yield f"{question} {' '.join(options)}"


def save(material: Material, path: str | os.PathLike) -> pathlib.Path:
  """Writes the material as compressed JSON, replacing the file at once."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  with lzma.open(temporary, "wt", encoding="utf-8", preset=1) as file:
    json.dump(dataclasses.asdict(material), file, ensure_ascii=False)
  os.replace(temporary, path)
  return path


def load(path: str | os.PathLike) -> Material:
  """Reads what `save` wrote.

  Raises:
    ValueError: the file is not such a material.
  """
  with (
    errors.reading(path, "the material of pretraining"),
    lzma.open(path, "rt", encoding="utf-8") as file,
  ):
    loaded = Material(**json.load(file))
    for name, value in vars(loaded).items():
      if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
  return loaded
