"""Rates, schedules and clipping, by hand and against optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.slots import Slot, optimizer_scales
from mpt_jax.training.optimizers import (
  OptimizerConfig,
  clip_by_group_norm,
  make_optimizer,
  make_schedule,
)

NUM_STEPS = 10
BANK = PromptConfig(num_slots=3, prompt_length=2, rank=1, groups=(0, 1, 1))


def prompt_tree(seed, groups=2, tasks=3, scale=1.0):
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

  return {
    "prompt": {
      "shared_prompt": draw(groups, 2, 4),
      "task_columns": draw(tasks, 2, 1),
      "task_rows": draw(tasks, 1, 4),
    }
  }


def train(optimizer, num_steps=4, scale=1.0):
  params = prompt_tree(0)
  state = optimizer.init(params)
  for step in range(num_steps):
    updates, state = optimizer.update(
      prompt_tree(step + 1, scale=scale), state, params
    )
    params = optax.apply_updates(params, updates)
  return params["prompt"]


def config(**changes):
  values = dict(clip_norm=0.0, schedule="constant", warmup_fraction=0.0)
  return OptimizerConfig(**{**values, **changes})


@pytest.mark.parametrize(
  ("name", "rate"),
  [("shared_prompt", 0.3), ("task_columns", 0.4), ("task_rows", 0.4)],
)
def test_each_part_is_optax_adamw_at_its_own_rate(name, rate):
  made = train(make_optimizer(config(weight_decay=0.1), NUM_STEPS, BANK))
  expected = train(optax.adamw(rate, weight_decay=0.1))
  np.testing.assert_allclose(made[name], expected[name], rtol=1e-5, atol=1e-6)


def test_scales_are_factors_on_the_rates():
  made = train(
    make_optimizer(
      config(),
      NUM_STEPS,
      BANK,
      group_scales=(0.0, 2.0),
      slot_scales=(1.0, 0.0, 0.5),
    )
  )
  start = prompt_tree(0)["prompt"]
  shared = train(optax.adamw(0.6, weight_decay=1e-5))["shared_prompt"]
  rows = train(optax.adamw(0.2, weight_decay=1e-5))["task_rows"]
  same = np.testing.assert_array_equal
  same(made["shared_prompt"][0], start["shared_prompt"][0])
  same(made["task_columns"][1], start["task_columns"][1])
  np.testing.assert_allclose(made["shared_prompt"][1], shared[1], rtol=1e-4)
  np.testing.assert_allclose(made["task_rows"][2], rows[2], rtol=1e-4)


def test_a_group_is_clipped_by_its_own_norm():
  # Group 0 (tasks 0, 2): 3² + 4² + 0² + 12² = 13². Group 1 (task 1): 0.6² +
  # 0.8² = 1², which stays.
  updates = {
    "prompt": {
      "shared_prompt": jnp.array([[[3.0, 4.0]], [[0.6, 0.0]]]),
      "task_columns": jnp.array([[[0.0]], [[0.8]], [[0.0]]]),
      "task_rows": jnp.array([[[0.0, 0.0]], [[0.0, 0.0]], [[0.0, 12.0]]]),
    }
  }
  clip = clip_by_group_norm(
    1.0, PromptConfig(num_slots=3, prompt_length=1, rank=1, groups=(0, 1, 0))
  )
  clipped = clip.update(updates, clip.init(updates))[0]["prompt"]
  np.testing.assert_allclose(
    clipped["shared_prompt"], [[[3 / 13, 4 / 13]], [[0.6, 0.0]]], rtol=1e-6
  )
  np.testing.assert_allclose(
    clipped["task_columns"], [[[0.0]], [[0.8]], [[0.0]]], rtol=1e-6
  )
  np.testing.assert_allclose(clipped["task_rows"][2], [[0, 12 / 13]], rtol=1e-6)


def test_a_group_without_gradient_stays_finite():
  zeros = jax.tree.map(jnp.zeros_like, prompt_tree(0))
  clip = clip_by_group_norm(1.0, BANK)
  clipped = clip.update(zeros, clip.init(zeros))[0]
  jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0.0), clipped)


def test_what_is_kept_does_not_count_in_the_norm():
  # Clipping sees P* alone: the large gradients of the fixed factors do not
  # count.
  kept = make_optimizer(
    config(clip_norm=1.0), NUM_STEPS, BANK, slot_scales=(0.0, 0.0, 0.0)
  )

  def without_factors(num_steps=4):
    optimizer = make_optimizer(
      config(clip_norm=1.0),
      NUM_STEPS,
      PromptConfig(num_slots=2, prompt_length=2, rank=0),
    )

    def shared(tree):
      return {"prompt": {"shared_prompt": tree["prompt"]["shared_prompt"]}}

    params = shared(prompt_tree(0))
    state = optimizer.init(params)
    for step in range(num_steps):
      grads = shared(prompt_tree(step + 1))
      updates, state = optimizer.update(grads, state, params)
      params = optax.apply_updates(params, updates)
    return params["prompt"]

  np.testing.assert_allclose(
    train(kept)["shared_prompt"],
    without_factors()["shared_prompt"],
    rtol=1e-5,
    atol=1e-6,
  )


@pytest.mark.parametrize(
  ("schedule", "expected"),
  [
    # 10 steps, 2 of them warm-up: 1/2, 1, then 8/8 down to 1/8.
    ("linear", [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
    ("constant", [0.5] + 9 * [1]),
    ("rsqrt", [0.5, 1] + [(2 / n) ** 0.5 for n in range(3, 11)]),
  ],
)
def test_schedules_by_hand(schedule, expected):
  made = make_schedule(
    OptimizerConfig(schedule=schedule, warmup_fraction=0.2), NUM_STEPS
  )
  factors = [float(made(step)) for step in range(NUM_STEPS)]
  np.testing.assert_allclose(factors, expected, rtol=1e-6)


def test_the_first_step_moves_without_a_warmup():
  made = make_schedule(OptimizerConfig(warmup_fraction=0.0), NUM_STEPS)
  assert float(made(0)) == 1.0
  assert float(made(NUM_STEPS)) == 0.0


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(name="sgd"), "one of adamw, adafactor, got 'sgd'"),
    (dict(schedule="cosine"), "schedule must be one of .* got 'cosine'"),
    (dict(warmup_fraction=1.5), r"in \[0, 1\], got 1.5"),
  ],
)
def test_config_errors(changes, message):
  with pytest.raises(ValueError, match=message):
    OptimizerConfig(**changes)


def test_scales_must_fit_the_bank():
  with pytest.raises(ValueError, match=r"one number per group \(2\), got 3"):
    make_optimizer(config(), NUM_STEPS, BANK, group_scales=(1, 1, 1))
  with pytest.raises(ValueError, match=r"one number per slot \(3\), got 2"):
    make_optimizer(config(), NUM_STEPS, BANK, slot_scales=(1, 1))
  with pytest.raises(ValueError, match="prompts train with adamw"):
    make_optimizer(config(name="adafactor"), NUM_STEPS, BANK)


def test_a_parameter_without_a_rate_is_an_error():
  optimizer = make_optimizer(config(), NUM_STEPS, BANK)
  params = {"prompt": {"bias": jnp.zeros((1, 1, 1))}}
  state = optimizer.init(params)
  with pytest.raises(ValueError, match="no learning rate is known .*bias"):
    optimizer.update(params, state, params)


def test_slots_of_one_group_have_one_scale():
  slots = [
    Slot(task="a", group="g"),
    Slot(task="b", group="g", learning_rate_scale=2.0),
  ]
  with pytest.raises(ValueError, match="scales must be equal"):
    optimizer_scales(slots, (0, 0))
  slots = [
    Slot(task="a", learning_rate_scale=2.0),
    Slot(task="b", train_factors=False),
  ]
  assert optimizer_scales(slots, (0, 1)) == ((2.0, 1.0), (2.0, 0.0))


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_whole_network_trains_with_both(name):
  optimizer = make_optimizer(
    OptimizerConfig(name=name, embedding_scale=0.0), NUM_STEPS, prompts=None
  )
  params = {
    "token_embedder": {"embedding": jnp.ones((4, 2))},
    "kernel": jnp.ones((2, 3)),
  }
  state = optimizer.init(params)
  updates, _ = optimizer.update(params, state, params)
  assert float(jnp.max(updates["kernel"])) < 0.0
  # scale 0 keeps the embedding.
  np.testing.assert_array_equal(updates["token_embedder"]["embedding"], 0.0)
