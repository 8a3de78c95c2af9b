"""Which slots had a fault first, and what is undone for them."""

import jax.numpy as jnp
import numpy as np
import pytest

from mpt_jax.model import faults
from mpt_jax.model.faults import Fault
from mpt_jax.prompts.config import PromptConfig


def test_the_first_fault_of_a_slot_is_kept():
  found = faults.init_faults(3)

  def bad(*slots):
    return jnp.isin(jnp.arange(3), jnp.array(slots))

  found = faults.record(found, jnp.int32(4), "kl", bad(1))
  found = faults.record(found, jnp.int32(4), "gradient", bad(1, 2))
  found = faults.record(found, jnp.int32(9), "update", bad(1, 2))
  assert faults.find_active(found).tolist() == [True, False, False]
  assert faults.read_faults(found, ("a", "b", "c")) == [
    Fault("b", 4, "kl"),
    Fault("c", 4, "gradient"),
  ]


def test_a_shared_row_is_taken_as_long_as_one_of_its_slots_is_chosen():
  prompts = PromptConfig(num_slots=3, prompt_length=1, groups=(0, 1, 1))

  def tree(value):
    return {
      "prompt": {
        "shared_prompt": jnp.full((2, 1, 4), value),
        "task_rows": jnp.full((3, 1, 4), value),
      },
      "count": jnp.full((), value),
    }

  chosen = jnp.array([False, True, False])
  made = faults.select_rows(prompts, chosen, tree(1.0), tree(0.0))

  def rows(x):
    return np.asarray(x)[:, 0, 0].tolist()

  assert rows(made["prompt"]["shared_prompt"]) == [0, 1]
  assert rows(made["prompt"]["task_rows"]) == [0, 1, 0]
  assert made["count"] == 1


@pytest.mark.parametrize(
  "step,term,word",
  [
    (1, "loss", "weights of the T5"),
    (1, "update", "lower learning_rate"),
    (2, "gradient", "lower learning_rate"),
    (2, "prompt", "damaged"),
  ],
)
def test_the_advice_blames_what_may_be_the_cause(step, term, word):
  assert word in Fault("a", step, term).advice
  assert word in faults.describe_all([Fault("a", step, term)])
