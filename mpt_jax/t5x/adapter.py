"""The model, the trainer and the initial values for t5x's programs.

`gin/launchers/t5x.*.gin` bind the arguments of `t5x.train`, `t5x.eval` and
`t5x.infer` to the functions here and in `data`, each of which takes the
`Experiment`. The network, the prompts, the losses, the examples of each batch
and the optimizer are those of the native launcher. The loop, the partitioning,
the checkpoints and the evaluator are t5x's. Nothing else in the library imports
t5x.
"""

import dataclasses
import functools

import clu.metrics
import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

# isort: off
from mpt_jax.t5x import (
  data,
)  # Must be first: without t5x its error says what to do.
from t5x import models, optimizers, trainer, utils
from t5x import metrics as t5x_metrics

# isort: on
from mpt_jax.backbones import t5x_checkpoints
from mpt_jax.backbones.fingerprints import fingerprint
from mpt_jax.inference import decoding
from mpt_jax.io import paths
from mpt_jax.model import losses, partitioning
from mpt_jax.prompts.plain import plain_params
from mpt_jax.t5x import tasks
from mpt_jax.training import assembly, run_folder
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import make_schedule


def optimizer_def(parts: assembly.Assembly) -> optimizers.OptimizerDef:
  """Returns the native optimizer for trained parameters, none for frozen ones.

  Raises:
    ValueError: t5x cannot partition the optimizer's state, or nothing trains.
  """
  experiment = parts.experiment
  if experiment.optimizer.name != "adamw":
    raise ValueError(
      f"OptimizerConfig.name={experiment.optimizer.name!r}: under t5x only"
      " adamw is known, as t5x cannot partition the other's state"
    )
  trains = parts.make_optimizer()
  return optimizers.OptaxWrapper(
    optax.multi_transform(
      {"prompt": trains, "frozen": optax.set_to_zero()},
      functools.partial(trainable_labels, trainable=experiment.trainable),
    )
  )


def trainable_labels(params, trainable: str):
  """Labels each parameter "prompt" (it trains) or "frozen".

  Raises:
    ValueError: no parameter trains; the message lists the parameters.
  """

  def label(path, _):
    everything = trainable == "everything"
    return "prompt" if everything or path[0].key == "prompt" else "frozen"

  labels = jax.tree.map_with_path(label, params)
  if "prompt" not in jax.tree.leaves(labels):
    names = [
      jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(params)
    ]
    raise ValueError(
      f"trainable={trainable!r} matches none of the parameters:"
      f" {', '.join(names)}"
    )
  return labels


class PromptModel(models.BaseTransformerModel):
  """A frozen T5 with a bank of prompts, with the interface of t5x's models.

  Args:
    experiment: the settings.
  """

  def __init__(self, experiment: Experiment):
    self.parts = parts = data.assemble(experiment)
    self.experiment = parts.experiment
    # The teachers [N, P, D]. The trainer sets them: only training needs them.
    self.teacher_prompts = None
    self.FEATURE_CONVERTER_CLS = functools.partial(
      tasks.PromptFeatureConverter, prompt_length=experiment.prompt_length
    )
    features = parts.tasks[0].output_features
    super().__init__(
      module=parts.model.network,
      input_vocabulary=features["inputs"].vocabulary,
      output_vocabulary=features["targets"].vocabulary,
      optimizer_def=optimizer_def(parts),
    )

  def get_initial_variables(self, rng, input_shapes, input_types=None):
    """Returns random parameters, which `PromptInitializer` replaces."""
    del input_shapes, input_types
    return flax.core.freeze(self.parts.model.init_variables(rng))

  def loss_fn(self, params, batch, dropout_rng):
    """Returns the experiment's loss, and its terms as t5x's metrics."""
    model = self.parts.model
    trainable, frozen = model.split_params(flax.core.unfreeze(params))
    frozen = jax.lax.stop_gradient(frozen)
    if self.experiment.loss.distill is not None:
      teachers = jnp.asarray(self.teacher_prompts)
      frozen["teacher_prompt"] = plain_params(teachers)
    key = dropout_rng if model.config.dropout_rate > 0 else None
    loss, terms = model.loss(trainable, frozen, batch, key)
    metrics = {
      name: clu.metrics.Average(total=total.sum(), count=count.sum())
      for name, (total, count) in terms.items()
    }
    metrics["objective"] = t5x_metrics.AveragePerStep.from_model_output(loss)
    return loss, metrics

  def _compute_logits(
    self, params, batch, dropout_rng=None, mutable=False, other_variables=None
  ):
    return self.module.apply(
      {"params": params, **(other_variables or {})},
      batch,
      deterministic=dropout_rng is None,
      rngs=None if dropout_rng is None else {"dropout": dropout_rng},
      mutable=mutable,
    )

  def predict_batch_with_aux(
    self,
    params,
    batch,
    rng=None,
    decoder_params=None,
    return_all_decodes=False,
    num_decodes=None,
  ):
    """Greedy or beam decoding of plain rows, each behind its own prompt.

    Returns:
      (tokens [B, T], {"scores": [B]}). Scores are log-probabilities with T5's
      length penalty.

    Raises:
      ValueError: sampling or all beams are asked for.
    """
    del rng
    if return_all_decodes or decoder_params:
      raise ValueError(
        "only the best decode is returned, and there are no decoder_params"
      )
    if num_decodes is None:
      num_decodes = (
        self.experiment.eval.num_beams if self.experiment.eval else 1
      )
    max_length = batch["decoder_input_tokens"].shape[1]
    tokens, scores = decoding.beam_decode(
      self.module, params, batch, max_length, num_decodes
    )
    return tokens, {"scores": scores}

  def score_batch(self, params, batch, return_intermediates=False):
    """Returns the log-probability [B] of each row's target."""
    if return_intermediates:
      raise ValueError("the network keeps no intermediates")
    logits = self._compute_logits(params, batch).logits
    scores = -losses.cross_entropy(logits, batch["decoder_target_tokens"])
    return jnp.sum(scores * batch["decoder_loss_weights"], axis=-1)


# --------------------------------------------------- parameters and the loop


class PromptInitializer(utils.TrainStateInitializer):
  """Initial values: the experiment's prompts, and its backbone's folder.

  If the backbone is a t5x checkpoint, t5x itself restores it afterwards.
  """

  def __init__(self, optimizer_def, init_fn, *args, **kwargs):
    self._model = init_fn.__self__
    super().__init__(optimizer_def, init_fn, *args, **kwargs)

  def from_scratch(self, init_rng):
    state = super().from_scratch(init_rng)
    parts = self._model.parts
    params = flax.core.unfreeze(state.params)
    backbone = parts.backbone.params
    if backbone is None:
      embedding = _embedding(parts.experiment, params)
    else:
      embedding = backbone["token_embedder"]["embedding"]
    start = dict(backbone or {})
    if parts.model.prompt_config is not None:
      start["prompt"] = assembly.starting_prompts(parts, embedding)
    put = lambda new, old: jax.device_put(
      np.asarray(new, old.dtype), old.sharding
    )
    params |= {k: jax.tree.map(put, v, params[k]) for k, v in start.items()}
    return state.replace_params(flax.core.freeze(params))


def _embedding(experiment, params):
  """Returns the token embedding of the t5x checkpoint, or the random one."""
  if experiment.backbone is None:
    return params["token_embedder"]["embedding"]
  folder = t5x_checkpoints.find_checkpoint(experiment.backbone)
  return t5x_checkpoints.T5xTensors(folder)["token_embedder/embedding"]


def restore_config(experiment: Experiment):
  """Restores a t5x checkpoint, all but the prompts, the optimizer and the step.

  None if the backbone is a folder with its own config, or random.
  """
  if not data.is_t5x_checkpoint(experiment.backbone):
    return None
  return utils.RestoreCheckpointConfig(
    path=paths.absolute(experiment.backbone),
    mode="specific",
    dtype="float32",
    fallback_to_scratch=True,
    assignment_map=((r"^.*prompt.*$", None), (r"^state.*$", None)),
  )


class PromptTrainer(trainer.Trainer):
  """t5x's loop with the native launcher's keys, means and prompt files.

  The run's folder gets experiment.json and, whenever t5x writes its metrics,
  prompts/last.safetensors. `mpt predict`, `mpt export` and the next stage read
  these files, whichever launcher wrote them. Dropout masks equal those of the
  native launcher, except with microbatches: t5x chooses their rows and splits
  their keys.

  Raises:
    ValueError: the run's folder holds another experiment.
    TypeError: the batches do not come from `data.get_dataset`.
  """

  def __init__(self, model: PromptModel, train_state, **kwargs):
    experiment = model.experiment
    schedule = make_schedule(experiment.optimizer, experiment.total_steps)
    rate = experiment.optimizer.learning_rate
    super().__init__(
      model=model,
      train_state=train_state,
      learning_rate_fn=lambda step: rate * schedule(step),
      num_microbatches=experiment.num_microbatches,
      **kwargs,
    )
    self._base_rng = jax.random.key(experiment.seed)
    self._model_dir = epath.Path(kwargs["summary_dir"])
    params = flax.core.unfreeze(train_state.params)
    backbone = model.parts.backbone
    if backbone.params is None:
      frozen = {k: v for k, v in params.items() if k != "prompt"}
      backbone = dataclasses.replace(
        backbone, fingerprint=fingerprint(backbone.config, frozen)
      )
    if experiment.loss.distill is not None:
      model.teacher_prompts = assembly.teacher_prompts(
        experiment, backbone.fingerprint
      )
    self._parts = dataclasses.replace(model.parts, backbone=backbone)
    settings = {
      **data.run_settings(model.parts),
      "backbone_fingerprint": backbone.fingerprint,
    }
    path = self._model_dir / run_folder.SETTINGS
    if path.exists():
      run_folder.check_model_dir(self._model_dir, settings)
    run_folder.write_settings(self._model_dir, settings, None)

  @functools.cached_property
  def _partitioned_train_step(self):
    model = self._model.parts.model

    def train_step(train_state, batch):
      # Means over the whole batch, even if it is cut into microbatches.
      batch = {**batch, **model.mean_weights(batch)}
      return trainer.train_with_lr(
        train_state,
        batch,
        learning_rate=self._learning_rate_fn(train_state.step),
        dropout_rng=self._get_step_rng(train_state.step),
        model=self._model,
        num_microbatches=self._num_microbatches,
        data_partition_spec=self._partitioner.data_partition_spec,
      )

    return self._partitioner.partition(
      train_step,
      in_axis_resources=(
        self._train_state_axes,
        self._partitioner.data_partition_spec,
      ),
      out_axis_resources=(self._train_state_axes, None),
      donate_argnums=(0,),
    )

  def compile_train(self, batch):
    """Does nothing: each number of rows is compiled on first use."""

  def train(self, batch_iter, num_steps, start_step=None):
    batches = data.find_batches(batch_iter)
    mesh = self._partitioner.mesh
    row_multiple = mesh.shape["data"] * self._num_microbatches
    arrays = (
      partitioning.put_batch(mesh, batches.next_batch(row_multiple))
      for _ in range(num_steps)
    )
    summary = super().train(arrays, num_steps, start_step)
    if jax.process_index() == 0 and "prompt" in self.train_state.params:
      prompt = jax.tree.map(
        lambda x: np.asarray(x.addressable_data(0)),
        flax.core.unfreeze(self.train_state.params["prompt"]),
      )
      trained = run_folder.make_bank(self._parts, prompt)
      trained.save(self._model_dir / "prompts" / "last.safetensors")
    return summary
