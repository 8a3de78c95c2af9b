"""T5's pretraining objective as a seqio preprocessor."""

import seqio
import tensorflow as tf


def random_lengths(num_items, num_segments, seed):
  """Splits `num_items` into `num_segments` lengths of at least one.

  Every split is equally likely; num_segments must be in [1, num_items].

  Returns:
    [num_segments] int32 that sum to num_items.
  """
  starts = tf.cast(tf.range(num_items - 1) < num_segments - 1, tf.int32)
  starts = tf.random.experimental.stateless_shuffle(starts, seed)
  segment = tf.cumsum(tf.concat([[0], starts], 0))
  return tf.math.segment_sum(tf.ones_like(segment), segment)


def noise_mask(length, noise_density, mean_span_length, seeds):
  """Draws the tokens to be replaced, in spans; Raffel et al. (2020), 3.3.3.

  Args:
    length: [] int, tokens of the text, at least 2.
    noise_density: share of them to replace.
    mean_span_length: mean length of a replaced span.
    seeds: two stateless seeds.

  Returns:
    [length] bool. The mask starts with a run that is kept.
  """
  num_noise = tf.cast(
    tf.round(tf.cast(length, tf.float32) * noise_density), tf.int32
  )
  num_noise = tf.clip_by_value(num_noise, 1, length - 1)
  num_spans = tf.cast(
    tf.round(tf.cast(num_noise, tf.float32) / mean_span_length), tf.int32
  )
  num_spans = tf.clip_by_value(
    num_spans, 1, tf.minimum(num_noise, length - num_noise)
  )
  noise = random_lengths(num_noise, num_spans, seeds[0])
  kept = random_lengths(length - num_noise, num_spans, seeds[1])
  runs = tf.reshape(tf.stack([kept, noise], 1), [-1])
  return tf.repeat(tf.range(2 * num_spans) % 2 == 1, runs)


def replace_spans(tokens, mask, first_sentinel):
  """Replaces each run of the mask by one sentinel, with falling ids."""
  before = tf.concat([[False], mask[:-1]], 0)
  starts = mask & ~before
  sentinel = first_sentinel + 1 - tf.cumsum(tf.cast(starts, tokens.dtype))
  replaced = tf.where(starts, sentinel, tokens)
  return tf.boolean_mask(replaced, ~(mask & before))


def span_corruption(
  dataset, output_features, noise_density=0.15, mean_span_length=3.0
):
  """Turns tokenised `targets` into `inputs` with sentinels and their spans.

  If `b c` are drawn from the tokens `a b c d e`, the inputs are `a <X> d e` and
  the targets `<X> b c` (as in T5's code, without a closing sentinel).

  Args:
    dataset: a dataset of {"targets": [n] int, n >= 2}.
    output_features: give the vocabulary, whose highest ids are the sentinels.
    noise_density: share of tokens to replace.
    mean_span_length: mean length of a replaced span.

  Returns:
    A dataset of {"inputs", "targets"}.
  """
  last_id = output_features["inputs"].vocabulary.vocab_size - 1

  @seqio.map_over_dataset(num_seeds=2)
  def corrupt(example, seeds):
    tokens = tf.cast(example["targets"], tf.int32)
    mask = noise_mask(tf.size(tokens), noise_density, mean_span_length, seeds)
    return {
      "inputs": replace_spans(tokens, mask, last_id),
      "targets": replace_spans(tokens, ~mask, last_id),
    }

  return corrupt(dataset)
