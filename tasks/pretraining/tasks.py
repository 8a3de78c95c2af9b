"""The pretraining data of the embedded model, made like T5 1.0's.

Span corruption over plain text, mixed with many supervised tasks. Both are
made once, from a seed, into JSONL files in the cache; the seqio tasks read
those files. The held-out tasks' texts and labels are in neither.
"""

import contextlib
import itertools
import json
import os
import pathlib

import seqio

from mpt_jax.data import text_tasks
from mpt_jax.io import cache, files
from mpt_jax.io.errors import reading
from mpt_jax.tasks.pretraining import (
  corpus,
  forms,
  lexical,
  span_corruption,
)
from mpt_jax.tasks.pretraining import (
  sources as pretraining_sources,
)
from mpt_jax.text import vocabularies

# Cache version: raise it with every change of the examples.
RECIPE = 3
NUM_EXAMPLES = 600_000
NUM_VALIDATION_EXAMPLES = 4000
# A raw piece of 70 tokens becomes 63 input tokens and an end of sequence:
# .85 * 70 are kept, and each of .15 * 70 / 3 spans gives a sentinel.
CHUNK_TOKENS = 70


def pretraining_dir() -> pathlib.Path:
  return cache.cache_dir() / "pretraining"


def supervised_path(split: str = "train") -> pathlib.Path:
  return pretraining_dir() / f"supervised_{split}_v{RECIPE}.jsonl"


def text_path() -> pathlib.Path:
  return pretraining_dir() / "span_corruption_text.jsonl"


def load_processor(model: str | os.PathLike | None = None):
  import sentencepiece

  path = str(model or vocabularies.default_vocabulary_path())
  return sentencepiece.SentencePieceProcessor(path)


def arbitrary_words(processor) -> tuple[list[str], list[str]]:
  """Returns frequent words (for labels) and rarer ones (for tags).

  Each is one whole piece of the vocabulary, and ids fall with its frequency.
  """
  words = [
    processor.id_to_piece(i)[1:]
    for i in range(100, processor.vocab_size())
    if processor.id_to_piece(i).startswith("▁")
    and processor.id_to_piece(i)[1:].isascii()
    and processor.id_to_piece(i)[1:].isalpha()
    and processor.id_to_piece(i)[1:].islower()
    and len(processor.id_to_piece(i)) > 3
  ]
  third = len(words) // 3
  return words[:third], words[third:]


def write_supervised(
  path: str | os.PathLike | None = None,
  num_examples: int = NUM_EXAMPLES,
  seed: int = 0,
  split: str = "train",
) -> pathlib.Path:
  """Writes supervised examples as lines of {"inputs": ..., "targets": ...}.

  Args:
    path: the file to write; by default `supervised_path(split)`.
    num_examples: lines to write.
    seed: seed of the examples; the tasks and tags are the same for all seeds.
    split: "train", or "validation" for examples whose texts come from the
      source tasks' validation rows.
  """
  common, rare = arbitrary_words(load_processor())
  sources = pretraining_sources.load_sources("train")
  makers = lexical.lexical_makers() if split == "train" else ()
  maker = forms.ExampleMaker(sources, common, rare, lexical=makers)
  if split != "train":
    # The same tags, other texts.
    maker.sources = pretraining_sources.load_sources(split)
    maker.weights = [source.weight for source in maker.sources]
    for source in maker.sources:
      maker.restrict(source)
  # Some articles have no headline.
  examples = (pair for pair in maker.examples(seed) if pair[1].strip())
  examples = itertools.islice(examples, num_examples)
  return _write_lines(
    path or supervised_path(split),
    ({"inputs": inputs, "targets": targets} for inputs, targets in examples),
  )


def write_texts(path: str | os.PathLike | None = None) -> pathlib.Path:
  """Writes the corpus as lines of {"text": ...}, CHUNK_TOKENS tokens each.

  Texts follow each other without a break, as in T5, and so almost all lines are
  full. A line begins and ends at a word.
  """
  if not corpus.corpus_path().exists():
    corpus.write_corpus()
  processor = load_processor()
  return _write_lines(
    path or text_path(),
    ({"text": text} for text in _chunks(processor, corpus.corpus_path())),
  )


def _chunks(processor, path):
  """Yields runs of whole words of at most CHUNK_TOKENS pieces."""
  chunk, word = [], []
  with open(path, encoding="utf-8") as file:
    for line in file:
      for piece in processor.encode(line.strip(), out_type=str):
        if piece.startswith("▁") and word:
          if len(chunk) + len(word) > CHUNK_TOKENS:
            yield processor.decode_pieces(chunk)
            chunk = []
          chunk += word[:CHUNK_TOKENS]
          word = []
        word.append(piece)


def _write_lines(path, rows):
  path = pathlib.Path(path)
  with (
    files.replacing(path) as temporary,
    open(temporary, "w", encoding="utf-8") as file,
  ):
    for row in rows:
      file.write(json.dumps(row, ensure_ascii=False) + "\n")
  return path


def _load_supervised(split):
  """Returns the supervised examples; makes the file if it is missing."""
  path = supervised_path(split)
  if not path.exists():
    count = NUM_EXAMPLES if split == "train" else NUM_VALIDATION_EXAMPLES
    write_supervised(path, count, seed=int(split != "train"), split=split)
  with _opened(path) as file:
    rows = map(json.loads, file)
    # Sums with a text fail where there is none.
    return [(row["inputs"] + "", row["targets"] + "") for row in rows]


@contextlib.contextmanager
def _opened(path):
  what = "examples of pretraining (delete it, and it is made again)"
  with reading(path, what), open(path, encoding="utf-8") as file:
    yield file


def _load_texts(split):
  """Returns the pieces of text as targets; every 100th is for validation."""
  if not text_path().exists():
    write_texts()
  with _opened(text_path()) as file:
    texts = [json.loads(line)["text"] + "" for line in file]
  held_out = split == "validation"
  return [
    ("", text) for i, text in enumerate(texts) if (i % 100 == 0) == held_out
  ]


def register() -> None:
  """Registers the two pretraining tasks; `gin/pretrain.gin` mixes them."""
  splits = ("train", "validation")
  text_tasks.register_text_task(
    "pretraining_supervised",
    text_tasks.ExamplesSource(_load_supervised, splits),
    metric_fns=("exact_match",),
  )
  feature = seqio.Feature(vocabularies.default_vocabulary(), add_eos=True)
  seqio.TaskRegistry.add(
    "pretraining_span_corruption",
    text_tasks.ExamplesSource(_load_texts, splits),
    output_features={"inputs": feature, "targets": feature},
    preprocessors=[
      seqio.preprocessors.tokenize,
      span_corruption.span_corruption,
      seqio.preprocessors.append_eos_after_trim,
    ],
    task_cls=text_tasks.TextTask,
    shuffle_buffer_size=None,
  )
