"""The bank as a Flax module, and its rows in the encoder's input."""

import jax.numpy as jnp
import numpy as np

from mpt_jax.prompts import kinds, module
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.module import Prompts


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def test_rows_are_placed_at_prompt_positions():
  prompts, embeddings = _random(0, 2, 3, 4), _random(1, 1, 5, 4)
  positions = jnp.array([[1, 2, 3, 0, 1]])
  tasks = jnp.array([[1, 1, 1, 0, 0]])

  def place(x):
    return module.place_prompts(prompts, x, positions, tasks)

  found = place(embeddings)
  np.testing.assert_array_equal(found[0, :3], prompts[1])
  np.testing.assert_array_equal(found[0, 3], embeddings[0, 3])
  np.testing.assert_array_equal(found[0, 4], prompts[0, 0])
  # The T5's type of numbers stays.
  assert place(jnp.asarray(embeddings, jnp.bfloat16)).dtype == jnp.bfloat16


def test_module_composes_the_bank_of_its_parameters():
  params = {
    "shared_prompt": _random(0, 2, 3, 4),
    "task_columns": _random(1, 3, 3, 2),
    "task_rows": _random(2, 3, 2, 4),
  }
  prompts = Prompts(
    PromptConfig(num_slots=3, prompt_length=3, rank=2, groups=(1, 0, 1)), 4
  )
  np.testing.assert_array_equal(
    prompts.apply({"params": params}),
    kinds.compose_bank(params, (1, 0, 1)),
  )
