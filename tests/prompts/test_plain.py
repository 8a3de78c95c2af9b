"""Plain soft prompts: each slot has the rows of its group."""

import numpy as np

from mpt_jax.prompts.kinds import compose_bank
from mpt_jax.prompts.plain import Plain, plain_params

ROWS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_a_slot_has_the_prompt_of_its_group():
  found = Plain().compose({"shared_prompt": ROWS}, (1, 0, 1))
  np.testing.assert_array_equal(found, ROWS[[1, 0, 1]])


def test_a_prompt_starts_as_the_rows_that_it_is_given():
  found = Plain().start(ROWS[0], sizes={}, key=None)
  assert found.keys() == Plain.leaves.keys()
  np.testing.assert_array_equal(found["shared_prompt"], ROWS[0])


def test_prompts_are_their_own_arrays():
  params = plain_params(ROWS)
  np.testing.assert_array_equal(compose_bank(params, (0, 1)), ROWS)
