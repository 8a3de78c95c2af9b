"""The terms of a loss, from the outputs of student and teacher.

Axis letters: B batch, L length, T target_length, D emb_dim, V vocab_size.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from mpt_jax.model import chunked_losses, losses


@dataclasses.dataclass(frozen=True)
class Logits:
  """The logits of one network, whole or in parts.

  Attributes:
    whole: [B, T, V] float32, or None.
    part: if `whole` is None, (start []) -> [B, T, V / n] float32.
    starts: the first piece of each part, [n] int.
  """

  whole: object = None
  part: Callable | None = None
  starts: object = None


def logits_of(network, params, num_chunks, output) -> Logits:
  """Returns the logits of an output.

  Args:
    network: the `network.T5`.
    params: its parameters.
    num_chunks: n, see `Dense.vocabulary_chunks`.
    output: the `network.Output`, whose logits are whole if n is 1.
  """
  if num_chunks == 1:
    return Logits(output.logits)
  size = network.config.vocab_size // num_chunks
  states = output.decoder_hidden[-1]

  def part(start):
    return network.apply(
      {"params": params}, states, start, size, method="logits_from"
    )

  return Logits(None, part, size * jnp.arange(num_chunks))


def of_vocabulary(config, logits_of, output, teacher, targets):
  """Returns the terms that are made of logits: "loss" and, with it, "kl".

  Args:
    config: the `objective.LossConfig`.
    logits_of: (output) -> `Logits`.
    output: the student's `network.Output`.
    teacher: the teacher's, or None.
    targets: [B, T] int.

  Returns:
    {term: [("decoder", [B, T] float32)]}.
  """
  distill, own = config.distill, logits_of(output)
  options = config.label_smoothing, config.z_loss
  if own.whole is not None:
    loss = losses.cross_entropy(own.whole, targets, *options)
  else:
    loss = chunked_losses.token_losses(own.part, targets, own.starts, *options)
  made = {"loss": [("decoder", loss)]}
  if distill is None or not distill.kl:
    return made
  other, temperature = logits_of(teacher), distill.temperature
  if own.whole is not None:
    kl = losses.kl_divergence(other.whole, own.whole, temperature)
  else:
    kl = chunked_losses.kl_divergence(
      lambda start: lax.stop_gradient(other.part(start)),
      own.part,
      own.starts,
      temperature,
    )
  return {**made, "kl": [("decoder", temperature**2 * kl)]}


def hidden_error(distill, teacher, student, stack):
  """Returns the mean squared difference of a stack's states.

  Args:
    distill: the `objective.DistillConfig`.
    teacher: the teacher's `network.Output`.
    student: the student's.
    stack: "encoder" or "decoder".

  Returns:
    [B, L] or [B, T] float32.

  Raises:
    ValueError: a chosen layer does not exist.
  """
  teacher_states = getattr(teacher, f"{stack}_hidden")
  student_states = getattr(student, f"{stack}_hidden")
  chosen = distill.hidden_layers
  if isinstance(chosen, tuple):
    if max(chosen) >= len(student_states):
      raise ValueError(
        f"hidden_layers={chosen}: the {stack} has states 0 to"
        f" {len(student_states) - 1}"
      )
    teacher_states = [teacher_states[i] for i in chosen]
    student_states = [student_states[i] for i in chosen]
  return sum(
    losses.hidden_mse(t, s)
    for t, s in zip(teacher_states, student_states, strict=True)
  ) / len(student_states)
