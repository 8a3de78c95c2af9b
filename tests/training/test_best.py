"""The best step of each group of a bank."""

import functools

import numpy as np

from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.slots import Slot
from mpt_jax.training.best import eval_scalars, init_best, update_best


def test_each_group_keeps_its_best_step_by_its_own_metric():
  # Slots 0 and 1 share P*, slot 2 has its own.
  config = T5Config.preset("t5_tiny")
  model = Model(
    config, PromptConfig(num_slots=3, prompt_length=1, rank=1, groups=(0, 0, 1))
  )

  def tree(value):
    return {
      "prompt": {
        "shared_prompt": np.full((2, 1, 64), value),
        "task_columns": np.full((3, 1, 1), value),
        "task_rows": np.full((3, 1, 64), value),
      }
    }

  update = functools.partial(
    update_best, model=model, names=("f1", "accuracy", "accuracy")
  )

  def metrics(*values):
    return [
      {"f1": values[0], "em": 1.0},
      {"accuracy": values[1]},
      {"accuracy": values[2]},
    ]

  best = init_best(model, tree(0.0))
  best = update(best, tree(1.0), metrics(0.2, 0.6, 0.5), step=1)
  # The first group's mean falls from 0.4 to 0.35, the second's rises.
  best = update(best, tree(2.0), metrics(0.1, 0.6, 0.7), step=2)
  # The first group's rises to 0.45, the second's stays.
  best = update(best, tree(3.0), metrics(0.4, 0.5, 0.7), step=3)
  np.testing.assert_allclose(best["metric"], [0.45, 0.7], rtol=1e-6)
  assert best["step"].tolist() == [3, 2]
  np.testing.assert_allclose(best["values"], [0.4, 0.5, 0.7], rtol=1e-6)
  shared = best["prompt"]["shared_prompt"]
  assert shared[:, 0, 0].tolist() == [3.0, 2.0]
  assert best["prompt"]["task_columns"][:, 0, 0].tolist() == [3.0, 3.0, 2.0]


def test_means_over_slots_leave_out_slots_without_the_metric():
  found = eval_scalars(
    [Slot(task="a"), Slot(task="b")],
    [
      {"accuracy": 0.5, "num_examples": 4},
      {"accuracy": 1.0, "f1": 0.2, "num_examples": 2},
    ],
  )
  assert found == {
    "accuracy": 0.75,
    "accuracy/a": 0.5,
    "accuracy/b": 1.0,
    "f1": 0.2,
    "f1/b": 0.2,
    "num_examples/a": 4,
    "num_examples/b": 2,
  }
