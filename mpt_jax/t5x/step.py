"""The native step on t5x's train state.

The gradients, the update and the faults of slots are those of `training.step`,
so a step gives the same numbers under both launchers.
"""

import clu.metrics
import flax.core
import jax
import jax.numpy as jnp

from mpt_jax.training import assembly
from mpt_jax.training import step as native


def make_step(parts: assembly.Assembly, base_key, learning_rate):
  """Makes the function of one step.

  Args:
    parts: the assembled experiment.
    base_key: the PRNG key of the run.
    learning_rate: a function of the steps done; t5x logs its value.

  Returns:
    A function (state, kept, teachers, batch) -> (state, kept, t5x's metrics,
    the metrics of `training.step.make_step`). `kept` is None if the T5 trains,
    and else the pair (faults, backup) of `TrainState`; `teachers` is the
    teachers' bank or None.
  """
  model = parts.model

  def step(state, kept, teachers, batch):
    trainable, frozen = model.split_params(flax.core.unfreeze(state.params))
    no_gradients = jax.tree.map(jnp.zeros_like, frozen)

    def apply(gradients, state, params):
      state = _with_params(state, {**frozen, **params})
      gradients = _as_in(state.params, {**no_gradients, **gradients})
      rate = learning_rate(state.step)
      new = state.apply_gradient(gradients, learning_rate=rate)
      return model.split_params(flax.core.unfreeze(new.params))[0], new

    faults, backup = kept or (None, None)
    # t5x restores the number of the step as a float.
    done = state.step.astype(jnp.int32)
    start = native.TrainState(done, trainable, state, faults, backup)
    others = {} if teachers is None else {"teacher_prompt": teachers}
    new, by_slot = native.make_step(
      model,
      apply,
      None if parts.layout.long_rows else parts.experiment.num_microbatches,
    )(start, {**frozen, **others}, batch, base_key)
    metrics = {
      name: clu.metrics.Average(total=value[0].sum(), count=value[1].sum())
      for name, value in by_slot.items()
      if isinstance(value, tuple)
    }
    rate = jnp.asarray([learning_rate(state.step)])
    metrics |= {
      "learning_rate": clu.metrics.Average.from_model_output(rate),
      "learning_rate/current": clu.metrics.LastValue.from_model_output(rate),
    }
    if kept is not None:
      kept = (new.faults, new.backup)
    # Faulty slots keep their state, and damaged prompts are restored.
    state = _with_params(new.opt_state, {**frozen, **new.params})
    return state, kept, metrics, by_slot

  return step


def _with_params(state, params):
  return state.replace_params(_as_in(state.params, params))


def _as_in(tree, values):
  """Returns values in the structure of another tree of the same names."""
  return jax.tree.unflatten(jax.tree.structure(tree), jax.tree.leaves(values))
