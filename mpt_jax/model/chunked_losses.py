"""The losses over the vocabulary, computed for some of its pieces at a time.

Logits [B, T, V] of student and teacher, and what their losses make of them,
take more memory than the activations of a layer. Here a scan computes the
logits of V / n pieces at a time, adds up what the losses need, and computes
them again in the backward pass.

Axis letters: B batch, T target_length, V vocab_size.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mpt_jax.model import losses


def count_chunks(vocab_size: int, num_targets: int, most_bytes: int) -> int:
  """Returns how many chunks keep the logits of one within `most_bytes`.

  Args:
    vocab_size: V. The number of chunks is a power of two that divides it.
    num_targets: B · T on one device.
    most_bytes: bytes of float32 logits.

  >>> count_chunks(32128, 512, 2**24), count_chunks(32128, 512, 2**27)
  (4, 1)
  """
  count = 1
  while 4 * num_targets * vocab_size > most_bytes * count:
    if vocab_size % (2 * count):
      break
    count *= 2
  return count


def token_losses(
  student,
  targets,
  starts,
  label_smoothing=0.0,
  z_loss=0.0,
):
  """Returns `losses.cross_entropy` of logits that are computed in chunks.

  Args:
    student: (start []) -> [B, T, V / n] float32, the logits of the pieces from
      `start` on.
    targets: [B, T] int in [0, V).
    starts: [n] int, the first piece of each chunk.
    label_smoothing: see `losses.cross_entropy`.
    z_loss: see `losses.cross_entropy`.

  Returns:
    [B, T] float32, in nats.
  """

  def body(carry, start):
    log_z, target_logits, total = carry
    logits = student(start)
    local = targets - start
    inside = (local >= 0) & (local < logits.shape[-1])
    own = jnp.take_along_axis(
      logits, jnp.where(inside, local, 0)[..., None], axis=-1
    )[..., 0]
    return (
      jnp.logaddexp(log_z, jax.nn.logsumexp(logits, axis=-1)),
      target_logits + jnp.where(inside, own, 0),
      total + logits.sum(axis=-1),
    )

  size = jax.eval_shape(student, starts[0]).shape[-1]
  zeros = jnp.zeros(targets.shape, jnp.float32)
  first = jnp.full(targets.shape, losses.LOWEST), zeros, zeros
  log_z, target_logits, total = _scan(body, first, starts)
  mean = total / (size * len(starts))
  return losses.from_sums(log_z, target_logits, mean, label_smoothing, z_loss)


def kl_divergence(teacher, student, starts, temperature=1.0):
  """Returns `losses.kl_divergence` of logits that are computed in chunks.

  Args:
    teacher: see `token_losses`.
    student: see `token_losses`.
    starts: [n] int, the first piece of each chunk.
    temperature: see `losses.kl_divergence`.

  Returns:
    [B, T] float32, in nats.
  """

  def scaled(start):
    return tuple(logits(start) / temperature for logits in (teacher, student))

  def add(log_z, start):
    return tuple(
      jnp.logaddexp(z, jax.nn.logsumexp(x, axis=-1))
      for z, x in zip(log_z, scaled(start), strict=True)
    )

  shape = jax.eval_shape(student, starts[0]).shape[:-1]
  lowest = jnp.full(shape, losses.LOWEST)
  log_z = _scan(add, (lowest, lowest), starts)

  def add_terms(total, start):
    log_p, log_q = (
      x - z[..., None] for x, z in zip(scaled(start), log_z, strict=True)
    )
    return total + losses.kl_terms(log_p, log_q)

  return _scan(add_terms, jnp.zeros(shape, jnp.float32), starts)


def _scan(body, carry, starts):
  body = jax.checkpoint(body, prevent_cse=False)
  return lax.scan(lambda c, start: (body(c, start), None), carry, starts)[0]
