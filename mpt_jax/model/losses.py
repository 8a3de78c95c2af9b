"""Token cross-entropy, distillation losses, and means per group.

Axis letters: B batch, T target_length, L length, D emb_dim, V vocab_size,
G independent groups of the bank.
"""

import jax
import jax.numpy as jnp

# Less than any logarithm of a sum, and finite, so that gradients are.
LOWEST = -1e30


def cross_entropy(logits, targets, label_smoothing=0.0, z_loss=0.0):
  """Returns the negative log-likelihood of each target token.

  Args:
    logits: [B, T, V] float.
    targets: [B, T] int in [0, V).
    label_smoothing: probability in [0, 1) that is spread over all V tokens.
    z_loss: weight of log(Z)², which keeps the logits near log-probabilities
      (Mesh TensorFlow; T5 was pretrained with 1e-4).

  Returns:
    [B, T] float32, in nats.

  >>> print(cross_entropy(jnp.zeros((1, 1, 4)), jnp.array([[2]])))
  [[1.3862944]]
  """
  logits = logits.astype(jnp.float32)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)
  mean = logits.mean(axis=-1) if label_smoothing else None
  return from_sums(log_z, target_logits[..., 0], mean, label_smoothing, z_loss)


def from_sums(log_z, target_logits, mean, label_smoothing=0.0, z_loss=0.0):
  """Returns `cross_entropy` from sums over the vocabulary.

  Args:
    log_z: [B, T] float32, the logarithm of Σ exp(logit).
    target_logits: [B, T], the logit of each target.
    mean: [B, T], the mean of the logits, for label smoothing.
    label_smoothing: see `cross_entropy`.
    z_loss: see `cross_entropy`.
  """
  loss = log_z - target_logits
  if label_smoothing:
    uniform = log_z - mean
    loss = (1.0 - label_smoothing) * loss + label_smoothing * uniform
  if z_loss:
    loss = loss + z_loss * jnp.square(log_z)
  return loss


def kl_divergence(teacher_logits, student_logits, temperature=1.0):
  """Returns KL(teacher ‖ student) of each position, at a temperature.

  Σ_v p_v (log p_v - log q_v) with p = softmax(teacher / T) and
  q = softmax(student / T), where T is the temperature; Wang et al. (2023),
  section 3.2, and Hinton et al. (2015) for the temperature. The caller
  multiplies by temperature² (`objective.Model.loss`).

  As p and q both sum to 1, this equals Σ_v p_v (x_v - 1 + exp(-x_v)) with
  x = log p - log q. None of these terms is negative, so there is no
  cancellation, and small divergences late in training stay accurate.

  Args:
    teacher_logits: [B, T, V] float.
    student_logits: [B, T, V] float.
    temperature: above 0; higher is softer.

  Returns:
    [B, T] float32, in nats. If both agree, the value and its gradient are 0.
  """
  log_p = jax.nn.log_softmax(teacher_logits.astype(jnp.float32) / temperature)
  log_q = jax.nn.log_softmax(student_logits.astype(jnp.float32) / temperature)
  return kl_terms(log_p, log_q)


@jax.custom_jvp
def kl_terms(log_p, log_q):
  """Sums the terms of the KL over some pieces of the vocabulary.

  Args:
    log_p: [B, T, ...] float32, log-probabilities of the teacher.
    log_q: the student's.

  Returns:
    [B, T]. Summed over all pieces it is the KL, and so is its derivative; that
    of one part alone lacks terms which are zero in the sum over all.
  """
  x, p = log_p - log_q, jnp.exp(log_p)
  # Far from 0, exp(-x) = q / p may overflow, but nothing cancels.
  near = jnp.abs(x) < 1.0
  small = jnp.where(near, x, 0.0)
  far = p * (x - 1.0) + jnp.exp(log_q)
  return jnp.where(near, p * (small + jnp.expm1(-small)), far).sum(axis=-1)


@kl_terms.defjvp
def _kl_jvp(primals, tangents):
  (log_p, log_q), (dlog_p, dlog_q) = primals, tangents
  # Σ p dlog_p = Σ q dlog_q = 0, as both p and q sum to 1.
  p = jnp.exp(log_p)
  tangent = p * (log_p - log_q) * dlog_p + (jnp.exp(log_q) - p) * dlog_q
  return kl_terms(log_p, log_q), tangent.sum(axis=-1)


def hidden_mse(teacher_hidden, student_hidden):
  """Returns the squared difference of hidden states, averaged over D.

  Args:
    teacher_hidden: [B, L, D] float.
    student_hidden: [B, L, D] float.

  Returns:
    [B, L] float32.
  """
  difference = teacher_hidden.astype(jnp.float32) - student_hidden.astype(
    jnp.float32
  )
  return jnp.mean(jnp.square(difference), axis=-1)


def sum_by(values, ids, num):
  """Sums values [B, T] into [num] bins, which ids [B, T] choose."""
  return jnp.zeros((num,), values.dtype).at[ids].add(values)


def mean_weights(weights, group_ids, num_groups):
  """Returns weights such that Σ values * weights is a sum of group means.

  A group's mean is over its own weighted positions in the whole batch.
  Packing, padding, the other groups, and splitting the batch over devices or
  micro-batches do not change it. A group without weights contributes 0.

  Args:
    weights: [B, T] float, 0 at padding.
    group_ids: [B, T] int in [0, G).
    num_groups: G.

  Returns:
    [B, T] float32 that sum to 1 within each group that occurs.
  """
  totals = sum_by(weights, group_ids, num_groups)
  return weights / jnp.where(totals > 0, totals, 1.0)[group_ids]
