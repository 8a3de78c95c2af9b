"""AdamW for prompts, each with its own rate; AdamW or Adafactor for a T5."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mpt_jax.io import checks
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import GROUPS, SLOTS

OPTIMIZERS = ("adamw", "adafactor")
SCHEDULES = ("linear", "constant", "rsqrt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """Settings of the optimizer.

  The defaults are those of the paper's code lineage: AdamW at 0.3, weight
  decay 1e-5, clipping at 1, linear decay after a warm-up of a tenth of the
  steps. The separate rate of the factors (0.4) is from memory, unverified.

  Attributes:
    name: "adamw", or "adafactor" (T5's own; for trainable="everything").
    learning_rate: learning rate of P*, or of a whole T5. With Adafactor it is
      relative to the root mean square of each parameter.
    factor_learning_rate: learning rate of the slots' factors (u and v). Arrays
      of other kinds of prompts use it if their `kind.Leaf.rate` names it.
    offset_learning_rate: likewise, of what is added to the inputs' embeddings.
      The paper of DePT searches from 5e-4 to 5e-3; the default is ours.
    weight_decay: AdamW's decoupled decay, multiplied by the learning rate.
    clip_norm: largest gradient norm of each independent group of the bank, or
      of the whole tree if everything trains; 0 disables clipping.
    schedule: "linear" to zero at the last step, "constant", or "rsqrt" (1 /
      sqrt(step) from the end of the warm-up on); each after a linear warm-up.
    warmup_fraction: share of all steps spent on the warm-up, in [0, 1].
    embedding_scale: factor on the update of the token embedding, if it trains.
      Its entries are large (T5 initialises them with standard deviation 1) and
      its gradients are sparse, so a small T5 needs less than 1 with Adafactor.
  """

  name: str = "adamw"
  learning_rate: float = 0.3
  factor_learning_rate: float = 0.4
  offset_learning_rate: float = 5e-3
  weight_decay: float = 1e-5
  clip_norm: float = 1.0
  schedule: str = "linear"
  warmup_fraction: float = 0.1
  embedding_scale: float = 1.0

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.choice, "name", choices=OPTIMIZERS)
    check(checks.choice, "schedule", choices=SCHEDULES)
    rates = ("learning_rate", "factor_learning_rate", "offset_learning_rate")
    others = ("weight_decay", "clip_norm", "embedding_scale")
    check(checks.number, *rates, *others, low=0)
    check(checks.number, "warmup_fraction", low=0, high=1)


def make_schedule(config: OptimizerConfig, num_steps: int):
  """Returns a function from the step to a factor in [0, 1] on all rates.

  Step s (from 0) of a warm-up of w steps gives (s + 1) / w, so the first step
  already has an effect. The linear decay reaches 0 one step after the last.
  """
  warmup = round(config.warmup_fraction * num_steps)

  def schedule(step):
    step = jnp.asarray(step, jnp.float32)
    rising = (step + 1) / max(1, warmup)
    if config.schedule == "linear":
      falling = (num_steps - step) / max(1, num_steps - warmup)
    elif config.schedule == "rsqrt":
      falling = jnp.sqrt(max(1, warmup) / jnp.maximum(step + 1, 1))
    else:
      falling = 1.0
    return jnp.clip(jnp.minimum(rising, falling), 0.0, 1.0)

  return schedule


def _leaf_name(path) -> str:
  """Returns the name of a prompt parameter from its path in a tree."""
  return path[-1].key


def _as_column(values, x):
  """Reshapes [rows] to [rows, 1, ...], to broadcast with `x` [rows, ...]."""
  return values.reshape(-1, *[1] * (x.ndim - 1))


def clip_by_group_norm(max_norm: float, prompts: PromptConfig):
  """Clips the gradient of each independent group of a bank by its own norm.

  The norm of a group is taken over all its arrays: for MPT, P* and the factors
  of its slots. A group is thus clipped as it would be in a run of its own.

  Args:
    max_norm: the largest norm.
    prompts: the bank.

  Returns:
    An optax transformation for {"prompt": {...}} trees.
  """
  groups = np.asarray(prompts.groups)

  def update(updates, state, params=None):
    del params
    total = 0.0  # [G]
    for path, x in jax.tree.leaves_with_path(updates):
      squares = jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))
      if prompts.leaves[_leaf_name(path)].axes[0] == SLOTS:
        squares = jnp.zeros(prompts.num_groups).at[groups].add(squares)
      total += squares
    # The square root never gets 0, so a group without a gradient keeps 0
    # instead of becoming NaN.
    scale = max_norm / jnp.sqrt(jnp.maximum(total, max_norm**2))
    by_first_axis = {GROUPS: scale, SLOTS: scale[groups]}

    def clip(path, x):
      first = prompts.leaves[_leaf_name(path)].axes[0]
      return x * _as_column(by_first_axis[first], x)

    return jax.tree.map_with_path(clip, updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _scale_leaves(scale_of):
  """Multiplies each leaf by `scale_of(path, leaf)`."""

  def update(updates, state, params=None):
    del params
    scaled = jax.tree.map_with_path(
      lambda path, x: x * scale_of(path, x), updates
    )
    return scaled, state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def make_optimizer(
  config: OptimizerConfig,
  num_steps: int,
  prompts: PromptConfig | None,
  group_scales: tuple[float, ...] | None = None,
  slot_scales: tuple[float, ...] | None = None,
) -> optax.GradientTransformation:
  """Builds the optimizer of the trainable parameters.

  Args:
    config: see `OptimizerConfig`.
    num_steps: length of the schedule.
    prompts: the bank if only prompts train; None if everything trains.
    group_scales: a factor for each group of the bank, on the learning rates of
      its shared arrays (P*). 0 freezes them. None means 1 for each.
    slot_scales: a factor for each slot, on the rates of its own arrays.

  Returns:
    An optax transformation.

  Raises:
    ValueError: prompts cannot train with this optimizer, or the scales do not
      fit the bank.
  """
  schedule = make_schedule(config, num_steps)
  adam = optax.chain(
    optax.scale_by_adam(), optax.add_decayed_weights(config.weight_decay)
  )
  if prompts is None:
    return _network_optimizer(config, schedule, adam)
  if config.name == "adafactor":
    raise ValueError(
      "OptimizerConfig.name='adafactor' mixes the prompts of a bank in its"
      " statistics; prompts train with adamw"
    )
  scales = {
    GROUPS: _scales(group_scales, prompts.num_groups, "group_scales", "group"),
    SLOTS: _scales(slot_scales, prompts.num_slots, "slot_scales", "slot"),
  }

  def rate_of(path, x):
    leaf = prompts.leaves.get(_leaf_name(path))
    if leaf is None:
      raise ValueError(
        "no learning rate is known for the parameter"
        f" {jax.tree_util.keystr(path)}"
      )
    return getattr(config, leaf.rate) * _as_column(scales[leaf.axes[0]], x)

  # A frozen array must not count in its group's norm.
  frozen = _scale_leaves(lambda path, x: (rate_of(path, x) > 0).astype(x.dtype))
  parts = [frozen]
  if config.clip_norm:
    parts.append(clip_by_group_norm(config.clip_norm, prompts))
  parts += [
    adam,
    _scale_leaves(rate_of),
    optax.scale_by_schedule(lambda step: -schedule(step)),
  ]
  return optax.chain(*parts)


def _scales(values, num, name, what):
  if values is None:
    return jnp.ones((num,))
  if len(values) != num:
    raise ValueError(
      f"{name} needs one number per {what} ({num}), got {len(values)}"
    )
  return jnp.asarray(values, jnp.float32)


def _network_optimizer(config, schedule, adam):
  """Builds the optimizer of a whole T5."""
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.name == "adafactor":
    # Updates are relative to each parameter's root mean square, as in the
    # training of T5 (Shazeer and Stern, 2018).
    parts += [
      optax.scale_by_factored_rms(),
      optax.clip_by_block_rms(1.0),
      optax.scale_by_param_block_rms(),
    ]
  else:
    parts.append(adam)

  def scale_of(path, _):
    is_embedding = "token_embedder" in jax.tree_util.keystr(path)
    return config.embedding_scale if is_embedding else 1.0

  parts.append(_scale_leaves(scale_of))
  parts.append(
    optax.scale_by_schedule(lambda step: -config.learning_rate * schedule(step))
  )
  return optax.chain(*parts)
