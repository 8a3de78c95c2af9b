"""Span corruption as a seqio preprocessor, with numbers by hand."""

import collections

import pytest
import seqio
import tensorflow as tf

from mpt_jax.tasks.pretraining import span_corruption


def seeds(number):
  return tf.constant([[number, 0], [number, 1]], tf.int32)


@pytest.mark.parametrize("items, segments", [(1, 1), (5, 1), (5, 5), (9, 4)])
def test_lengths_are_at_least_one_and_add_up(items, segments):
  found = span_corruption.random_lengths(items, segments, seeds(3)[0])
  assert found.dtype == tf.int32
  lengths = found.numpy().tolist()
  assert len(lengths) == segments and sum(lengths) == items
  assert min(lengths) >= 1


def test_every_split_is_equally_likely():
  draw = tf.function(span_corruption.random_lengths)
  counts = collections.Counter(
    tuple(draw(5, 3, tf.constant([i, 7])).numpy().tolist()) for i in range(600)
  )
  # C(4, 2) = 6 splits, 100 of each with a deviation of sqrt(600 · 5/36) = 9.1.
  assert len(counts) == 6
  assert all(abs(count - 100) < 5 * 9.1 for count in counts.values())


@pytest.mark.parametrize(
  "length, noise, spans",
  # round(0.15 · length) tokens, a third of that in spans, each at least one.
  [(2, 1, 1), (3, 1, 1), (20, 3, 1), (100, 15, 5), (70, 10, 3)],
)
def test_a_mask_has_the_noise_of_the_paper(length, noise, spans):
  for seed in range(5):
    mask = span_corruption.noise_mask(length, 0.15, 3.0, seeds(seed)).numpy()
    assert mask.shape == (length,) and mask.sum() == noise
    starts = mask[1:] & ~mask[:-1]
    assert not mask[0] and starts.sum() == spans


def test_more_spans_than_kept_tokens_are_cut():
  # 0.9 · 4 = 4 is cut to 3, so that one token is kept, before one span.
  mask = span_corruption.noise_mask(4, 0.9, 1.0, seeds(0)).numpy()
  assert mask.tolist() == [False, True, True, True]


def test_spans_are_replaced_by_falling_sentinels():
  tokens = tf.constant([10, 11, 12, 13, 14, 15])
  mask = tf.constant([False, True, True, False, True, False])
  replace = span_corruption.replace_spans
  assert replace(tokens, mask, 99).numpy().tolist() == [10, 99, 13, 98, 15]
  # The targets have the spans that the inputs lack.
  assert replace(tokens, ~mask, 99).numpy().tolist() == [99, 11, 12, 98, 14, 97]


def test_inputs_and_targets_together_are_the_text():
  feature = seqio.Feature(seqio.ByteVocabulary())
  last_id = feature.vocabulary.vocab_size - 1
  texts = [list(range(3, 3 + n)) for n in (2, 25, 60)]
  dataset = tf.data.Dataset.from_generator(
    lambda: ({"targets": text} for text in texts),
    output_signature={"targets": tf.TensorSpec([None], tf.int32)},
  )
  features = {"inputs": feature, "targets": feature}
  made = span_corruption.span_corruption(dataset, features)
  rows = list(made.as_numpy_iterator())
  assert len(rows) == 3
  for text, row in zip(texts, rows, strict=True):
    assert row.keys() == {"inputs", "targets"}
    inputs, targets = row["inputs"].tolist(), row["targets"].tolist()
    assert inputs[0] == text[0] and targets[0] == last_id
    # Put each span back in its sentinel's place.
    spans, current = {}, None
    for token in targets:
      if token > 200:
        current = spans.setdefault(token, [])
      else:
        current.append(token)
    assert [t for i in inputs for t in spans.get(i, [i])] == text
