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
from mpt_jax.model import losses
from mpt_jax.model.config import T5Config
from mpt_jax.model.network import T5, init_variables
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig

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
      if (student.num_tasks, student.prompt_length) != (
        teacher.num_tasks,
        teacher.prompt_length,
      ):
        raise ValueError(
          "distillation compares prompts slot by slot: the students have"
          f" num_tasks={student.num_tasks},"
          f" prompt_length={student.prompt_length}, the teachers"
          f" {teacher.num_tasks} and {teacher.prompt_length}"
        )

  @property
  def network(self) -> T5:
    return T5(self.config, self.prompt_config, self.plan)

  @property
  def num_tasks(self) -> int:
    return len(self.groups)

  @property
  def groups(self) -> tuple[int, ...]:
    """Returns the independent group of each task; see `PromptConfig`."""
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

  def loss(self, trainable, frozen, batch, key=None):
    """Computes the loss of a batch, the sum of the means of the groups.

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
      the sum over each task's positions, and the number of these positions.
      "loss" is the task loss; "kl" and "hidden" exist for distillation only.
    """
    frozen = dict(frozen)
    teacher = frozen.pop("teacher_prompt", None)
    params = {**frozen, **trainable}
    distill = self.loss_config.distill
    if "decoder_mean_weights" not in batch:
      batch = {**batch, **self.mean_weights(batch)}
    all_hidden = distill is not None and distill.hidden_layers != "last"
    output = self.network.apply(
      {"params": params},
      batch,
      deterministic=key is None,
      all_hidden=all_hidden,
      rngs=None if key is None else {"dropout": key},
    )
    weights = batch["decoder_loss_weights"]
    task_ids = batch["decoder_task_ids"]
    token_loss = losses.cross_entropy(
      output.logits,
      batch["decoder_target_tokens"],
      self.loss_config.label_smoothing,
      self.loss_config.z_loss,
    )
    total = jnp.sum(token_loss * batch["decoder_mean_weights"])
    count = losses.sum_by(weights, task_ids, self.num_tasks)
    by_task = lambda x: losses.sum_by(x * weights, task_ids, self.num_tasks)
    metrics = {"loss": (by_task(token_loss), count)}
    if distill is None:
      return total, metrics

    teacher_output = jax.lax.stop_gradient(
      T5(self.config, self.teacher_config, self.plan).apply(
        {"params": {**params, "prompt": teacher}},
        batch,
        all_hidden=all_hidden,
      )
    )
    terms = 0.0
    if distill.kl:
      kl = distill.temperature**2 * losses.kl_divergence(
        teacher_output.logits, output.logits, distill.temperature
      )
      terms += jnp.sum(kl * batch["decoder_mean_weights"])
      metrics["kl"] = (by_task(kl), count)
    if distill.hidden:
      hidden, metrics["hidden"] = self._hidden_loss(
        teacher_output, output, batch
      )
      terms += hidden
    return total + distill.weight * terms, metrics

  def _hidden_loss(self, teacher, student, batch):
    distill = self.loss_config.distill
    total = 0.0
    sums = jnp.zeros((self.num_tasks,))
    counts = jnp.zeros((self.num_tasks,))
    for stack in distill.hidden_stacks:
      teacher_states = getattr(teacher, f"{stack}_hidden")
      student_states = getattr(student, f"{stack}_hidden")
      if isinstance(distill.hidden_layers, tuple):
        chosen = distill.hidden_layers
        if max(chosen) >= len(student_states):
          raise ValueError(
            f"hidden_layers={chosen}: the {stack} has states 0 to"
            f" {len(student_states) - 1}"
          )
        teacher_states = [teacher_states[i] for i in chosen]
        student_states = [student_states[i] for i in chosen]
      error = sum(
        losses.hidden_mse(t, s)
        for t, s in zip(teacher_states, student_states, strict=True)
      ) / len(student_states)
      total += jnp.sum(error * batch[f"{stack}_mean_weights"])
      task_ids = batch[f"{stack}_task_ids"]
      real = (batch[f"{stack}_segment_ids"] > 0).astype(jnp.float32)
      sums += losses.sum_by(error * real, task_ids, self.num_tasks)
      counts += losses.sum_by(real, task_ids, self.num_tasks)
    return total / len(distill.hidden_stacks), (sums, counts)

  def mean_weights(self, batch):
    """Returns weights that turn sums over this batch into means per group."""
    groups = jnp.asarray(self.groups)
    result = {}
    for stack, weights in (
      ("encoder", (batch["encoder_segment_ids"] > 0).astype(jnp.float32)),
      ("decoder", batch["decoder_loss_weights"]),
    ):
      ids = groups[batch[f"{stack}_task_ids"]]
      num_groups = max(self.groups) + 1
      result[f"{stack}_mean_weights"] = losses.mean_weights(
        weights, ids, num_groups
      )
    return result
