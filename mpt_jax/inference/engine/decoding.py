"""Cached decoding (greedy, sampling, beams), and scores of given targets.

All functions are pure. Under `jax.jit` the network, the lengths and the number
of beams are static. Decoding takes plain rows (`pack=False`), which hold one
example each as segment 1. Scoring also takes packed rows. A batch may hold
`encoded` [B, L, D], the result of `encode`; of the encoder's arrays it then
needs `encoder_segment_ids` only. A batch may hold `prompts` [N, P, D] instead
of a bank in the parameters.

Axis letters: B batch, L length, D emb_dim, T max_length, K num_beams,
V vocab_size.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.data.batches import EOS_ID
from mpt_jax.io import checks
from mpt_jax.model import losses

START_ID = 0
# Stands for all tokens of an output whose logits are not finite.
NOT_FINITE = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
  """Settings that choose the tokens of an output.

  Attributes:
    num_beams: above 1 generates by beam search.
    temperature: above 0 generates by sampling; 0 takes the likeliest tokens.
    top_k: top-k sampling; 0 disables it. It needs a temperature above 0.
    seed: seed of sampling; None means 0. It needs a temperature above 0.

  Raises:
    ValueError: a value is out of range, or settings exclude each other.
  """

  num_beams: int = 1
  temperature: float = 0.0
  top_k: int = 0
  seed: int | None = None

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.whole, "num_beams", low=1)
    check(checks.whole, "top_k", low=0)
    check(checks.number, "temperature", low=0)
    check(checks.seed, "seed", optional=True)
    if self.num_beams > 1 and self.temperature:
      raise ValueError(
        f"num_beams={self.num_beams} and temperature={self.temperature}: beam"
        " search does not sample; give one of them"
      )
    if not self.temperature and (self.top_k or self.seed is not None):
      raise ValueError(
        f"top_k={self.top_k}, seed={self.seed}: only sampling uses them; give a"
        " temperature above 0"
      )


GREEDY = Generation()


def encode(network, params, batch):
  """Returns the encoder's final states [B, L, D] of a batch."""
  if "encoded" in batch:
    return batch["encoded"]
  return network.apply(
    {"params": params},
    batch["encoder_input_tokens"],
    batch["encoder_segment_ids"],
    batch.get("encoder_prompt_positions"),
    batch.get("encoder_slot_ids"),
    True,
    batch.get("prompts"),
    method="encode",
  )[-1]


def greedy_decode(network, params, batch, max_length: int):
  """Decodes the most probable token at each position.

  Args:
    network: a `network.T5`.
    params: its parameters, with `prompt` if the network has prompts.
    batch: the encoder's arrays of plain rows; rows of padding give zeros.
    max_length: T, the longest output, with the end of sequence.

  Returns:
    [B, T] int32: tokens, the end of sequence (1), then zeros.
  """
  return _decode(network, params, batch, max_length, _likeliest)[0]


def sample_decode(
  network, params, batch, max_length: int, keys, temperature, top_k: int = 0
):
  """Draws each token from the softmax of the logits divided by a temperature.

  Row b draws position t with `fold_in(keys[b], t)`. Its output depends only on
  its own key and logits, not on other rows.

  Args:
    network: a `network.T5`.
    params: its parameters, with `prompt` if the network has prompts.
    batch: the encoder's arrays of plain rows.
    max_length: T, the longest output, with the end of sequence.
    keys: [B] PRNG keys, one per row.
    temperature: above 0; near 0 this approaches greedy decoding.
    top_k: top-k sampling; 0 disables it.

  Returns:
    [B, T] int32, see `greedy_decode`.
  """
  choose = _sampler(keys, temperature, top_k)
  return _decode(network, params, batch, max_length, choose)[0]


def _sampler(keys, temperature, top_k):
  """Returns the function `choose` of `_decode` that draws tokens."""

  def choose(logits, index):
    step_keys = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
    logits, ids = lax.top_k(logits, top_k) if top_k else (logits, None)
    # Subtract the maximum first; a small temperature could overflow otherwise.
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    logits = logits / jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
    chosen = jax.vmap(jax.random.categorical)(step_keys, logits)
    if ids is None:
      return chosen
    return jnp.take_along_axis(ids, chosen[:, None], axis=-1)[:, 0]

  return choose


def beam_decode(
  network, params, batch, max_length: int, num_beams: int, alpha: float = 0.6
):
  """Beam search with the length penalty of T5.

  A finished hypothesis of n tokens (end of sequence included) scores
  log p / ((5 + n) / 6)^alpha; Wu et al. (2016), eq. 14, with T5's alpha. The
  search of a row ends when no unfinished hypothesis can enter its K best any
  more. A hypothesis that is cut at T counts only if the row has no finished
  one. With one beam this is greedy decoding.

  Args:
    network: a `network.T5`.
    params: its parameters, with `prompt` if the network has prompts.
    batch: the encoder's arrays of plain rows.
    max_length: T, the longest output, with the end of sequence.
    num_beams: K.
    alpha: strength of the length penalty, at least 0; 0 disables it.

  Returns:
    tokens [B, T] int32, see `greedy_decode`, and their scores [B] float32.

  Raises:
    ValueError: num_beams is below 1, or alpha is below 0.
  """
  if num_beams < 1 or alpha < 0:
    raise ValueError(
      "num_beams must be at least 1 and alpha at least 0, got"
      f" num_beams={num_beams}, alpha={alpha}"
    )
  if num_beams == 1:
    tokens, log_probs = _decode(network, params, batch, max_length, _likeliest)
    ended = tokens == EOS_ID
    length = jnp.where(ended.any(-1), ended.argmax(-1) + 1, max_length)
    return tokens, log_probs / _penalty(length, alpha)
  return _beam(network, params, batch, max_length, num_beams, alpha)


def make_decoder(network, generation: Generation = GREEDY):
  """Makes a function that decodes with these settings, to be compiled.

  Args:
    network: a `network.T5`.
    generation: the settings.

  Returns:
    A function (params, batch, row_ids [B] int, max_length) -> tokens [B, T]
    int32. A row samples with `fold_in(base_key, row_id)`, so its output does
    not depend on its batch. If the logits of a row are not finite, its tokens
    are `NOT_FINITE`.

  Raises:
    ValueError: `top_k` is larger than the vocabulary.
  """
  g = generation
  vocab_size = network.config.vocab_size
  if g.top_k > vocab_size:
    raise ValueError(
      f"top_k must be from 0 (all) to vocab_size={vocab_size}, got {g.top_k}"
    )

  def decode(params, batch, row_ids, max_length):
    args = network, params, batch, max_length
    if g.temperature:
      base_key = jax.random.key(g.seed or 0)
      keys = jax.vmap(lambda row: jax.random.fold_in(base_key, row))(row_ids)
      tokens, scores = _decode(*args, _sampler(keys, g.temperature, g.top_k))
    else:
      tokens, scores = beam_decode(*args, g.num_beams)
    return jnp.where(jnp.isfinite(scores)[:, None], tokens, NOT_FINITE)

  return decode


def score_candidates(network, params, batch, num_candidates: int):
  """Computes log-probabilities of given targets, for rank classification.

  Args:
    network: a `network.T5`.
    params: its parameters, with `prompt` if the network has prompts.
    batch: arrays of `batches.make_batch` for examples whose targets are lists
      of candidates; plain or packed.
    num_candidates: number of candidates in the batch, or any larger number.

  Returns:
    [num_candidates] float32: Σ log p over each candidate's tokens, with the end
    of sequence, in the order of the examples and their candidates. Entries
    after the last candidate are 0.
  """
  logits, _ = network.apply(
    {"params": params},
    encode(network, params, batch),
    batch["encoder_segment_ids"],
    batch["decoder_input_tokens"],
    batch["decoder_segment_ids"],
    batch.get("decoder_cross_segment_ids"),
    method="decode",
  )
  log_probs = -losses.cross_entropy(logits, batch["decoder_target_tokens"])
  return losses.sum_by(
    log_probs * batch["decoder_loss_weights"],
    batch["decoder_candidate_ids"],
    num_candidates + 1,
  )[1:]


def _start(network, params, batch, max_length):
  """Returns the cache, a step function, and which rows hold an example [B]."""
  variables = {"params": params}
  segment_ids = batch["encoder_segment_ids"]
  encoded = encode(network, params, batch)
  cache = network.apply(
    variables, encoded, segment_ids, max_length, method="init_cache"
  )

  def step(tokens, cache, index):
    logits, cache = network.apply(
      variables, tokens, cache, index, method="decode_step"
    )
    return logits.astype(jnp.float32), cache

  return cache, step, jnp.any(segment_ids > 0, axis=-1)


def _likeliest(logits, index):
  del index
  return jnp.argmax(logits, axis=-1)


def _decode(network, params, batch, max_length, choose):
  """Returns tokens [B, T] and the sum of their log-probabilities [B].

  Args:
    network, params, batch, max_length: see `greedy_decode`.
    choose: a function (logits [B, V], index []) -> token ids [B].
  """
  cache, step, real = _start(network, params, batch, max_length)
  batch_size = real.shape[0]

  def body(state):
    index, last, done, output, total, cache = state
    logits, cache = step(last, cache, index)  # [B, V]
    token = jnp.where(done, 0, choose(logits, index))
    # XLA removes this if the caller does not use the sum.
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    log_prob = chosen - jax.nn.logsumexp(logits, axis=-1)
    total = total + jnp.where(done, 0.0, log_prob)
    output = lax.dynamic_update_slice(
      output, token[:, None].astype(jnp.int32), (0, index)
    )
    done = done | (token == EOS_ID)
    return index + 1, token, done, output, total, cache

  *_, output, total, _ = lax.while_loop(
    lambda state: (state[0] < max_length) & ~jnp.all(state[2]),
    body,
    (
      jnp.int32(0),
      jnp.full((batch_size,), START_ID),
      ~real,
      jnp.zeros((batch_size, max_length), jnp.int32),
      jnp.zeros((batch_size,)),
      cache,
    ),
  )
  return output, total


def _penalty(length, alpha):
  return ((5.0 + length) / 6.0) ** alpha


def _beam(network, params, batch, max_length, num_beams, alpha):
  k = num_beams
  cache, step, real = _start(network, params, batch, max_length)
  batch_size = real.shape[0]
  cache = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), cache)  # [B K, ...]
  nothing = jnp.zeros((batch_size, k, max_length), jnp.int32)
  # All beams are equal at the start, so only the first may be continued.
  first = jnp.where(jnp.arange(k) == 0, 0.0, -jnp.inf)

  def pick(x, indices):  # [B, M, ...], [B, K] -> [B, K, ...]
    extra = (1,) * (x.ndim - 2)
    return jnp.take_along_axis(x, indices.reshape(*indices.shape, *extra), 1)

  def row_ended(best_live, done_scores, length):
    # Log-probabilities only fall, and the penalty is largest at T. So no
    # continuation of a live hypothesis can exceed this bound.
    bound = best_live / _penalty(max_length, alpha)
    return (jnp.min(done_scores, axis=-1) >= bound) | ~real

  def body(state):
    index, live, live_scores, done, done_scores, cache = state
    last = jnp.where(
      index == 0, START_ID, live[:, :, jnp.maximum(index - 1, 0)]
    )
    logits, cache = step(last.reshape(-1), cache, index)
    log_probs = jax.nn.log_softmax(logits)
    vocab_size = log_probs.shape[-1]
    scores = live_scores[..., None] + log_probs.reshape(batch_size, k, -1)
    # At most K of the 2K best end here, so at least K can be continued.
    scores, flat = lax.top_k(scores.reshape(batch_size, -1), 2 * k)  # [B, 2K]
    beams, tokens = flat // vocab_size, flat % vocab_size
    sequences = lax.dynamic_update_slice(
      pick(live, beams), tokens[..., None].astype(jnp.int32), (0, 0, index)
    )
    ends = tokens == EOS_ID
    finished = jnp.where(ends, scores / _penalty(index + 1, alpha), -jnp.inf)
    done = jnp.concatenate([done, sequences], axis=1)
    done_scores = jnp.concatenate([done_scores, finished], axis=1)
    done_scores, best = lax.top_k(done_scores, k)
    done = pick(done, best)
    live_scores, best = lax.top_k(jnp.where(ends, -jnp.inf, scores), k)
    live, beams = pick(sequences, best), pick(beams, best)
    rows = (jnp.arange(batch_size)[:, None] * k + beams).reshape(-1)
    # The encoder's keys and values are the same for all beams of a row.
    cache = {**cache, "self": jax.tree.map(lambda x: x[rows], cache["self"])}
    return index + 1, live, live_scores, done, done_scores, cache

  def unfinished(state):
    index, _, live_scores, _, done_scores, _ = state
    ended = row_ended(live_scores[:, 0], done_scores, index)
    return (index < max_length) & ~jnp.all(ended)

  _, live, live_scores, done, done_scores, _ = lax.while_loop(
    unfinished,
    body,
    (
      jnp.int32(0),
      nothing,
      jnp.broadcast_to(first, (batch_size, k)),
      nothing,
      jnp.full((batch_size, k), -jnp.inf),
      cache,
    ),
  )
  cut = live_scores[:, 0] / _penalty(max_length, alpha)
  any_done = done_scores[:, 0] > -jnp.inf
  tokens = jnp.where(any_done[:, None], done[:, 0], live[:, 0])
  scores = jnp.where(any_done, done_scores[:, 0], cut)
  return jnp.where(real[:, None], tokens, 0), jnp.where(real, scores, 0.0)
