"""The objective: a frozen T5 with a bank of prompts, and the loss of a batch.

The parameters are one tree with t5x's names, in which `prompt` is the bank.
Only `Model.split_params` splits it into trainable and frozen parameters. A step
differentiates with respect to the trainable ones only. All methods are pure
functions.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mpt_jax.io import checks
from mpt_jax.model import losses, terms
from mpt_jax.model.attention import LARGEST_GRADIENT
from mpt_jax.model.config import T5Config
from mpt_jax.model.faults import select_rows
from mpt_jax.model.network import T5, init_variables
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import recognise_kind
from mpt_jax.prompts.module import prompt_rows

TRAINABLE = ("prompt", "everything")
STACKS = ("encoder", "decoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig:
  """The distillation loss λ (L_KL + L_hidden), Wang et al. (2023), eq. 5.

  Attributes:
    weight: λ. The default 0.9 is from memory of the paper and is unverified.
    temperature: temperature of the softmax in L_KL, above 0; 1 is the plain
      softmax. The paper does not give it. L_KL is multiplied by temperature²,
      which keeps the scale of its gradient (Hinton et al., 2015, section 2).
    kl: use L_KL.
    hidden: use L_hidden, the mean squared difference of hidden states.
    hidden_stacks: the stacks whose states are compared, "encoder" and
      "decoder". The loss averages over a stack's positions except padding
      (prompt positions count), and then over the stacks.
    hidden_layers: "last" compares the normed final states. "all" also compares
      the embeddings and the output of each block, and averages. A tuple holds
      indices of these num_layers + 1 states. The paper does not say which it
      uses.
  """

  weight: float = 0.9
  temperature: float = 1.0
  kl: bool = True
  hidden: bool = True
  hidden_stacks: tuple[str, ...] = ("encoder", "decoder")
  hidden_layers: str | tuple[int, ...] = "last"

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.number, "weight", low=0)
    check(checks.number, "temperature", above=0)
    check(checks.flag, "kl", "hidden")
    stacks = dict(of=checks.choice, what="stacks", choices=STACKS)
    check(checks.sequence, "hidden_stacks", **stacks)
    if isinstance(self.hidden_layers, str):
      check(checks.choice, "hidden_layers", choices=("last", "all"))
    else:
      layers = dict(of=checks.whole, what="whole numbers, 'last' or 'all'")
      check(checks.sequence, "hidden_layers", low=0, **layers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
  """The loss of a stage.

  Attributes:
    label_smoothing: see `losses.cross_entropy`.
    z_loss: see `losses.cross_entropy`.
    distill: the distillation term, or None for the task loss alone.
  """

  label_smoothing: float = 0.0
  z_loss: float = 0.0
  distill: DistillConfig | None = None

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.number, "label_smoothing", low=0, below=1)
    check(checks.number, "z_loss", low=0)
    check(checks.instance, "distill", cls=DistillConfig, optional=True)


@dataclasses.dataclass(frozen=True)
class Model:
  """The T5, its bank of prompts, its loss, and which parameters train.

  Attributes:
    config: shape of the T5.
    prompt_config: the bank, or None for a T5 without prompts.
    teacher_config: the teachers' bank, for distillation.
    loss_config: the loss.
    trainable: "prompt", or "everything" for pretraining and for full
      fine-tuning.
    num_datasets: number of tasks of a T5 without prompts, for metrics per
      task.
    plan: see `network.T5`.
  """

  config: T5Config
  prompt_config: PromptConfig | None = None
  teacher_config: PromptConfig | None = None
  loss_config: LossConfig = LossConfig()
  trainable: str = "prompt"
  num_datasets: int = 1
  plan: Dense = Dense()

  def __post_init__(self):
    checks.check_fields(self, checks.choice, "trainable", choices=TRAINABLE)
    if self.trainable == "prompt" and self.prompt_config is None:
      raise ValueError(
        "trainable='prompt' needs a prompt_config: there is nothing to train"
      )
    student, teacher = self.prompt_config, self.teacher_config
    if self.loss_config.distill is not None:
      if student is None or teacher is None:
        raise ValueError(
          "distillation needs a prompt_config and a teacher_config"
        )
      if (student.num_slots, student.prompt_length) != (
        teacher.num_slots,
        teacher.prompt_length,
      ):
        raise ValueError(
          "distillation compares prompts slot by slot: the students have"
          f" num_slots={student.num_slots},"
          f" prompt_length={student.prompt_length}, the teachers"
          f" {teacher.num_slots} and {teacher.prompt_length}"
        )

  @property
  def network(self) -> T5:
    return T5(self.config, self.prompt_config, self.plan)

  @property
  def num_slots(self) -> int:
    return len(self.groups)

  @property
  def groups(self) -> tuple[int, ...]:
    """Returns the independent group of each slot; see `PromptConfig`."""
    if self.prompt_config is None:
      return (0,) * self.num_datasets
    return self.prompt_config.groups

  def init_params(self, key):
    """Returns random parameters."""
    return self.init_variables(key)["params"]

  def init_variables(self, key):
    """Returns {"params", "params_axes"}: random values and logical axes."""
    return init_variables(self.network, key)

  def split_params(self, params):
    """Splits one tree of parameters into (trainable, frozen)."""
    if self.trainable == "everything":
      return params, {}
    frozen = {k: v for k, v in params.items() if k != "prompt"}
    return {"prompt": params["prompt"]}, frozen

  def prompt_rows(self, prompt, batch):
    """Returns the rows of the bank's prompts in a batch: [B, L, D]."""
    return prompt_rows(
      prompt,
      self.groups,
      batch["encoder_prompt_positions"],
      batch["encoder_slot_ids"],
    )

  def find_sound(self, prompt):
    """Returns which prompts of a bank are finite in the T5's dtype: [N] bool.

    A T5 has finite activations wherever its weights and its input are finite,
    because each layer norms what it reads.

    Args:
      prompt: the arrays of the bank.
    """
    dtype = jnp.dtype(self.config.dtype)
    return recognise_kind(prompt).find_sound(prompt, self.groups, dtype)

  def loss(self, trainable, frozen, batch, key=None):
    """Computes the loss of a batch, the sum of the means of the groups.

    A prompt that is not finite counts as 0, so that its values do not reach the
    other slots in its rows, and the sums of its slot become NaN.

    Args:
      trainable: the parameters to differentiate with respect to.
      frozen: all other parameters, possibly from `plan.prepare`. For
        distillation, "teacher_prompt" holds the teachers' bank.
      batch: the arrays of `batches.make_batch`. For a part of a larger batch,
        `decoder_mean_weights` and `encoder_mean_weights` must hold the weights
        of `losses.mean_weights` for the whole batch.
      key: PRNG key for dropout, or None for no dropout.

    Returns:
      (loss [], metrics). For each term, the metrics have a pair of arrays [N]:
      the sum over each slot's positions, and the number of these positions.
      "loss" is the task loss; "kl" and "hidden" exist for distillation only.
    """
    loss, metrics, _ = self._loss(trainable, frozen, batch, key)
    return loss, metrics

  def _loss(self, trainable, frozen, batch, key, rows=None):
    """Returns `loss` and which slots have finite values alone: [N] bool.

    Args:
      trainable: see `loss`.
      frozen: see `loss`.
      batch: see `loss`.
      key: see `loss`.
      rows: [B, L, D] of `prompt_rows`, to differentiate with respect to.
    """
    frozen = dict(frozen)
    teacher = frozen.pop("teacher_prompt", None)
    params = {**frozen, **trainable}
    if "decoder_mean_weights" not in batch:
      batch = {**batch, **self.mean_weights(batch)}
    sound = jnp.ones((self.num_slots,), bool)
    if self.prompt_config is not None:
      if rows is None:
        rows = self.prompt_rows(params["prompt"], batch)
      sound = self.find_sound(params["prompt"])
      # Positions attend to masked ones with weight 0, and 0 · NaN is NaN.
      rows = jnp.where(sound[batch["encoder_slot_ids"]][..., None], rows, 0)
    broken = jnp.where(sound, 0, jnp.nan)
    made = self._terms(params, teacher, batch, key, rows)

    metrics, means = {}, {}
    for name, parts in made.items():
      sums, means[name] = [], 0.0
      for stack, values in parts:
        weights = _position_weights(batch, stack)
        slot_ids = batch[f"{stack}_slot_ids"]
        # Not read off the sums: another reader of them changes how XLA adds up
        # the parts of a batch.
        finite = jnp.isfinite(values)
        sound = sound.at[slot_ids].min(finite)
        values_here = values * weights + broken[slot_ids]
        sums.append(
          tuple(
            losses.sum_by(x, slot_ids, self.num_slots)
            for x in (values_here, weights)
          )
        )
        means[name] += jnp.sum(values * batch[f"{stack}_mean_weights"])
      metrics[name] = tuple(
        functools.reduce(jnp.add, x) for x in zip(*sums, strict=True)
      )
      means[name] /= len(parts)
    loss = means.pop("loss")
    if means:
      loss += self.loss_config.distill.weight * sum(means.values())
    return loss, metrics, sound

  def gradients(self, trainable, frozen, batch, key=None, active=None):
    """Differentiates the loss; a slot with a fault adds nothing to shared rows.

    The loss is differentiated with respect to the rows of prompts in the batch
    [B, L, D]. Those of slots that are not active, whose loss is not finite or
    whose gradient is not below `LARGEST_GRADIENT` are selected away. The others
    are then added up in the arrays of the bank.

    Args:
      trainable: see `loss`.
      frozen: see `loss`.
      batch: see `loss`.
      key: see `loss`.
      active: [N] bool, for trainable="prompt".

    Returns:
      (gradients, metrics). The metrics are those of `loss` and, for
      trainable="prompt", "gradient_faults" [N], 1 for a slot whose gradient is
      not sound.
    """
    if self.trainable == "everything":
      return jax.grad(self.loss, has_aux=True)(trainable, frozen, batch, key)

    def loss(rows):
      loss, *others = self._loss(trainable, frozen, batch, key, rows)
      return loss, others

    # Products with the zeros of other positions must be zeros.
    prompt = trainable["prompt"]
    prompt = select_rows(
      self.prompt_config,
      self.find_sound(prompt),
      prompt,
      jax.tree.map(jnp.zeros_like, prompt),
    )
    rows, add_up = jax.vjp(lambda own: self.prompt_rows(own, batch), prompt)
    rows, (metrics, healthy) = jax.grad(loss, has_aux=True)(rows)
    slot_ids = batch["encoder_slot_ids"]

    def add_chosen(chosen):
      own = jnp.where(chosen[slot_ids][..., None], rows, 0)
      return add_up(own)[0], _sum_squares(own)

    def find_faults(healthy):
      sound = jax.lax.map(
        lambda slot: self._is_sound(*add_chosen(healthy & (numbers == slot))),
        numbers,
      )
      return add_chosen(healthy & sound)[0], sound

    numbers = jnp.arange(self.num_slots)
    healthy &= active
    gradients, squares = add_chosen(healthy)
    # Only if something is not sound, each slot's gradient is made alone.
    gradients, sound = jax.lax.cond(
      self._is_sound(gradients, squares),
      lambda _: (gradients, jnp.ones_like(healthy)),
      find_faults,
      healthy,
    )
    faults = (~sound).astype(jnp.float32)
    return {"prompt": gradients}, {**metrics, "gradient_faults": faults}

  def _is_sound(self, gradients, squares):
    """Returns whether gradients of the bank's arrays and of rows are sound."""
    squares += sum(map(_sum_squares, jax.tree.leaves(gradients)))
    return squares < LARGEST_GRADIENT**2  # False for NaN.

  def _terms(self, params, teacher, batch, key, rows):
    """Returns each term's [(stack, values [B, T or L])]; see `loss`."""
    distill = self.loss_config.distill
    targets = batch["decoder_target_tokens"]
    num_chunks = self.plan.vocabulary_chunks(self.config, targets.shape)
    options = dict(
      all_hidden=distill is not None and distill.hidden_layers != "last",
      with_logits=num_chunks == 1,
    )
    output = self.network.apply(
      {"params": params},
      batch,
      deterministic=key is None,
      rows=rows,
      rngs=None if key is None else {"dropout": key},
      **options,
    )
    teacher_output = None
    if distill is not None:
      teacher_output = jax.lax.stop_gradient(
        T5(self.config, self.teacher_config, self.plan).apply(
          {"params": {**params, "prompt": teacher}}, batch, **options
        )
      )
    logits_of = functools.partial(
      terms.logits_of, self.network, params, num_chunks
    )
    made = terms.of_vocabulary(
      self.loss_config, logits_of, output, teacher_output, targets
    )
    if distill is not None and distill.hidden:
      made["hidden"] = [
        (stack, terms.hidden_error(distill, teacher_output, output, stack))
        for stack in distill.hidden_stacks
      ]
    return made

  def mean_weights(self, batch):
    """Returns weights that turn sums over this batch into means per group."""
    groups = jnp.asarray(self.groups)
    result = {}
    for stack in STACKS:
      ids = groups[batch[f"{stack}_slot_ids"]]
      num_groups = max(self.groups) + 1
      result[f"{stack}_mean_weights"] = losses.mean_weights(
        _position_weights(batch, stack), ids, num_groups
      )
    return result


def _sum_squares(x):
  return jnp.sum(jnp.square(x))


def _position_weights(batch, stack):
  """Returns the weight of each position of a stack's loss; 0 at padding."""
  if stack == "decoder":
    return batch["decoder_loss_weights"]
  return (batch["encoder_segment_ids"] > 0).astype(jnp.float32)
