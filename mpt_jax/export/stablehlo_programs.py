"""The programs that serve a T5 with prompts, for `jax.export`.

Weights and prompts are arguments, and the number of rows is symbolic. The
lengths are fixed, because the T5's relative positions depend on them.

Axis letters: B batch, L inputs_length, P prompt_length, T targets_length,
C labels_length.
"""

import functools

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import export

from mpt_jax.inference.engine import decoding


def _encode(network, prompts, tokens, segment_ids):
  """The encoder's final states [B, P + L, D]; applied as a method of `T5`.

  The prompts differ from row to row, so they are put before the embeddings
  here: the bank of a `T5` is the same for all rows.
  """
  x = network.token_embedder(tokens)
  x = jnp.concatenate([prompts.astype(x.dtype), x], axis=1)
  return network.encoder(x, segment_ids, deterministic=True)[-1]


def _encoded_batch(network, params, prompts, tokens, lengths):
  """A plain batch whose rows are a prompt, an input, and padding."""
  prompt_length = prompts.shape[1]
  positions = jnp.arange(prompt_length + tokens.shape[1])[None]
  used = jnp.where(lengths > 0, prompt_length + lengths, 0)[:, None]
  segment_ids = (positions < used).astype(jnp.int32)
  encoded = network.apply(
    {"params": params}, prompts, tokens, segment_ids, method=_encode
  )
  return {"encoded": encoded, "encoder_segment_ids": segment_ids}


def greedy(network, targets_length, weights, prompts, tokens, lengths):
  """The program of greedy decoding.

  Args:
    network: a `T5` without prompts.
    targets_length: T.
    weights: the T5's arrays by flat t5x name.
    prompts: [B, P, D] float32.
    tokens: [B, L] int32, an input and then zeros.
    lengths: [B] int32, tokens of each input; 0 for a row of padding.

  Returns:
    [B, T] int32, see `decoding.greedy_decode`.
  """
  params = traverse_util.unflatten_dict(weights, "/")
  batch = _encoded_batch(network, params, prompts, tokens, lengths)
  return decoding.greedy_decode(network, params, batch, targets_length)


def score(network, weights, prompts, tokens, lengths, labels, label_numbers):
  """The program that scores labels.

  Args:
    network, weights, prompts, tokens, lengths: see `greedy`.
    labels: [B, C] int32, the tokens of a row's labels one after the other, each
      with its end of sequence, and then zeros.
    label_numbers: [B, C] int32, the number of the label that a token belongs
      to, counted from 1, and then zeros.

  Returns:
    [B, C] float32: the log-probability of label c + 1 at c, in nats.
  """
  params = traverse_util.unflatten_dict(weights, "/")
  batch_size, size = labels.shape

  def shift(x):
    return jnp.pad(x, ((0, 0), (1, 0)))[:, :-1]

  same = shift(label_numbers) == label_numbers
  real = label_numbers > 0
  first = jnp.arange(batch_size)[:, None] * size
  batch = {
    **_encoded_batch(network, params, prompts, tokens, lengths),
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
    folder: an existing folder.
    network: a `T5` without prompts.
    weights: the T5's `jax.ShapeDtypeStruct`s by flat t5x name.
    prompt_length: P.
    lengths: lengths of the inputs, L.
    targets_length: T.
    labels_length: C.
    platforms: some of "cpu", "cuda", "rocm" and "tpu".
    report: called with the numbers of programs made and to be made.

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
