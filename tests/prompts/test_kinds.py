"""The composition of a whole bank, from the names of its arrays."""

import numpy as np

from mpt_jax.prompts import kinds


def _random(seed, *shape):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def test_bank_with_groups_of_shared_prompts():
  # Tasks 0 and 2 share prompt 1, task 1 has prompt 0.
  params = {
    "shared_prompt": _random(0, 2, 3, 4),
    "task_columns": _random(1, 3, 3, 1),
    "task_rows": _random(2, 3, 1, 4),
  }
  bank = kinds.compose_bank(params, (1, 0, 1))
  for task, group in enumerate((1, 0, 1)):
    expected = params["shared_prompt"][group] * np.outer(
      params["task_columns"][task, :, 0], params["task_rows"][task, 0]
    )
    np.testing.assert_allclose(bank[task], expected, atol=1e-6)
  plain = {"shared_prompt": params["shared_prompt"]}
  np.testing.assert_array_equal(
    kinds.compose_bank(plain, (1, 0, 1)),
    params["shared_prompt"][[1, 0, 1]],
  )
