"""The training step: a pure, jitted function on a mesh."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mpt_jax.model import partitioning
from mpt_jax.model.objective import Model


@flax.struct.dataclass
class TrainState:
  """Everything that a step changes.

  Attributes:
    step: [] int32, the number of steps done.
    params: the trainable parameters only.
    opt_state: optimizer state of the trainable parameters.
  """

  step: Any
  params: Any
  opt_state: Any


def init_train_state(optimizer, params, mesh=None) -> TrainState:
  """Returns the state before the first step.

  Args:
    optimizer: the optimizer of the trainable parameters.
    params: the trainable parameters.
    mesh: the devices of the state; arrays without a sharding are replicated
      over it. None leaves everything on one device.
  """
  # A step donates its state, and the caller may still hold these arrays.
  params = jax.tree.map(jnp.array, params)
  state = TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))
  if mesh is None:
    return state
  # Without explicit shardings, JAX would compile the step again for the state
  # that it returns, and a resumed run would use a different program.
  return partitioning.put(state, state_shardings(state, mesh))


def state_shardings(state, mesh):
  """Returns each array's sharding; arrays on no mesh are replicated."""

  def sharding(x):
    if isinstance(x.sharding, jax.sharding.NamedSharding):
      return x.sharding
    return partitioning.replicated(mesh)

  return jax.tree.map(sharding, state)


def make_train_step(
  model: Model,
  optimizer: optax.GradientTransformation,
  num_microbatches: int | None = 1,
  shardings: TrainState | None = None,
):
  """Builds the step.

  Args:
    model: the model with its loss.
    optimizer: the optimizer of the trainable parameters.
    num_microbatches: parts of a batch whose gradients are accumulated before
      the update; the rows of a batch must be a multiple of it. None makes each
      row a part, for long rows: memory then does not grow with the batch.
    shardings: the shardings of the returned state, from `state_shardings`; None
      leaves them to JAX.

  Returns:
    A jitted function (state, frozen, batch, base_key) -> (state, metrics) that
    donates `state`. Metrics are those of `Model.loss` and "grad_norm" []. The
    only randomness is dropout, from fold_in(base_key, state.step).
  """
  use_dropout = model.config.dropout_rate > 0

  def gradients(params, frozen, batch, key):
    return jax.grad(model.loss, has_aux=True)(params, frozen, batch, key)

  def accumulated(params, frozen, batch, key, num_parts):
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
      new = gradients(params, frozen, part, part_key)
      return jax.tree.map(jnp.add, total, new), None

    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(gradients, params, frozen, first, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    indices = jnp.arange(num_parts)
    return jax.lax.scan(body, zeros, (indices, parts))[0]

  def train_step(state, frozen, batch, base_key):
    key = jax.random.fold_in(base_key, state.step) if use_dropout else None
    # Weights for the whole batch: the losses of its parts then sum to its mean.
    batch = {**batch, **model.mean_weights(batch)}
    num_parts = num_microbatches or batch["encoder_input_tokens"].shape[0]
    if num_parts == 1:
      grads, metrics = gradients(state.params, frozen, batch, key)
    else:
      grads, metrics = accumulated(state.params, frozen, batch, key, num_parts)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {**metrics, "grad_norm": optax.global_norm(grads)}
    return TrainState(state.step + 1, params, opt_state), metrics

  return jax.jit(
    train_step,
    donate_argnums=0,
    # Replicate the metrics, because every process reads them.
    out_shardings=shardings
    and (shardings, partitioning.replicated(shardings.step.mesh)),
  )
