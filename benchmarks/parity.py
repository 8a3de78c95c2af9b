"""Compares the accelerator's plan with the plain one, on the device at hand.

  python benchmarks/parity.py [--model t5_small] [--dtype bfloat16]

A distill step of random weights: its loss, KL, hidden loss, and the gradient of
the prompts. Rows are packed, and one run has lengths that no block divides. The
exit code is 1 where a difference, relative to the largest number of its array,
is above 1e-2 in bfloat16 or 1e-4 in float32.
"""

import argparse
import dataclasses
import sys

import jax
import numpy as np

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import choice, partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.prompts.config import PromptConfig

NUM_SLOTS, PROMPT_LENGTH = 4, 20
BOUNDS = {"bfloat16": 1e-2, "float32": 1e-4}
# (longest input, longest target, examples).
SHAPES = ((256, 16, 16), (77, 13, 9), (20, 3, 1))


def make_case(name: str, dtype: str):
  """Returns the model with the plain plan, its bank, and the frozen T5."""
  model = Model(
    dataclasses.replace(T5Config.preset(name), dtype=dtype),
    PromptConfig(num_slots=NUM_SLOTS, prompt_length=PROMPT_LENGTH),
    PromptConfig(num_slots=NUM_SLOTS, prompt_length=PROMPT_LENGTH, rank=0),
    LossConfig(distill=DistillConfig()),
  )
  keys = jax.random.split(jax.random.key(0))
  params, frozen = model.split_params(model.init_params(keys[0]))
  shape = NUM_SLOTS, PROMPT_LENGTH, model.config.emb_dim
  teachers = {"shared_prompt": jax.random.normal(keys[1], shape)}
  return model, params, {**frozen, "teacher_prompt": teachers}


def draw_batch(model: Model, longest: int, longest_target: int, size: int):
  """Returns a packed batch of random examples."""
  random = np.random.default_rng(size)

  def ids(most):
    length = random.integers(1, most)
    return np.append(random.integers(3, model.config.vocab_size, length), 1)

  layout = BatchLayout(
    inputs_length=longest,
    targets_length=longest_target,
    prompt_length=PROMPT_LENGTH,
    num_slots=NUM_SLOTS,
  )
  examples = [
    {
      "inputs": ids(longest),
      "targets": ids(longest_target),
      "slot_id": i % NUM_SLOTS,
    }
    for i in range(size)
  ]
  plan = choice.training_plan(
    partitioning.make_mesh(), model.config, layout, batch_size=size
  )
  return make_batch(examples, plan.rows(layout))[0], plan


def differences(model: Model, plan, params, frozen, batch) -> dict[str, float]:
  """Returns the largest relative difference of each number of a step."""

  def step(plan):
    used = dataclasses.replace(model, plan=plan)
    value = jax.value_and_grad(used.loss, has_aux=True)
    return jax.jit(value)(params, plan.prepare(frozen), batch)

  (expected, plain), gradients = step(model.plan)
  (found, metrics), others = step(plan)
  pairs = {
    "total": (found, expected),
    **{name: (metrics[name], plain[name]) for name in plain},
    **{
      f"gradient{jax.tree_util.keystr(path)}": (other, gradient)
      for (path, gradient), other in zip(
        jax.tree_util.tree_leaves_with_path(gradients),
        jax.tree.leaves(others),
        strict=True,
      )
    },
  }
  return {name: _difference(*pair) for name, pair in pairs.items()}


def _difference(found, expected) -> float:
  found, expected = (
    np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    for tree in (found, expected)
  )
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def main(arguments=None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--model", default="t5_small")
  parser.add_argument("--dtype", default="bfloat16", choices=BOUNDS)
  options = parser.parse_args(arguments)
  model, params, frozen = make_case(options.model, options.dtype)
  worst = 0.0
  for shape in SHAPES:
    batch, plan = draw_batch(model, *shape)
    found = differences(model, plan, params, frozen, batch)
    name, value = max(found.items(), key=lambda pair: pair[1])
    print(
      f"parity {options.model} {options.dtype} {type(plan).__name__}"
      f" {batch['encoder_segment_ids'].shape}: {value:.2e} ({name})"
    )
    worst = max(worst, value)
  return 0 if worst <= BOUNDS[options.dtype] else 1


if __name__ == "__main__":
  sys.exit(main())
