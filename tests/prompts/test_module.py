"""The bank as a Flax module, and its rows in the encoder's input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.prompts import kinds, module
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.module import Prompts


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


POSITIONS = jnp.array([[1, 2, 3, 0, 1]])
SLOT_IDS = jnp.array([[1, 1, 1, 0, 0]])


def test_rows_are_placed_at_prompt_positions():
  prompts, embeddings = _random(0, 2, 3, 4), _random(1, 1, 5, 4)
  plain = {"shared_prompt": prompts}
  rows = module.prompt_rows(plain, (0, 1), POSITIONS, SLOT_IDS)

  def place(x):
    return module.place_prompts(rows, x, POSITIONS)

  found = place(embeddings)
  np.testing.assert_array_equal(found[0, :3], prompts[1])
  np.testing.assert_array_equal(found[0, 3], embeddings[0, 3])
  np.testing.assert_array_equal(found[0, 4], prompts[0, 0])
  # The T5's type of numbers stays.
  assert place(jnp.asarray(embeddings, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rows_of_the_module_are_those_of_the_composed_bank(rank):
  params = {
    "shared_prompt": _random(0, 2, 3, 4),
    "task_columns": _random(1, 3, 3, rank),
    "task_rows": _random(2, 3, rank, 4),
  }
  groups = (1, 0, 1)
  prompts = Prompts(
    PromptConfig(num_slots=3, prompt_length=3, rank=rank, groups=groups), 4
  )
  where = jnp.array([[1, 2, 3, 1], [3, 2, 2, 1]])
  slot_ids = jnp.array([[2, 2, 2, 0], [1, 1, 0, 2]])
  weights = _random(3, 2, 4, 4)

  def by_rows(params):
    rows = prompts.apply({"params": params}, where, slot_ids)
    return jnp.sum(rows * weights), rows

  def by_bank(params):
    rows = kinds.compose_bank(params, groups)[slot_ids, where - 1]
    return jnp.sum(rows * weights), rows

  (_, found), gradients = jax.value_and_grad(by_rows, has_aux=True)(params)
  (_, expected), plain = jax.value_and_grad(by_bank, has_aux=True)(params)
  if rank == 1:  # One product each, in the same order.
    np.testing.assert_array_equal(found, expected)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  close(found, expected)
  jax.tree.map(close, gradients, plain)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_prompt_is_sound_if_all_its_numbers_are_finite(dtype):
  params = {
    "shared_prompt": np.ones((2, 3, 4), np.float32),
    "task_columns": np.ones((5, 3, 1), np.float32),
    "task_rows": np.ones((5, 1, 4), np.float32),
  }
  groups = (0, 0, 0, 0, 1)
  config = PromptConfig(num_slots=5, prompt_length=3, groups=groups)

  def find(params):
    kind = config.find_kind()
    return np.asarray(kind.find_sound(params, groups, dtype)).tolist()

  assert find(params) == [True] * 5
  # Large factors whose largest numbers do not meet: 1e30 · 1e30 is not finite,
  # 1e30 · 1 and 1 · 1e30 are.
  params["task_columns"][0, 0] = params["task_rows"][0, 0, 0] = 1e30
  params["task_columns"][1, 0], params["task_columns"][1, 1:] = 1e30, 0
  params["task_rows"][1] = 1e8
  params["task_columns"][2, 1] = np.nan
  assert find(params) == [False, True, False, True, True]
  params["shared_prompt"][1, 2, 3] = np.inf
  assert find(params) == [False, True, False, True, False]
  # Finite as float32; bfloat16 rounds it up to infinity.
  params["task_rows"][3, 0, 1] = np.float32(3.4e38)
  assert find(params)[3] == (dtype == jnp.float32)
