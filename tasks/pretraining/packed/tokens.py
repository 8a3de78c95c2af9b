"""Tokenises pretraining examples and packs them into full rows of arrays.

Everything here is Python and NumPy: the same code makes the arrays for a CPU
and on a machine that has no sentencepiece, seqio or TensorFlow.
"""

import dataclasses
import functools
import json
import os
import pathlib
import random

import numpy as np

from mpt_jax.io import errors

PAD_ID, EOS_ID, UNKNOWN_ID = 0, 1, 2
NUM_SENTINELS = 100
SPACE = "▁"
# Raffel et al. (2020), section 3.3.
NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0


class Tokenizer:
  """Segments words as the unigram model of sentencepiece does.

  Texts are split at spaces first, as sentencepiece splits them, so each word
  is segmented once and remembered. Normalisation is left to the caller.

  Args:
    pieces: {piece: (id, log-probability)}.
  """

  def __init__(self, pieces: dict[str, tuple[int, float]]):
    self._pieces = pieces
    self._longest = max(map(len, pieces))
    # Of sentencepiece: a character that no piece covers.
    self._unknown = min(score for _, score in pieces.values()) - 10.0
    self.word_ids = functools.lru_cache(maxsize=1 << 20)(self._segment)

  @classmethod
  def from_file(cls, path: str | os.PathLike):
    """Reads what `write_pieces` wrote."""
    with errors.reading(path, "the pieces of a vocabulary"):
      rows = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
      return cls({piece: (int(i), float(score)) for piece, i, score in rows})

  def encode(self, text: str) -> list[int]:
    """Returns the ids of a text, without an end of sequence."""
    return [i for word in text.split() for i in self.word_ids(word)]

  def _segment(self, word):
    """The likeliest segmentation of a word (Viterbi)."""
    text = SPACE + word
    best = [(0.0, 0, None)] + [(-np.inf, 0, None)] * len(text)
    for start in range(len(text)):
      score = best[start][0]
      for end in range(start + 1, min(len(text), start + self._longest) + 1):
        found = self._pieces.get(text[start:end])
        if found is None:
          if end > start + 1:
            continue
          found = UNKNOWN_ID, self._unknown
        if score + found[1] > best[end][0]:
          best[end] = score + found[1], start, found[0]
    ids, end = [], len(text)
    while end:
      _, start, piece = best[end]
      # Runs of unknown characters are one unknown piece.
      if piece != UNKNOWN_ID or not ids or ids[-1] != UNKNOWN_ID:
        ids.append(piece)
      end = start
    return tuple(reversed(ids))


def write_pieces(model: str | os.PathLike, path: str | os.PathLike) -> None:
  """Writes a sentencepiece model's pieces as JSON: [piece, id, score]."""
  import sentencepiece

  processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
  rows = [
    [processor.id_to_piece(i), i, processor.get_score(i)]
    for i in range(processor.get_piece_size())
    if not (processor.is_control(i) or processor.is_unknown(i))
  ]
  text = json.dumps(rows, ensure_ascii=False)
  pathlib.Path(path).write_text(text, encoding="utf-8")


def corrupt_spans(
  tokens: list[int], rng: random.Random, first_sentinel: int
) -> tuple[list[int], list[int]]:
  """T5's span corruption: replaces spans of tokens by sentinels.

  Args:
    tokens: at least 2 ids.
    rng: draws the spans; every division into spans is equally likely.
    first_sentinel: id of the first sentinel; the others follow downwards.

  Returns:
    The inputs, with a sentinel in each span's place, and the targets, each
    span after its sentinel. Neither has an end of sequence.
  """
  count = len(tokens)
  num_noise = min(max(round(count * NOISE_DENSITY), 1), count - 1)
  num_spans = max(round(num_noise / MEAN_SPAN_LENGTH), 1)
  num_spans = min(num_spans, num_noise, count - num_noise)
  noise = _random_lengths(num_noise, num_spans, rng)
  kept = _random_lengths(count - num_noise, num_spans, rng)
  inputs, targets, start = [], [], 0
  for i, (stays, goes) in enumerate(zip(kept, noise, strict=True)):
    middle = start + stays
    inputs += [*tokens[start:middle], first_sentinel - i]
    targets += [first_sentinel - i, *tokens[middle : middle + goes]]
    start = middle + goes
  return inputs, targets


def _random_lengths(total, count, rng):
  """Splits `total` into `count` lengths of at least one."""
  cuts = sorted(rng.sample(range(1, total), count - 1))
  return [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]


@dataclasses.dataclass(frozen=True)
class RowShape:
  """The shape of packed rows.

  Attributes:
    inputs: encoder positions of a row.
    targets: decoder positions of a row.
  """

  inputs: int = 128
  targets: int = 16


def pack(examples, shape: RowShape) -> list[list[int]]:
  """Puts examples into rows, the longest first, each where it fits best.

  Args:
    examples: pairs of id lists, each with its end of sequence; none is longer
      than a row.
    shape: of the rows.

  Returns:
    For each row the indices of its examples.
  """

  def size(i):
    return (len(examples[i][0]), len(examples[i][1]))

  order = sorted(range(len(examples)), key=size, reverse=True)
  # Open rows by what their inputs have left; a row's targets must fit too.
  by_space = [[] for _ in range(shape.inputs + 1)]
  rows = []
  for i in order:
    inputs, targets = size(i)
    for space in range(inputs, shape.inputs + 1):
      found = next(
        (k for k in by_space[space] if rows[k][1] + targets <= shape.targets),
        None,
      )
      if found is not None:
        by_space[space].remove(found)
        break
    else:
      found, space = len(rows), shape.inputs
      rows.append([[], 0])
    rows[found][0].append(i)
    rows[found][1] += targets
    if space > inputs and rows[found][1] < shape.targets:
      by_space[space - inputs].append(found)
  return [row for row, _ in rows]


def to_arrays(examples, rows, shape: RowShape) -> dict[str, np.ndarray]:
  """Returns packed rows as uint16 arrays.

  Args:
    examples: see `pack`.
    rows: of `pack`.
    shape: of the rows.

  Returns:
    inputs, input_segments [rows, shape.inputs] and targets, target_segments
    [rows, shape.targets]; segment 0 is padding.
  """
  arrays = {
    name: np.zeros((len(rows), length), np.uint16)
    for name, length in (
      ("inputs", shape.inputs),
      ("input_segments", shape.inputs),
      ("targets", shape.targets),
      ("target_segments", shape.targets),
    )
  }
  for r, row in enumerate(rows):
    ends = {"input": 0, "target": 0}
    for segment, i in enumerate(row, 1):
      for name, ids in zip(("input", "target"), examples[i], strict=True):
        start = ends[name]
        ends[name] = start + len(ids)
        arrays[f"{name}s"][r, start : ends[name]] = ids
        arrays[f"{name}_segments"][r, start : ends[name]] = segment
  return arrays


def to_batch(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the arrays that `mpt_jax.model.objective.Model.loss` reads.

  The decoder's inputs are the targets, shifted right within each segment.
  """
  targets = arrays["targets"].astype(np.int32)
  segments = arrays["target_segments"].astype(np.int32)
  shifted = np.pad(targets, ((0, 0), (1, 0)))[:, :-1]
  before = np.pad(segments, ((0, 0), (1, 0)))[:, :-1]
  return {
    "encoder_input_tokens": arrays["inputs"].astype(np.int32),
    "encoder_segment_ids": arrays["input_segments"].astype(np.int32),
    "encoder_slot_ids": np.zeros(arrays["inputs"].shape, np.int32),
    "decoder_input_tokens": np.where(segments == before, shifted, PAD_ID),
    "decoder_target_tokens": targets,
    "decoder_segment_ids": segments,
    "decoder_slot_ids": np.zeros(targets.shape, np.int32),
    "decoder_loss_weights": (segments > 0).astype(np.float32),
  }
