"""Cached decoding against uncached, plain Python and exhaustive search."""

import functools
import itertools

import jax
import numpy as np
import pytest

from mpt_jax import decoding
from mpt_jax.batches import EOS_ID, BatchConfig, make_batch
from mpt_jax.model import Model
from mpt_jax.prompts import PromptConfig

VOCAB = 5

greedy_decode = jax.jit(
  decoding.greedy_decode, static_argnames=("network", "max_length")
)
beam_decode = jax.jit(
  decoding.beam_decode,
  static_argnames=("network", "max_length", "num_beams", "alpha"),
)
score_candidates = jax.jit(
  decoding.score_candidates, static_argnames=("network", "num_candidates")
)


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def case(request, make_config, make_params, make_examples):
  """(network, params, batch of plain rows) over a vocabulary of five."""
  config = make_config(
    request.param, vocab_size=VOCAB, num_encoder_layers=1, emb_dim=8
  )
  model = Model(config, PromptConfig(2, 3))
  # A seed and a scale under which the outputs differ, some ended, some cut,
  # and depend on the tokens before: a wrong cache must show.
  params = jax.tree.map(lambda x: 1.5 * x, make_params(model, seed=8))
  for layer in ("layers_0", "layers_1"):
    out = params["decoder"][layer]["self_attention"]["out"]
    out["kernel"] = 4 * out["kernel"]
  examples = make_examples(5, num_tasks=2, seed=4, vocab_size=VOCAB)
  settings = BatchConfig(10, 6, 3, 2, pack=False, row_multiple=6)
  return model.network, params, make_batch(examples, settings)[0]


@pytest.fixture(scope="module")
def next_log_probs(case):
  """(row, prefix) -> log-probabilities [V], from whole uncached passes."""
  network, params, batch = case
  length = 6
  apply = jax.jit(lambda b: network.apply({"params": params}, b).logits)
  encoder = {k: v for k, v in batch.items() if k.startswith("encoder")}

  @functools.cache
  def all_rows(prefix):
    rows = batch["encoder_input_tokens"].shape[0]
    tokens = np.zeros((rows, length), np.int32)
    tokens[:, 1 : len(prefix) + 1] = prefix
    logits = apply(
      {
        **encoder,
        "decoder_input_tokens": tokens,
        "decoder_segment_ids": np.ones_like(tokens),
      }
    )[:, len(prefix)]
    return np.asarray(jax.nn.log_softmax(logits))

  return lambda row, prefix: all_rows(tuple(prefix))[row]


def _rows(batch):
  return np.flatnonzero((batch["encoder_segment_ids"] > 0).any(-1))


def _padded(tokens, length):
  return list(tokens) + [0] * (length - len(tokens))


def _penalty(length, alpha):
  return ((5 + length) / 6) ** alpha


def test_greedy_equals_uncached(case, next_log_probs):
  network, params, batch = case
  tokens = np.asarray(greedy_decode(network, params, batch, max_length=6))
  expected = np.zeros_like(tokens)
  for row in _rows(batch):
    prefix = []
    while len(prefix) < 6 and prefix[-1:] != [EOS_ID]:
      prefix.append(int(next_log_probs(row, prefix).argmax()))
    expected[row] = _padded(prefix, 6)
  assert len({tuple(t) for t in expected[:5]}) > 1
  assert 0 < (expected == EOS_ID).any(-1).sum() < 5
  np.testing.assert_array_equal(tokens, expected)
  # The last row is padding.
  assert len(_rows(batch)) == 5 and not tokens[5].any()


def test_step_logits_equal_uncached(case, next_log_probs):
  network, params, batch = case
  variables = {"params": params}

  @jax.jit
  def start(batch):
    segment_ids = batch["encoder_segment_ids"]
    encoded = network.apply(
      variables,
      batch["encoder_input_tokens"],
      segment_ids,
      batch["encoder_prompt_slots"],
      batch["encoder_task_ids"],
      method="encode",
    )[-1]
    return network.apply(
      variables, encoded, segment_ids, 6, method="init_cache"
    )

  step = jax.jit(
    lambda tokens, cache, index: network.apply(
      variables, tokens, cache, index, method="decode_step"
    )
  )
  cache = start(batch)
  prefix = (3, 4, 2, 2, 3)
  for index, token in enumerate((0, *prefix)):
    tokens = np.full(batch["encoder_input_tokens"].shape[0], token)
    logits, cache = step(tokens, cache, index)
    for row in _rows(batch):
      np.testing.assert_allclose(
        jax.nn.log_softmax(logits[row]),
        next_log_probs(row, prefix[:index]),
        atol=2e-5,
      )


def _all_sequences(length):
  """All outputs that end in EOS within `length`, and those that are cut."""
  others = [t for t in range(VOCAB) if t != EOS_ID]
  for n in range(length):
    for body in itertools.product(others, repeat=n):
      yield (*body, EOS_ID)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_wide_beam_finds_the_best_of_all(case, next_log_probs, alpha):
  network, params, batch = case
  length = 3
  # 16 unfinished prefixes of two tokens exist: with 16 beams none is lost.
  tokens, scores = beam_decode(
    network, params, batch, length, num_beams=16, alpha=alpha
  )
  for row in _rows(batch):
    best = max(
      (
        sum(next_log_probs(row, s[:i])[t] for i, t in enumerate(s))
        / _penalty(len(s), alpha),
        s,
      )
      for s in _all_sequences(length)
    )
    assert list(tokens[row]) == _padded(best[1], length)
    np.testing.assert_allclose(scores[row], best[0], atol=2e-5)


def _beam_in_python(log_probs_of, length, num_beams, alpha):
  """The same search in plain Python, hypothesis by hypothesis."""
  live, done = [(0.0, ())], []
  for n in range(1, length + 1):
    grown = [
      (score + log_prob, (*prefix, token))
      for score, prefix in live
      for token, log_prob in enumerate(log_probs_of(prefix))
    ]
    best = sorted(grown, key=lambda x: -x[0])[: 2 * num_beams]
    done += [
      (score / _penalty(n, alpha), s) for score, s in best if s[-1] == EOS_ID
    ]
    live = [x for x in best if x[1][-1] != EOS_ID][:num_beams]
  if not done:
    score, sequence = live[0]
    return score / _penalty(length, alpha), sequence
  return max(done)


@pytest.mark.parametrize("num_beams, alpha", [(2, 3.0), (3, 0.0), (4, 1.5)])
def test_narrow_beam_equals_python(case, next_log_probs, num_beams, alpha):
  network, params, batch = case
  tokens, scores = beam_decode(network, params, batch, 6, num_beams, alpha)
  for row in _rows(batch):
    score, sequence = _beam_in_python(
      lambda prefix, row=row: next_log_probs(row, prefix), 6, num_beams, alpha
    )
    assert list(tokens[row]) == _padded(sequence, 6)
    np.testing.assert_allclose(scores[row], score, atol=2e-5)
  assert not tokens[5].any() and scores[5] == 0


def test_one_beam_is_greedy(case, next_log_probs):
  network, params, batch = case
  greedy = greedy_decode(network, params, batch, 6)
  tokens, scores = beam_decode(network, params, batch, 6, 1)
  np.testing.assert_array_equal(tokens, greedy)
  for row in _rows(batch):
    output = [int(t) for t in tokens[row]]
    if EOS_ID in output:
      output = output[: output.index(EOS_ID) + 1]
    log_prob = sum(
      next_log_probs(row, output[:i])[t] for i, t in enumerate(output)
    )
    np.testing.assert_allclose(
      scores[row], log_prob / _penalty(len(output), 0.6), atol=2e-5
    )


def test_beam_arguments_are_checked(case):
  with pytest.raises(ValueError, match="num_beams=0"):
    beam_decode(*case, 4, num_beams=0)
  with pytest.raises(ValueError, match="alpha=-1"):
    beam_decode(*case, 4, num_beams=2, alpha=-1)


@pytest.mark.parametrize("pack", [False, True])
def test_candidate_scores(case, next_log_probs, make_examples, pack):
  network, params, batch = case
  candidates = [np.array([2, 3, 1]), np.array([4, 1]), np.array([3, 3, 2, 1])]
  examples = [
    {**example, "targets": candidates}
    for example in make_examples(5, num_tasks=2, seed=4, vocab_size=VOCAB)
  ]
  settings = BatchConfig(10, 6, 3, 2, pack=pack, row_length=40)
  candidate_batch = make_batch(examples, settings)[0]
  rows = candidate_batch["encoder_input_tokens"].shape[0]
  assert rows < 5 if pack else rows == 5
  scores = score_candidates(network, params, candidate_batch, 17)
  # `batch` holds the same five inputs as its first five rows.
  expected = [
    sum(next_log_probs(row, c[:i])[t] for i, t in enumerate(c))
    for row in range(5)
    for c in candidates
  ]
  np.testing.assert_allclose(scores[:15], expected, atol=5e-5)
  np.testing.assert_array_equal(scores[15:], 0)
