"""Losses against hand-worked values, optax, and their own definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpt_jax.model import losses


def _logits(seed, *shape):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(0.0, 2.0, shape).astype(np.float32))


def test_cross_entropy_by_hand():
  # softmax(log 1, log 2, log 5) = (1, 2, 5) / 8.
  logits = jnp.log(jnp.array([[[1.0, 2.0, 5.0]] * 2]))
  found = losses.cross_entropy(logits, jnp.array([[2, 0]]))
  np.testing.assert_allclose(found, [[math.log(8 / 5), math.log(8)]], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_optax(smoothing):
  logits = _logits(0, 2, 3, 7)
  targets = jnp.array([[0, 3, 6], [1, 1, 5]])
  labels = optax.smooth_labels(jax.nn.one_hot(targets, 7), smoothing)
  np.testing.assert_allclose(
    losses.cross_entropy(logits, targets, label_smoothing=smoothing),
    optax.softmax_cross_entropy(logits, labels),
    atol=1e-5,
  )


def test_z_loss_by_hand():
  # Z = e^0 + e^0 = 2 times e^3: log Z = 3 + log 2.
  logits = jnp.full((1, 1, 2), 3.0)
  targets = jnp.zeros((1, 1), int)
  added = losses.cross_entropy(
    logits, targets, z_loss=0.01
  ) - losses.cross_entropy(logits, targets)
  np.testing.assert_allclose(
    added, [[0.01 * (3 + math.log(2)) ** 2]], rtol=1e-4
  )


def test_kl_by_hand():
  # p = (1/4, 3/4), q = (1/2, 1/2):
  # KL = 1/4 log(1/2) + 3/4 log(3/2).
  teacher = jnp.log(jnp.array([[[1.0, 3.0]]]))
  student = jnp.zeros((1, 1, 2))
  expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
  np.testing.assert_allclose(
    losses.kl_divergence(teacher, student), [[expected]], rtol=1e-5
  )
  # The other direction is another number: 1/2 log 2 + 1/2 log(2/3).
  other = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
  np.testing.assert_allclose(
    losses.kl_divergence(student, teacher), [[other]], rtol=1e-5
  )


def test_kl_temperature_by_hand():
  # At T = 2 the odds 9 : 1 become 3 : 1 (their square root).
  teacher = jnp.log(jnp.array([[[1.0, 9.0]]]))
  student = jnp.zeros((1, 1, 2))
  expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
  np.testing.assert_allclose(
    losses.kl_divergence(teacher, student, 2.0), [[expected]], rtol=1e-5
  )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_zero_with_zero_gradient_at_equality(temperature):
  logits = _logits(0, 2, 3, 7)

  def kl(teacher, student):
    return losses.kl_divergence(teacher, student, temperature).sum()

  # Logits that differ by a constant are the same distribution.
  shifted = logits + 5.0
  for student in (logits, shifted):
    assert abs(float(kl(logits, student))) < 1e-9
    gradient = jax.grad(kl, argnums=1)(logits, student)
    np.testing.assert_allclose(gradient, jnp.zeros_like(gradient), atol=1e-6)
  # A test of zeros must see what is not zero.
  other = _logits(1, 2, 3, 7)
  assert float(kl(logits, other)) > 0.1
  assert float(jnp.abs(jax.grad(kl, argnums=1)(logits, other)).max()) > 1e-2


def test_kl_gradient_is_the_difference_of_probabilities():
  # d KL(p ‖ softmax(z / T)) / dz = (q - p) / T; Hinton et al. (2015), eq. 2.
  teacher, student = _logits(0, 1, 2, 5), _logits(1, 1, 2, 5)
  gradient = jax.grad(lambda z: losses.kl_divergence(teacher, z, 3.0).sum())(
    student
  )
  expected = (jax.nn.softmax(student / 3) - jax.nn.softmax(teacher / 3)) / 3
  np.testing.assert_allclose(gradient, expected, atol=1e-6)
  # With respect to the teacher, against the formula as it is written.
  log_q = jax.nn.log_softmax(student / 3)
  gradient, expected = (
    jax.grad(lambda z, kl=kl: kl(z).sum())(teacher)
    for kl in (
      lambda z: losses.kl_divergence(z, student, 3.0),
      lambda z: jax.nn.softmax(z / 3) * (jax.nn.log_softmax(z / 3) - log_q),
    )
  )
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("difference", [1e-2, 0.3, 3.0, 60.0])
def test_kl_keeps_its_digits(difference):
  # A student near its teacher, and one so far that exp(log p - log q) is more
  # than float32 holds.
  teacher = _logits(0, 1, 4, 1000)
  student = teacher + difference * _logits(1, 1, 4, 1000) / 2
  log_p, log_q = (
    z - np.log(np.exp(z).sum(-1, keepdims=True))
    for z in (np.float64(teacher), np.float64(student))
  )
  expected = (np.exp(log_p) * (log_p - log_q)).sum(-1)
  np.testing.assert_allclose(
    losses.kl_divergence(teacher, student), expected, rtol=2e-5
  )
  gradient = jax.grad(lambda z: losses.kl_divergence(teacher, z).sum())(student)
  np.testing.assert_allclose(gradient, np.exp(log_q) - np.exp(log_p), atol=1e-6)


def test_kl_of_certain_teachers_is_finite():
  # Probabilities of zero add nothing: 0 log 0 = 0.
  teacher = jnp.array([[[0.0, -1e9, -1e9]]])
  student = jnp.log(jnp.array([[[0.5, 0.25, 0.25]]]))
  np.testing.assert_allclose(
    losses.kl_divergence(teacher, student), [[math.log(2)]], rtol=1e-6
  )


def test_hidden_mse_by_hand():
  # Differences (1, -3) and (0, 2): means of squares 5 and 2.
  teacher = jnp.array([[[1.0, 2.0], [0.0, 0.0]]])
  student = jnp.array([[[0.0, 5.0], [0.0, -2.0]]])
  assert losses.hidden_mse(teacher, student).tolist() == [[5.0, 2.0]]


def test_losses_are_computed_in_float32():
  logits = _logits(0, 1, 2, 7).astype(jnp.bfloat16)
  targets = jnp.zeros((1, 2), int)
  assert losses.cross_entropy(logits, targets).dtype == jnp.float32
  assert losses.kl_divergence(logits, logits).dtype == jnp.float32
  assert losses.hidden_mse(logits, logits).dtype == jnp.float32


def test_sum_by():
  values = jnp.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
  ids = jnp.array([[0, 2, 2], [0, 0, 2]])
  assert losses.sum_by(values, ids, 4).tolist() == [25.0, 0.0, 38.0, 0.0]


def test_mean_weights_by_hand():
  # Group 0 has weights 1, 1, 2 (sum 4), group 1 has 1, group 2 nothing.
  weights = jnp.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
  groups = jnp.array([[0, 0, 2], [0, 1, 0]])
  found = losses.mean_weights(weights, groups, 3)
  assert found.tolist() == [[0.25, 0.25, 0.0], [0.5, 1.0, 0.0]]
  # Its use: the sum of both groups' weighted means, (3 + 5 + 2·7) / 4 + 9.
  values = jnp.array([[3.0, 5.0, 100.0], [7.0, 9.0, 100.0]])
  assert float(jnp.sum(values * found)) == 5.5 + 9.0
