"""Optimizers: AdamW with a rate per prompt for a bank, Adafactor for a T5."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ("linear", "constant", "rsqrt")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """How the trainable tree is updated.

  The defaults are those of the paper's code lineage: AdamW at 0.3, weight
  decay 1e-5, clipping at 1, linear decay after a warm-up of a tenth of the
  steps. The separate rate of the factors (0.4) is from memory, unverified.

  Attributes:
    name: "adamw", or "adafactor" (T5's own; for trainable="everything").
    learning_rate: of P*, and of a whole T5; with Adafactor relative to each
      parameter's own size.
    factor_learning_rate: of the task columns and rows.
    weight_decay: AdamW's decoupled decay, multiplied by the learning rate.
    clip_norm: largest gradient norm of each independent group of the bank
      (of the whole tree where everything trains); 0 for none.
    schedule: "linear" to zero at the last step, "constant", or "rsqrt" (1 /
      sqrt(step) from the end of the warm-up on); each after a linear warm-up.
    warmup_fraction: share of all steps spent on the warm-up, in [0, 1].
    group_scales: for each group of the bank a factor on the learning rate of
      its P*, or None for ones. 0 keeps it as it is.
    task_scales: for each task a factor on the rate of its columns and rows.
    embedding_scale: factor on the update of the token embedding, where it
      trains. Rows are large (T5 starts them at norm 1 an entry) and sparse in
      their gradients, so a small T5 wants less than 1 under Adafactor.
  """

  name: str = "adamw"
  learning_rate: float = 0.3
  factor_learning_rate: float = 0.4
  weight_decay: float = 1e-5
  clip_norm: float = 1.0
  schedule: str = "linear"
  warmup_fraction: float = 0.1
  group_scales: tuple[float, ...] | None = None
  task_scales: tuple[float, ...] | None = None
  embedding_scale: float = 1.0

  def __post_init__(self):
    if self.name not in ("adamw", "adafactor"):
      raise ValueError(
        f"OptimizerConfig.name must be adamw or adafactor, got {self.name!r}"
      )
    if self.schedule not in SCHEDULES:
      raise ValueError(
        f"OptimizerConfig.schedule must be one of {SCHEDULES}, got"
        f" {self.schedule!r}"
      )
    if not 0.0 <= self.warmup_fraction <= 1.0:
      raise ValueError(
        "OptimizerConfig.warmup_fraction must be in [0, 1], got"
        f" {self.warmup_fraction}"
      )


def make_schedule(config: OptimizerConfig, num_steps: int):
  """Step number -> factor in [0, 1] on every learning rate.

  Step s (from 0) of a warm-up of w steps gives (s + 1) / w, so that the first
  step moves; the linear decay reaches 0 one step after the last.
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


def _is_shared(path):
  """Whether a leaf is P*, with an axis of groups; the others are by task."""
  return "'shared_prompt'" in jax.tree_util.keystr(path)


def clip_by_group_norm(max_norm: float, groups: tuple[int, ...]):
  """Clips the gradient of each independent group of a bank by its own norm.

  A group's gradient is that of its P* and of all its tasks' factors, so that a
  group is clipped as it would be in a run of its own.

  Args:
    max_norm: largest norm.
    groups: the group of each task.

  Returns:
    An optax transformation for {"prompt": {...}} trees.
  """

  def update(updates, state, params=None):
    del params
    square = lambda x: jnp.sum(jnp.square(x), axis=(1, 2))
    total = 0.0  # [G]
    for path, x in jax.tree.leaves_with_path(updates):
      if _is_shared(path):
        total += square(x)
      else:
        total += (
          jnp.zeros(max(groups) + 1).at[jnp.asarray(groups)].add(square(x))
        )
    # The minimum goes last, and the square root never sees 0: a group without
    # a gradient stays at 0 instead of turning into NaN.
    scale = max_norm / jnp.sqrt(jnp.maximum(total, max_norm**2))
    scaled = jax.tree.map_with_path(
      lambda path, x: (
        x
        * (scale if _is_shared(path) else scale[jnp.asarray(groups)])[
          :, None, None
        ]
      ),
      updates,
    )
    return scaled, state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _scale_leaves(scale_of):
  """Multiplies each leaf by `scale_of(path, leaf)`."""

  def update(updates, state, params=None):
    del params
    scaled = jax.tree.map_with_path(
      lambda path, x: x * scale_of(jax.tree_util.keystr(path), x), updates
    )
    return scaled, state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _column(values, num, name, what):
  """A per-row factor as [num, 1, 1]."""
  if values is None:
    return jnp.ones((num, 1, 1))
  if len(values) != num:
    raise ValueError(
      f"OptimizerConfig.{name} needs one number per {what} ({num}), got"
      f" {len(values)}"
    )
  return jnp.asarray(values, jnp.float32)[:, None, None]


def make_optimizer(
  config: OptimizerConfig,
  num_steps: int,
  groups: tuple[int, ...] = (0,),
  trainable: str = "prompt",
) -> optax.GradientTransformation:
  """Builds the optimizer of the trainable tree.

  Args:
    config: see `OptimizerConfig`.
    num_steps: length of the schedule.
    groups: the group of each task of the bank.
    trainable: "prompt" or "everything".

  Returns:
    An optax transformation.

  Raises:
    ValueError: scales that do not fit the bank.
  """
  schedule = make_schedule(config, num_steps)
  adam = optax.chain(
    optax.scale_by_adam(), optax.add_decayed_weights(config.weight_decay)
  )
  if trainable == "everything":
    parts = []
    if config.clip_norm:
      parts.append(optax.clip_by_global_norm(config.clip_norm))
    if config.name == "adafactor":
      # Updates relative to each parameter's root mean square, as T5 was
      # trained (Shazeer and Stern, 2018).
      parts += [
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(),
      ]
    else:
      parts.append(adam)
    embedding = lambda path, _: (
      config.embedding_scale if "token_embedder" in path else 1.0
    )
    parts.append(_scale_leaves(embedding))
    parts.append(
      optax.scale_by_schedule(
        lambda step: -config.learning_rate * schedule(step)
      )
    )
    return optax.chain(*parts)

  if config.name == "adafactor":
    raise ValueError(
      "OptimizerConfig.name='adafactor' mixes the prompts of a bank in its"
      " statistics; prompts train with adamw"
    )
  group_scales = _column(
    config.group_scales, max(groups) + 1, "group_scales", "group"
  )
  task_scales = _column(config.task_scales, len(groups), "task_scales", "task")

  def scale_of(path, _):
    if "'shared_prompt'" in path:
      return config.learning_rate * group_scales
    if "'task_columns'" in path or "'task_rows'" in path:
      return config.factor_learning_rate * task_scales
    raise ValueError(f"no learning rate is known for the parameter {path}")

  # A prompt that is kept as it is must not count in its group's norm either.
  frozen = _scale_leaves(
    lambda path, x: (scale_of(path, x) > 0).astype(x.dtype)
  )
  parts = [frozen]
  if config.clip_norm:
    parts.append(clip_by_group_norm(config.clip_norm, groups))
  parts += [
    adam,
    _scale_leaves(scale_of),
    optax.scale_by_schedule(lambda step: -schedule(step)),
  ]
  return optax.chain(*parts)
