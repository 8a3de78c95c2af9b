"""Tokens, spans and packed rows of pretraining, with numbers by hand."""

import random

import numpy as np
import pytest

from mpt_jax.tasks.pretraining.packed import tokens
from mpt_jax.tasks.pretraining.packed.tokens import RowShape, Tokenizer
from mpt_jax.text import vocabularies


@pytest.fixture
def tokenizer():
  scores = {"▁": -4.0, "a": -2.0, "b": -2.0, "ab": -3.0, "▁ab": -3.5}
  return Tokenizer({p: (i, s) for i, (p, s) in enumerate(scores.items(), 10)})


def test_likeliest_segmentation_by_hand(tokenizer):
  # "▁ab" -3.5 beats "▁" + "ab" -7; for "ba": "▁" "b" "a" is all that fits.
  assert tokenizer.encode("ab ba") == [14, 10, 12, 11]


def test_a_run_of_unknown_characters_is_one_piece(tokenizer):
  assert tokenizer.encode("a??") == [10, 11, tokens.UNKNOWN_ID]


def test_tokens_are_sentencepieces(tmp_path):
  import sentencepiece

  model = vocabularies.default_vocabulary_path()
  tokens.write_pieces(model, tmp_path / "pieces.json")
  ours = Tokenizer.from_file(tmp_path / "pieces.json")
  theirs = sentencepiece.SentencePieceProcessor(model_file=str(model))
  for text in (
    "The film, oddly enough, isn't bad: 3.5/5!",
    "correct spelling: accomodate antidisestablishmentarianism",
    "a",
    "",
  ):
    assert ours.encode(text) == theirs.encode(text)


def test_spans_by_hand():
  ids = list(range(100, 140))  # 40 tokens: 6 to replace, in 2 spans.
  inputs, targets = tokens.corrupt_spans(ids, random.Random(0), 999)
  assert len(inputs) == 40 - 6 + 2 and len(targets) == 6 + 2
  assert [i for i in inputs if i > 900] == [999, 998]
  assert [i for i in targets if i > 900] == [999, 998]
  # Putting each span back in its sentinel's place gives the text.
  first, second = targets.index(999), targets.index(998)
  spans = {999: targets[first + 1 : second], 998: targets[second + 1 :]}
  restored = [t for i in inputs for t in spans.get(i, [i])]
  assert restored == ids and inputs[0] == 100


@pytest.mark.parametrize("count", [2, 3, 7, 60])
def test_spans_of_any_length(count):
  for seed in range(20):
    inputs, targets = tokens.corrupt_spans(
      list(range(3, 3 + count)), random.Random(seed), 999
    )
    kept = {*inputs, *targets} - set(range(990, 1000))
    assert kept == set(range(3, 3 + count))


def test_rows_by_hand():
  lengths = [(5, 1), (3, 1), (4, 3), (2, 1), (6, 1)]
  examples = [([7] * a, [8] * b) for a, b in lengths]
  rows = tokens.pack(examples, RowShape(8, 3))
  # Longest first: 6; 5; 4, alone as its targets fill a row; 3 beside the 5;
  # 2 beside the 6.
  assert sorted(map(sorted, rows)) == [[0, 1], [2], [3, 4]]


def test_packed_rows_hold_each_example_once():
  rng = random.Random(0)
  examples = [
    ([i % 90 + 3] * rng.randint(1, 60), [i % 90 + 3] * rng.randint(1, 9))
    for i in range(500)
  ]
  shape = RowShape(64, 12)
  rows = tokens.pack(examples, shape)
  assert sorted(i for row in rows for i in row) == list(range(500))
  arrays = tokens.to_arrays(examples, rows, shape)
  assert arrays["inputs"].shape == (len(rows), 64)
  filled = np.count_nonzero(arrays["input_segments"])
  assert filled == sum(len(inputs) for inputs, _ in examples)
  assert filled > 0.9 * arrays["inputs"].size


def test_batch_by_hand():
  examples = [([5, 1], [6, 7, 1]), ([8, 9, 1], [4, 1])]
  arrays = tokens.to_arrays(examples, [[0, 1]], RowShape(6, 6))
  batch = tokens.to_batch(arrays)
  assert batch["encoder_input_tokens"].tolist() == [[5, 1, 8, 9, 1, 0]]
  assert batch["encoder_segment_ids"].tolist() == [[1, 1, 2, 2, 2, 0]]
  assert batch["decoder_target_tokens"].tolist() == [[6, 7, 1, 4, 1, 0]]
  assert batch["decoder_input_tokens"].tolist() == [[0, 6, 7, 0, 4, 0]]
  assert batch["decoder_segment_ids"].tolist() == [[1, 1, 1, 2, 2, 0]]
  assert batch["decoder_loss_weights"].tolist() == [[1, 1, 1, 1, 1, 0]]
