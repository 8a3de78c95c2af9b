"""The choice of the best step: the prompts of each group at their best.

And the metrics of an evaluation as scalars, for the log.
"""

import jax
import numpy as np


def init_best(model, trainable):
  """Makes the record of the best prompts, before any evaluation.

  Returns:
    {"metric": [G] float32, "step": [G] int32, "values": [N] float32, "prompt":
    tree}. These are the best mean metric of each group, the step of that
    evaluation, and each task's metric and the prompts at that step.
  """
  num_groups = max(model.groups) + 1
  best = {
    "metric": np.full((num_groups,), -np.inf, np.float32),
    "step": np.zeros((num_groups,), np.int32),
    "values": np.full((len(model.groups),), np.nan, np.float32),
  }
  if "prompt" in trainable:
    best["prompt"] = jax.tree.map(np.array, trainable["prompt"])
  return best


def update_best(best, trainable, metrics, model, names, step):
  """Records the prompts of each group whose mean metric is its best so far.

  A mean that is NaN or infinite is never the best.

  Args:
    best: see `init_best`.
    trainable: the trainable parameters.
    metrics: the metrics of each slot.
    model: the `objective.Model`.
    names: the name of each slot's main metric.
    step: steps done.

  Returns:
    The updated record.
  """
  groups = np.asarray(model.groups)
  values = np.array([m[name] for m, name in zip(metrics, names, strict=True)])
  if "prompt" not in best:
    return best
  best = jax.tree.map(np.array, best)
  for group in range(groups.max() + 1):
    members = np.flatnonzero(groups == group)
    # Compare in float32, as stored; otherwise a tie looks like an improvement.
    mean = np.float32(values[members].mean())
    if np.isfinite(mean) and mean > best["metric"][group]:
      best["metric"][group], best["step"][group] = mean, step
      best["values"][members] = values[members]
      for name, value in trainable["prompt"].items():
        rows = np.unique(model.prompt_config.rows(name)[members])
        best["prompt"][name][rows] = np.asarray(value)[rows]
  return best


def eval_scalars(slots, metrics):
  """Returns {name: value}: each metric's mean over slots, and each slot's."""
  scalars = {}
  for name in sorted({k for m in metrics for k in m}):
    values = [m[name] for m in metrics if name in m]
    if name != "num_examples":
      scalars[name] = float(np.mean(values))
    for slot, m in zip(slots, metrics, strict=True):
      if name in m:
        scalars[f"{name}/{slot.name}"] = m[name]
  return scalars
