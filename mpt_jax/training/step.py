"""The training step: a pure, jitted function on a mesh."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mpt_jax.model import partitioning
from mpt_jax.model.faults import (
  find_active,
  init_faults,
  record,
  select_rows,
)
from mpt_jax.model.objective import Model


@flax.struct.dataclass
class TrainState:
  """Everything that a step changes.

  Attributes:
    step: [] int32, the number of steps done.
    params: the trainable parameters only.
    opt_state: optimizer state of the trainable parameters.
    faults: [N, 2] int32 if prompts train, see `faults.init_faults`.
    backup: a copy of the prompts, in case they are damaged between two steps.
      Checkpoints do not hold it.
  """

  step: Any
  params: Any
  opt_state: Any
  faults: Any = None
  backup: Any = None

  def checkpointed(self) -> "TrainState":
    """Returns what a checkpoint holds."""
    return self.replace(backup=None)

  def resumed(self, saved: "TrainState") -> "TrainState":
    """Returns the state to go on from, a state of this one's structure.

    Args:
      saved: what a checkpoint held. Those of earlier versions have no `faults`.
    """
    faults = self.faults if saved.faults is None else saved.faults
    backup = self.backup
    if backup is not None:
      backup = jax.tree.map(jnp.array, saved.params)
    return saved.replace(faults=faults, backup=backup)


def init_train_state(model, optimizer, params, mesh=None) -> TrainState:
  """Returns the state before the first step.

  Args:
    model: the model.
    optimizer: the optimizer of the trainable parameters.
    params: the trainable parameters.
    mesh: the devices of the state; arrays without a sharding are replicated
      over it. None leaves everything on one device.
  """
  state = _first_state(model, optimizer, params)
  if mesh is None:
    return state
  # Without explicit shardings, JAX would compile the step again for the state
  # that it returns, and a resumed run would use a different program.
  return partitioning.put(state, state_shardings(state, mesh))


def outline_train_state(model, optimizer, params, mesh) -> TrainState:
  """Returns the shapes and shardings of `init_train_state`; makes no arrays.

  Args:
    model: the model.
    optimizer: the optimizer of the trainable parameters.
    params: a `jax.ShapeDtypeStruct` for each of them, with its sharding.
    mesh: the devices of the state.
  """
  first = functools.partial(_first_state, model, optimizer)
  state = jax.eval_shape(first, params).replace(params=params)
  return jax.tree.map(
    lambda x, sharding: x.update(sharding=sharding),
    state,
    state_shardings(state, mesh),
  )


def _first_state(model, optimizer, params):
  # A step donates its state, and the caller may still hold these arrays.
  params = jax.tree.map(jnp.array, params)
  state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
  if model.trainable == "prompt":
    backup = jax.tree.map(jnp.array, params)
    state = state.replace(faults=init_faults(model.num_slots), backup=backup)
  return state


def state_shardings(state, mesh):
  """Returns the sharding of each array of a `TrainState`.

  The parameters keep theirs. An array of the optimizer that belongs to a
  parameter and has its shape gets the parameter's. All others are replicated.

  Args:
    state: the state, or the shapes of its arrays with the shardings of the
      parameters.
    mesh: the devices.
  """
  placed = {
    path: x
    for path, x in jax.tree_util.tree_leaves_with_path(state.params)
    if isinstance(x.sharding, jax.sharding.NamedSharding)
  }

  def sharding(path, x):
    ends = (path[i:] for i in range(len(path)))
    param = next((placed[end] for end in ends if end in placed), None)
    if param is not None and param.shape == x.shape:
      return param.sharding
    return partitioning.replicated(mesh)

  return jax.tree_util.tree_map_with_path(sharding, state)


def make_train_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  num_microbatches: int | None = 1,
  shardings: TrainState | None = None,
):
  """Builds the jitted step, which donates its state; see `make_step`.

  Args:
    model: the model with its loss.
    optimizer: the optimizer of the trainable parameters.
    num_microbatches: see `make_step`.
    shardings: the shardings of the returned state, from `state_shardings`; None
      leaves them to JAX.
  """

  def apply(grads, opt_state, params):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  return jax.jit(
    make_step(model, apply, num_microbatches),
    donate_argnums=0,
    # Replicate the metrics, because every process reads them.
    out_shardings=shardings
    and (shardings, partitioning.replicated(shardings.step.mesh)),
  )


def make_step(model: Model, apply, num_microbatches: int | None = 1):
  """Builds the step that all launchers share.

  Args:
    model: the model with its loss.
    apply: (gradients, opt_state, params) -> (params, opt_state), the update of
      the trainable parameters.
    num_microbatches: parts of a batch whose gradients are accumulated before
      the update; the rows of a batch must be a multiple of it. None makes each
      row a part, for long rows: memory then does not grow with the batch.

  Returns:
    A function (state, frozen, batch, base_key) -> (state, metrics). Metrics are
    those of `Model.loss`, "grad_norm" [] and, if prompts train, "faults"
    [N, 2]; slots with a fault then count as slots without examples. The only
    randomness is dropout, from fold_in(base_key, state.step).
  """
  use_dropout = model.config.dropout_rate > 0

  def train_step(state, frozen, batch, base_key):
    active = None
    if model.trainable == "prompt":
      state = _restore_damaged(model, state)
      active = find_active(state.faults)
    key = jax.random.fold_in(base_key, state.step) if use_dropout else None
    # Weights for the whole batch: the losses of its parts then sum to its mean.
    batch = {**batch, **model.mean_weights(batch)}
    num_parts = num_microbatches or batch["encoder_input_tokens"].shape[0]
    if num_parts == 1:
      grads, metrics = model.gradients(state.params, frozen, batch, key, active)
    else:
      grads, metrics = _accumulated(
        model, state.params, frozen, batch, key, active, num_parts
      )
    params, opt_state = apply(grads, state.opt_state, state.params)
    new = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    if model.trainable == "prompt":
      new, metrics = _freeze_diverged(model, state, new, metrics)
    return new, {**metrics, "grad_norm": optax.global_norm(grads)}

  return train_step


def _accumulated(model, params, frozen, batch, key, active, num_parts):
  """Returns the sums of `Model.gradients` over the parts of a batch."""
  rows = batch["encoder_input_tokens"].shape[0]
  if rows % num_parts:
    raise ValueError(
      f"the batch's {rows} rows are not a multiple of"
      f" num_microbatches={num_parts}; set row_multiple accordingly"
    )
  # Row i goes to part i % num_parts, so each part has rows on every device.
  parts = jax.tree.map(
    lambda x: jnp.swapaxes(
      x.reshape(rows // num_parts, num_parts, *x.shape[1:]), 0, 1
    ),
    batch,
  )

  def body(total, part):
    index, part = part
    part_key = None if key is None else jax.random.fold_in(key, index)
    new = model.gradients(params, frozen, part, part_key, active)
    return jax.tree.map(jnp.add, total, new), None

  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(model.gradients, params, frozen, first, key, active)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(body, zeros, (jnp.arange(num_parts), parts))[0]


def _restore_damaged(model, state) -> TrainState:
  """Records prompts that are not finite, and takes them from the backup."""
  sound = model.find_sound(state.params["prompt"])
  restored = select_rows(model.prompt_config, sound, state.params, state.backup)
  faults = record(state.faults, state.step + 1, "prompt", ~sound)
  return state.replace(params=restored, faults=faults)


def _freeze_diverged(model, old, new, metrics):
  """Records the faults of a step, and undoes it for all slots with a fault.

  Args:
    model: the model.
    old: the state before the step.
    new: the state after the step.
    metrics: the metrics of `Model.gradients`.

  Returns:
    The state and the metrics of the step.
  """
  metrics = dict(metrics)
  gradient_faults = metrics.pop("gradient_faults")
  faults = old.faults
  for name, (total, _) in metrics.items():
    faults = record(faults, new.step, name, ~jnp.isfinite(total))
  faults = record(faults, new.step, "gradient", gradient_faults > 0)
  sound = model.find_sound(new.params["prompt"])
  faults = record(faults, new.step, "update", ~sound)
  active = find_active(faults)
  metrics = {
    name: tuple(jnp.where(active, x, 0) for x in pair)
    for name, pair in metrics.items()
  }

  def keep(new, old):
    return select_rows(model.prompt_config, active, new, old)

  params = keep(new.params, old.params)
  new = TrainState(
    step=new.step,
    params=params,
    opt_state=keep(new.opt_state, old.opt_state),
    faults=faults,
    backup=params,
  )
  return new, {**metrics, "faults": faults}
