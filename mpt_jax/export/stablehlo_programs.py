"""The programs that serve a T5 with prompts, for `jax.export`.

Weights and prompts are arguments, and the number of rows is symbolic. Lengths
are not: the T5's relative positions are made for them.

Axis letters: B batch, L inputs_length, P prompt_length, T targets_length,
C labels_length.
"""

import functools

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export

from mpt_jax.inference import decoding
from mpt_jax.model.network import T5


class RowPromptT5(T5):
  """A T5 to whose rows the prompts come with them: `prompt` is [B, P, D]."""

  def encode(
    self,
    encoder_input_tokens,
    encoder_segment_ids,
    encoder_prompt_slots=None,
    encoder_task_ids=None,
    deterministic=True,
  ):
    """`T5.encode`, row b taking its slots from prompt b."""
    prompts = self.get_variable("params", "prompt")
    slots = encoder_prompt_slots
    x = self.token_embedder(encoder_input_tokens)
    rows = jnp.arange(x.shape[0])[:, None]
    prompt_rows = prompts[rows, jnp.maximum(slots - 1, 0)].astype(x.dtype)
    x = jnp.where((slots > 0)[..., None], prompt_rows, x)
    return self.encoder(x, encoder_segment_ids, deterministic)


def _encoder_arrays(prompts, tokens, lengths):
  """A plain batch of these rows: P slots, then the tokens, then padding."""
  batch_size, prompt_length = prompts.shape[:2]
  total = prompt_length + tokens.shape[1]
  positions = jnp.arange(total)[None]
  used = jnp.where(lengths > 0, prompt_length + lengths, 0)[:, None]
  slots = jnp.where(positions < prompt_length, positions + 1, 0)
  return {
    "encoder_input_tokens": jnp.pad(tokens, ((0, 0), (prompt_length, 0))),
    "encoder_prompt_slots": jnp.broadcast_to(slots, (batch_size, total)),
    "encoder_segment_ids": (positions < used).astype(jnp.int32),
  }


def greedy(network, targets_length, weights, prompts, tokens, lengths):
  """The program of greedy decoding.

  Args:
    network: a `RowPromptT5`.
    targets_length: T.
    weights: the T5's arrays by flat t5x name.
    prompts: [B, P, D] float32.
    tokens: [B, L] int32, zeros behind an input.
    lengths: [B] int32, tokens of each input; 0 for a row of padding.

  Returns:
    [B, T] int32, as of `decoding.greedy_decode`.
  """
  params = {**traverse_util.unflatten_dict(weights, "/"), "prompt": prompts}
  batch = _encoder_arrays(prompts, tokens, lengths)
  return decoding.greedy_decode(network, params, batch, targets_length)


def score(network, weights, prompts, tokens, lengths, labels, label_numbers):
  """The program that scores labels.

  Args:
    network, weights, prompts, tokens, lengths: as of `greedy`.
    labels: [B, C] int32, the tokens of a row's labels one after the other, end
      of sequence included, zeros behind them.
    label_numbers: [B, C] int32, which label a token belongs to, counted from 1;
      0 behind them.

  Returns:
    [B, C] float32: at c the log-probability of label c + 1, in nats.
  """
  params = {**traverse_util.unflatten_dict(weights, "/"), "prompt": prompts}
  batch_size, size = labels.shape
  shift = lambda x: jnp.pad(x, ((0, 0), (1, 0)))[:, :-1]
  same = shift(label_numbers) == label_numbers
  real = label_numbers > 0
  first = jnp.arange(batch_size)[:, None] * size
  batch = {
    **_encoder_arrays(prompts, tokens, lengths),
    "decoder_input_tokens": jnp.where(same, shift(labels), 0),
    "decoder_target_tokens": labels,
    "decoder_loss_weights": real.astype(jnp.float32),
    "decoder_segment_ids": label_numbers,
    "decoder_cross_segment_ids": real.astype(jnp.int32),
    "decoder_candidate_ids": jnp.where(real, first + label_numbers, 0),
  }
  scores = decoding.score_candidates(network, params, batch, batch_size * size)
  return scores.reshape(batch_size, size)


def write_programs(
  folder,
  network,
  weights,
  prompt_length,
  lengths,
  targets_length,
  labels_length,
  platforms,
  report,
):
  """Writes greedy_L.stablehlo and score_L.stablehlo for each of the lengths.

  Args:
    folder: where to.
    network: a `RowPromptT5`.
    weights: the T5's `jax.ShapeDtypeStruct`s by flat t5x name.
    prompt_length: P.
    lengths: of the inputs, L.
    targets_length: T.
    labels_length: C.
    platforms: of "cpu", "cuda", "rocm", "tpu".
    report: called with the programs made and to be made.

  Returns:
    The version of jax.export's calling convention.
  """
  (b,) = export.symbolic_shape("b")
  array = jax.ShapeDtypeStruct
  prompts = array((b, prompt_length, network.config.emb_dim), jnp.float32)
  labels = array((b, labels_length), jnp.int32)
  functions = {
    "greedy": (functools.partial(greedy, network, targets_length), ()),
    "score": (functools.partial(score, network), (labels, labels)),
  }
  done, total = 0, len(lengths) * len(functions)
  report(done, total)
  for length in lengths:
    inputs = array((b, length), jnp.int32), array((b,), jnp.int32)
    for name, (function, more) in functions.items():
      function.__name__ = name
      exported = export.export(jax.jit(function), platforms=platforms)(
        weights, prompts, *inputs, *more
      )
      path = folder / f"{name}_{length}.stablehlo"
      path.write_bytes(exported.serialize())
      done += 1
      report(done, total)
  return exported.calling_convention_version
