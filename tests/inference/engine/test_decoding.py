"""Cached decoding against uncached, plain Python and exhaustive search."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.data.batches import EOS_ID, make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig

VOCAB = 5

greedy_decode = jax.jit(
  decoding.greedy_decode, static_argnames=("network", "max_length")
)
beam_decode = jax.jit(
  decoding.beam_decode,
  static_argnames=("network", "max_length", "num_beams", "alpha"),
)
sample_decode = jax.jit(
  decoding.sample_decode,
  static_argnames=("network", "max_length", "top_k"),
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
  model = Model(config, PromptConfig(num_slots=2, prompt_length=3))
  # With this seed and scale the outputs differ, some end, some are cut, and all
  # depend on earlier tokens, so a wrong cache would show.
  params = jax.tree.map(lambda x: 1.5 * x, make_params(model, seed=8))
  for layer in ("layers_0", "layers_1"):
    out = params["decoder"][layer]["self_attention"]["out"]
    out["kernel"] = 4 * out["kernel"]
  examples = make_examples(5, num_slots=2, seed=4, vocab_size=VOCAB)
  settings = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=3,
    num_slots=2,
    pack=False,
    row_multiple=6,
  )
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


def _join(network, params, batch):
  """The batch with states of its rows joined into one long row."""
  present = batch["encoder_segment_ids"] > 0
  encoder = {k: v for k, v in batch.items() if k.startswith("encoder_")}
  numbers = np.arange(1, len(present) + 1)[:, None]
  encoder["encoder_segment_ids"] = np.where(present, numbers, 0)
  # Five positions of padding follow.
  joined = {
    name: np.pad(array[present], (0, 5))[None].astype(np.int32)
    for name, array in encoder.items()
  }
  positions = np.where(present, np.cumsum(present).reshape(present.shape), 1)
  positions = positions - 1
  states = jax.jit(decoding.encode, static_argnums=0)(network, params, joined)
  return {
    "encoded": states[0][positions],
    "encoder_segment_ids": batch["encoder_segment_ids"],
    **{k: v for k, v in batch.items() if k.startswith("decoder_")},
  }


# With segments the cache of few positions holds the encoder's states; otherwise
# it holds keys and values.
@pytest.mark.parametrize(
  "plan, length, caches_states",
  [(Dense(), 2, False), (BySegments(13), 6, False), (BySegments(13), 2, True)],
)
def test_step_logits_equal_uncached(
  case, next_log_probs, plan, length, caches_states
):
  network, params, batch = case
  network = network.clone(plan=plan)
  num_rows = len(batch["encoder_input_tokens"])
  variables = {"params": params}

  @jax.jit
  def start(batch):
    return network.apply(
      variables,
      decoding.encode(network, params, batch),
      batch["encoder_segment_ids"],
      length,
      method="init_cache",
    )

  step = jax.jit(
    lambda tokens, cache, index: network.apply(
      variables, tokens, cache, index, method="decode_step"
    )
  )
  cache = start(batch)
  num_layers = network.config.num_decoder_layers
  assert (cache["cross"] == [None] * num_layers) == caches_states
  prefix = (3, 4, 2, 2, 3)[: length - 1]
  for index, token in enumerate((0, *prefix)):
    logits, cache = step(np.full(num_rows, token), cache, index)
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
    for example in make_examples(5, num_slots=2, seed=4, vocab_size=VOCAB)
  ]
  settings = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=3,
    num_slots=2,
    pack=pack,
    row_length=40,
  )
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


def test_joined_rows_give_what_plain_rows_give(case, make_examples):
  network, params, batch = case
  by_segments = network.clone(plan=BySegments(13))
  joined = _join(by_segments, params, batch)
  np.testing.assert_array_equal(
    greedy_decode(by_segments, params, joined, max_length=6),
    greedy_decode(network, params, batch, max_length=6),
  )
  search = {"max_length": 6, "num_beams": 3}
  tokens, scores = beam_decode(by_segments, params, joined, **search)
  expected, expected_scores = beam_decode(network, params, batch, **search)
  np.testing.assert_array_equal(tokens, expected)
  np.testing.assert_allclose(scores, expected_scores, atol=5e-5)
  keys = jax.random.split(jax.random.key(3), 6)
  draw = {"max_length": 6, "keys": keys, "temperature": 1.0}
  np.testing.assert_array_equal(
    sample_decode(by_segments, params, joined, **draw),
    sample_decode(network, params, batch, **draw),
  )
  candidates = [np.array([2, 3, 1]), np.array([4, 1])]
  examples = [
    {**example, "targets": candidates}
    for example in make_examples(5, num_slots=2, seed=4, vocab_size=VOCAB)
  ]
  batch, _ = make_batch(
    examples,
    BatchLayout(
      inputs_length=10,
      targets_length=6,
      prompt_length=3,
      num_slots=2,
      pack=False,
    ),
  )
  np.testing.assert_allclose(
    score_candidates(
      by_segments, params, _join(by_segments, params, batch), 10
    ),
    score_candidates(network, params, batch, 10),
    atol=5e-5,
  )


class Unigram:
  """Stands for a T5, with the same probabilities at every position."""

  PROBABILITIES = np.array([0.4, 0.1, 0.3, 0.15, 0.05])

  def apply(self, variables, *args, method):
    del variables
    rows = args[0].shape[0]
    if method == "encode":
      return (jnp.zeros((*args[0].shape, 1)),)
    if method == "init_cache":
      return jnp.zeros((rows, 1))
    logits = jnp.log(jnp.asarray(self.PROBABILITIES, jnp.float32)) + 7.0
    return jnp.broadcast_to(logits, (rows, VOCAB)), args[1]


def _keys(seed, rows):
  base = jax.random.key(seed)
  return jax.vmap(lambda row: jax.random.fold_in(base, row))(jnp.asarray(rows))


@pytest.mark.parametrize(
  "temperature, top_k, expected",
  [
    (1.0, 0, [0.4, 0.1, 0.3, 0.15, 0.05]),
    # Squares .16, .01, .09, .0225, .0025 over their sum, .285.
    (0.5, 0, [0.5614, 0.0351, 0.3158, 0.0789, 0.0088]),
    # The three likeliest over .85.
    (1.0, 3, [0.4706, 0.0, 0.3529, 0.1765, 0.0]),
    # .16 and .09 over .25.
    (0.5, 2, [0.64, 0.0, 0.36, 0.0, 0.0]),
    # Square roots .6325, .3162, .5477, .3873, .2236 over 2.1073.
    (2.0, 0, [0.3001, 0.1501, 0.2599, 0.1838, 0.1061]),
  ],
)
def test_samples_have_the_distribution(temperature, top_k, expected):
  rows, length = 2000, 4
  batch = {
    "encoder_input_tokens": np.ones((rows, 1), np.int32),
    "encoder_segment_ids": np.ones((rows, 1), np.int32),
  }
  tokens = np.asarray(
    decoding.sample_decode(
      Unigram(), {}, batch, length, _keys(0, range(rows)), temperature, top_k
    )
  )
  alive = np.ones(rows, bool)
  for position in range(length):
    drawn = tokens[alive, position]
    # Five standard deviations of a binomial frequency, and the rounding of
    # the numbers above.
    for token, p in enumerate(expected):
      bound = 5 * np.sqrt(p * (1 - p) / len(drawn)) + 1e-4
      assert abs(np.mean(drawn == token) - p) <= bound, (position, token)
    assert not tokens[~alive, position].any()
    alive &= tokens[:, position] != EOS_ID
  # Positions and rows draw independently: the first two tokens of two rows
  # agree with probability Σ p², up to five standard deviations.
  first, second = tokens[:, 0], tokens[:, 1]
  chance = float(np.sum(np.square(expected)))
  bound = 5 * np.sqrt(chance * (1 - chance) / (rows // 2)) + 1e-3
  assert abs(np.mean(first[::2] == first[1::2]) - chance) <= bound
  kept = first != EOS_ID
  other = np.array(expected) * (np.arange(VOCAB) != EOS_ID)
  chance = float(np.sum(other * expected) / other.sum())
  bound = 5 * np.sqrt(chance * (1 - chance) / kept.sum()) + 1e-3
  assert abs(np.mean(first[kept] == second[kept]) - chance) <= bound


@pytest.mark.parametrize(
  "temperature, top_k", [(2.0, 1), (1e-4, 0), (1e-4, 3), (1e-42, 0)]
)
def test_sampling_that_is_greedy(case, temperature, top_k):
  network, params, batch = case
  greedy = greedy_decode(network, params, batch, max_length=6)
  sampled = sample_decode(
    network, params, batch, 6, _keys(1, range(6)), temperature, top_k=top_k
  )
  np.testing.assert_array_equal(sampled, greedy)


def test_a_row_is_drawn_alike_in_any_batch(case):
  network, params, batch = case

  def draw(rows, seed=2):
    return np.asarray(
      sample_decode(
        network,
        params,
        {k: v[rows] for k, v in batch.items()},
        6,
        _keys(seed, rows),
        1.5,
      )
    )

  together = draw(np.arange(6))
  assert len({tuple(t) for t in together[:5]}) > 1
  order = np.array([3, 5, 0, 4, 1, 2])
  np.testing.assert_array_equal(draw(order), together[order])
  np.testing.assert_array_equal(draw(np.array([4, 1])), together[[4, 1]])
  assert not np.array_equal(draw(np.arange(6), seed=3), together)


@pytest.mark.parametrize(
  "settings, message",
  [
    ({"num_beams": 0}, "num_beams must be a whole number of at least 1"),
    ({"temperature": -1.0}, "temperature must be a number of at least 0"),
    (
      {"temperature": float("nan")},
      "temperature must be a number of at least 0",
    ),
    (
      {"temperature": float("inf")},
      "temperature must be a number of at least 0",
    ),
    ({"temperature": 1.0, "top_k": -1}, "top_k must be a whole number"),
    ({"temperature": 1.0, "top_k": VOCAB + 1}, "to vocab_size=5, got 6"),
    ({"temperature": 1.0, "num_beams": 2}, "beam search does not sample"),
    ({"top_k": 3}, "give a temperature above 0"),
    ({"seed": 3}, "give a temperature above 0"),
  ],
)
def test_decoder_settings_are_checked(case, settings, message):
  with pytest.raises(ValueError, match=message):
    decoding.make_decoder(case[0], decoding.Generation(**settings))
