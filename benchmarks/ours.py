"""Our side of each row: the library as its training loop uses it."""

import jax
import numpy as np
from workload import TARGETS_LENGTH

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import partitioning
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.training.optimizers import OptimizerConfig, make_optimizer
from mpt_jax.training.step import (
  init_train_state,
  make_train_step,
  state_shardings,
)

OPTIMIZER = OptimizerConfig(schedule="constant", warmup_fraction=0.0)


def init_params(config, seed):
  """Random parameters of a T5 at the scales that T5 starts from, in NumPy."""
  model = Model(config, trainable="everything")
  params = jax.jit(model.init_variables)(jax.random.key(seed))["params"]
  # `load_backbone` returns them in the dtype of the computation, too.
  return jax.tree.map(lambda x: np.asarray(x.astype(config.dtype)), params)


def init_prompts(params, num_slots, num_groups, prompt_length, rank, seed):
  """A bank's starting values: rows of the embedding, factors around one."""
  embedding = np.asarray(params["token_embedder"]["embedding"], np.float32)
  rng = np.random.default_rng(seed)

  def draw(*shape):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)

  rows = rng.integers(3, len(embedding), (num_groups, prompt_length))
  prompts = {"shared_prompt": embedding[rows]}
  if rank:
    prompts["task_columns"] = draw(num_slots, prompt_length, rank)
    prompts["task_rows"] = draw(num_slots, rank, embedding.shape[1])
  return prompts


def batch_config(workload, prompt_length, num_slots, **options):
  """The lengths of the workload; `options` are `BatchLayout`'s."""
  return BatchLayout(
    inputs_length=workload.inputs_length,
    targets_length=TARGETS_LENGTH,
    prompt_length=prompt_length,
    num_slots=num_slots,
    **options,
  )


class Trainer:
  """Steps of a stage: batches made, sent to the device, trained on.

  Args:
    config: the T5's shape.
    params: its parameters.
    prompts: the bank's starting values.
    batch_config: lengths and packing.
    teacher_prompts: [N, P, D], for distillation.
    groups: see `PromptConfig.groups`.
    row_each: True makes as many rows as examples, instead of
      `batch_config.num_rows`.
  """

  def __init__(
    self,
    config,
    params,
    prompts,
    batch_config,
    teacher_prompts=None,
    groups=None,
    row_each=False,
  ):
    num_slots, length = batch_config.num_slots, batch_config.prompt_length
    rank = prompts["task_columns"].shape[-1] if "task_columns" in prompts else 0
    self.distills = distill = teacher_prompts is not None
    self.model = Model(
      config,
      PromptConfig(
        num_slots=num_slots, prompt_length=length, rank=rank, groups=groups
      ),
      PromptConfig(num_slots=num_slots, prompt_length=length, rank=0)
      if distill
      else None,
      LossConfig(distill=DistillConfig() if distill else None),
      plan=(
        BySegments.for_batches(batch_config)
        if batch_config.long_rows
        else Dense()
      ),
    )
    self._batch_config, self._row_each = batch_config, row_each
    # Use one device, like the peer.
    device = np.array(jax.devices()[:1]).reshape(1, 1)
    self._mesh = jax.sharding.Mesh(device, ("data", "model"))

    def put(tree):
      return jax.device_put(tree, partitioning.replicated(self._mesh))

    self._frozen = self.model.plan.prepare(put(params))
    if distill:
      self._frozen["teacher_prompt"] = put({"shared_prompt": teacher_prompts})
    optimizer = make_optimizer(OPTIMIZER, 1, self.model.prompt_config)
    self._state = init_train_state(
      self.model, optimizer, {"prompt": prompts}, self._mesh
    )
    self._step = make_train_step(
      self.model,
      optimizer,
      None if batch_config.long_rows else 1,
      state_shardings(self._state, self._mesh),
    )
    self._key = jax.random.key(0)

  def shape(self, examples):
    """The shapes for which the program is compiled."""
    batch, _ = self._make_batch(examples)
    return tuple((k, v.shape) for k, v in sorted(batch.items()))

  def padding(self, examples):
    """The fraction of the batch's positions that are padding."""
    return self._make_batch(examples)[1].padding_fraction

  def _make_batch(self, examples):
    rows = len(examples) if self._row_each else None
    return make_batch(examples, self._batch_config, rows)

  def run(self, batches):
    """A step on each list of examples; returns the last step's metrics.

    The host makes a batch while the device still trains on the one before, as
    in `mpt_jax.train`.
    """
    for examples in batches:
      batch, _ = self._make_batch(examples)
      batch = partitioning.put_batch(self._mesh, batch)
      self._state, metrics = self._step(
        self._state, self._frozen, batch, self._key
      )
    jax.block_until_ready(self._state)
    return metrics

  def terms(self, examples):
    """Trains on a batch; returns mean loss terms and the gradient's norm."""
    metrics = self.run([examples])

    def mean(x):
      return float(x[0].sum() / x[1].sum())

    terms = {
      k: mean(metrics[k]) for k in ("loss", "kl", "hidden") if k in metrics
    }
    return {**terms, "grad_norm": float(metrics["grad_norm"])}

  @property
  def prompts(self):
    return jax.tree.map(np.asarray, self._state.params["prompt"])
