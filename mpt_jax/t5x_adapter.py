"""The same experiments under t5x's programs: the one module that imports t5x.

`gin/launchers/t5x.train.gin` and its neighbours bind what `t5x.train`,
`t5x.eval` and `t5x.infer` ask for from the functions here, each of which takes
the `Experiment`. The network, the prompts, the losses, the examples of each
batch and the optimizer are those of the native launcher; t5x gives the loop,
the partitioning, the checkpoints and the evaluator.
"""

import dataclasses
import functools
import os
import pathlib

import clu.data
import clu.metrics
import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import seqio
import tensorflow as tf
from clu.data.dataset_iterator import ArraySpec, DatasetIterator

from mpt_jax import (
  backbones,
  batches,
  decoding,
  losses,
  pipeline,
  run_folder,
  setup_run,
  t5x_checkpoints,
)
from mpt_jax.experiment import Experiment
from mpt_jax.optimizers import make_optimizer, make_schedule

try:
  from t5x import checkpoints, models, optimizers, trainer, utils
  from t5x import metrics as t5x_metrics
except ImportError as error:
  raise ImportError(
    f"mpt_jax.t5x_adapter needs t5x and all that it imports ({error}). t5x is"
    " not on PyPI: install it as https://github.com/google-research/t5x says,"
    " and airio and jestimator, which are not on PyPI either, from their"
    " repositories; `python -m mpt_jax.train` runs the same files without it"
  ) from None

# Names in seqio's registry begin with it.
PREFIX = "mpt."


@functools.lru_cache(maxsize=1)
def assemble(experiment: Experiment) -> setup_run.Assembly:
  """The experiment's parts, loaded once for all functions of this module.

  The number of rows is fixed: t5x compiles a step for one shape. By default
  there is room for every example in a row of its own.
  """
  if experiment.batch.num_rows is None:
    batch = dataclasses.replace(
      experiment.batch, num_rows=experiment.mix.batch_size
    )
    experiment = dataclasses.replace(experiment, batch=batch)
  backbone = None
  if _is_t5x_checkpoint(experiment):
    # t5x itself reads the tensors, each device its own part.
    opened = backbones.open_backbone(experiment.backbone)
    config = dataclasses.replace(
      opened.config, dtype=experiment.dtype or opened.config.dtype
    )
    backbone = backbones.Backbone(
      config, None, opened.vocabulary_path, None, experiment.backbone
    )
  return setup_run.assemble(experiment, backbone=backbone)


def _is_t5x_checkpoint(experiment):
  path = experiment.backbone
  return path is not None and t5x_checkpoints.find_checkpoint(path) is not None


def absolute_path(path: str) -> str:
  """The path as orbax wants it; addresses such as gs://... stay."""
  return path if "://" in path else os.path.abspath(path)


def newest_checkpoint(path: str) -> str:
  """The newest step's folder in a run's folder; a step's folder itself.

  Raises:
    FileNotFoundError: there is no checkpoint.
  """
  path = absolute_path(path)
  steps = checkpoints.all_steps(path)
  if steps:
    return checkpoints.get_checkpoint_dir(path, max(steps))
  if t5x_checkpoints.find_checkpoint(path) is None:
    raise FileNotFoundError(
      f"no t5x checkpoint in {path}: give MODEL_DIR, the folder of a run of"
      " t5x.train, or CHECKPOINT_PATH"
    )
  return path


# --------------------------------------------------------------------- data


class PromptBatches(DatasetIterator):
  """The native launcher's batches, as arrays of one shape.

  Args:
    parts: the assembled experiment.
    shard: (index, count): this process's share of each batch.
  """

  def __init__(self, parts: setup_run.Assembly, shard=(0, 1)):
    batch = parts.experiment.batch
    if batch.num_rows % shard[1]:
      raise ValueError(
        f"num_rows={batch.num_rows} is not a multiple of the {shard[1]}"
        " processes that share a batch"
      )
    self._config = dataclasses.replace(
      batch, num_rows=batch.num_rows // shard[1]
    )
    experiment = parts.experiment
    self._initial = None
    if _is_t5x_checkpoint(experiment):
      self._initial = absolute_path(experiment.backbone).rstrip("/") + "/"
    self._stream = pipeline.ExampleStream(
      parts.tasks,
      [slot.data_name for slot in parts.experiment.slots],
      parts.experiment.mix,
      shard,
    )

  def __next__(self):
    return batches.make_batch(next(self._stream), self._config)[0]

  @property
  def element_spec(self):
    empty, _ = batches.make_batch([], self._config)
    return {k: ArraySpec(v.dtype, v.shape) for k, v in empty.items()}

  def save(self, filename):
    self._stream.save(filename)

  def restore(self, filename):
    # t5x also looks beside the checkpoint that the T5 is from.
    if self._initial and str(filename).startswith(self._initial):
      return
    self._stream.restore(filename)


def get_dataset(
  cfg,
  shard_id,
  num_shards,
  feature_converter_cls,
  num_epochs=None,
  continue_from_last_checkpoint=False,
  *,
  experiment: Experiment,
) -> PromptBatches:
  """t5x's `get_dataset_fn` for training."""
  del cfg, feature_converter_cls, num_epochs, continue_from_last_checkpoint
  return PromptBatches(assemble(experiment), (shard_id, num_shards))


class PromptFeatureConverter(seqio.FeatureConverter):
  """Task features to the rows of `batches.make_batch`, one example each.

  The task's features are those of an encoder-decoder task and `task_ids`, one
  number: the slot whose prompt is put before the inputs.

  Args:
    pack: must be False: t5x evaluates plain rows only.
    prompt_length: P.
    **kwargs: of `seqio.FeatureConverter`.
  """

  TASK_FEATURES = {
    name: seqio.FeatureConverter.FeatureSpec(dtype=tf.int32)
    for name in ("inputs", "targets", "task_ids")
  }
  MODEL_FEATURES = {
    name: seqio.FeatureConverter.FeatureSpec(
      dtype=tf.float32 if name.endswith("weights") else tf.int32
    )
    for name in (
      "encoder_input_tokens",
      "encoder_prompt_slots",
      "encoder_task_ids",
      "encoder_segment_ids",
      "decoder_input_tokens",
      "decoder_target_tokens",
      "decoder_loss_weights",
      "decoder_segment_ids",
      "decoder_task_ids",
    )
  }
  PACKING_FEATURE_DTYPES = {}

  def __init__(self, pack=False, *, prompt_length, **kwargs):
    if pack:
      raise ValueError("evaluation takes plain rows: pack must be False")
    self._prompt_length = prompt_length
    super().__init__(pack=False, **kwargs)

  def get_model_feature_lengths(self, task_feature_lengths):
    length = self._prompt_length + task_feature_lengths["inputs"]
    return {
      name: length
      if name.startswith("encoder")
      else task_feature_lengths["targets"]
      for name in self.MODEL_FEATURES
    }

  def _convert_features(self, ds, task_feature_lengths):
    prompt_length = self._prompt_length
    length = prompt_length + task_feature_lengths["inputs"]
    target_length = task_feature_lengths["targets"]

    def row(values, size):
      padded = tf.pad(values, [[0, size - tf.shape(values)[0]]])
      return tf.ensure_shape(padded, [size])

    def convert(example):
      inputs = example["inputs"][: task_feature_lengths["inputs"]]
      targets = example["targets"][:target_length]
      task_id = example["task_ids"][0]
      ones = tf.ones([prompt_length + tf.shape(inputs)[0]], tf.int32)
      target_ones = tf.ones_like(targets)
      before = tf.zeros([prompt_length], tf.int32)
      return {
        "encoder_input_tokens": row(tf.concat([before, inputs], 0), length),
        "encoder_prompt_slots": row(tf.range(1, prompt_length + 1), length),
        "encoder_task_ids": row(ones * task_id, length),
        "encoder_segment_ids": row(ones, length),
        "decoder_input_tokens": row(
          tf.concat([[0], targets[:-1]], 0), target_length
        ),
        "decoder_target_tokens": row(targets, target_length),
        "decoder_loss_weights": tf.cast(
          row(target_ones, target_length), tf.float32
        ),
        "decoder_segment_ids": row(target_ones, target_length),
        "decoder_task_ids": row(target_ones * task_id, target_length),
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def register_slots(parts: setup_run.Assembly) -> str:
  """Registers each slot's task with its number; seqio's evaluator asks names.

  Returns:
    The name of the mixture of all slots. Its tasks are PREFIX and the slot's
    name; those of an earlier experiment are replaced.
  """
  names = []
  for task_id, (slot, task) in enumerate(
    zip(parts.experiment.slots, parts.tasks, strict=True)
  ):
    name = PREFIX + slot.name
    numbered = task.replace(
      name=name,
      output_features={
        **task.output_features,
        "task_ids": seqio.Feature(
          seqio.PassThroughVocabulary(len(parts.tasks)), add_eos=False
        ),
      },
      preprocessors=[
        *task.preprocessors,
        functools.partial(_add_task_id, task_id=task_id),
      ],
    )
    _register(seqio.TaskRegistry, name, numbered)
    names.append(name)
  mixture = seqio.Mixture(PREFIX + "slots", names, default_rate=1.0)
  _register(seqio.MixtureRegistry, mixture.name, mixture)
  return mixture.name


def _add_task_id(dataset, task_id):
  return dataset.map(
    lambda example: {**example, "task_ids": tf.constant([task_id], tf.int32)}
  )


def _register(registry, name, provider):
  if name in registry.names():
    registry.remove(name)
  registry.add_provider(name, provider)


def train_dataset(experiment: Experiment) -> utils.DatasetConfig:
  """What t5x.train reads of the training data; see `get_dataset`."""
  batch = assemble(experiment).experiment.batch
  return _dataset_config(
    experiment, "train", batch.num_rows, shuffle=True, seed=experiment.mix.seed
  )


def eval_dataset(
  experiment: Experiment, split: str | None = None
) -> utils.DatasetConfig | None:
  """The slots' evaluation data: None where the experiment has no `eval`.

  Args:
    experiment: the settings.
    split: instead of the experiment's.
  """
  if experiment.eval is None and split is None:
    return None
  rows = 32 if experiment.eval is None else experiment.eval.num_rows
  return _dataset_config(
    experiment, split or experiment.eval.split, rows, shuffle=False, seed=0
  )


def _dataset_config(experiment, split, num_rows, shuffle, seed):
  parts = assemble(experiment)
  batch = parts.experiment.batch
  return utils.DatasetConfig(
    mixture_or_task_name=register_slots(parts),
    task_feature_lengths={
      "inputs": batch.inputs_length,
      "targets": batch.targets_length,
      "task_ids": 1,
    },
    split=split,
    batch_size=num_rows,
    shuffle=shuffle,
    seed=seed,
    use_cached=False,
    use_memory_cache=False,
  )


# -------------------------------------------------------------------- model


def optimizer_def(parts: setup_run.Assembly) -> optimizers.OptimizerDef:
  """The native optimizer for what trains, none for what is frozen.

  Raises:
    ValueError: an optimizer whose state t5x cannot partition; nothing trains.
  """
  experiment = parts.experiment
  if experiment.optimizer.name != "adamw":
    raise ValueError(
      f"OptimizerConfig.name={experiment.optimizer.name!r}: under t5x only"
      " adamw is known, as t5x cannot partition the other's state"
    )
  trains = make_optimizer(
    experiment.optimizer,
    experiment.total_steps,
    parts.model.groups,
    experiment.trainable,
  )
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
  """A frozen T5 with a bank of prompts, as t5x's programs want a model.

  Args:
    experiment: the settings.
  """

  def __init__(self, experiment: Experiment):
    self.parts = parts = assemble(experiment)
    self.experiment = parts.experiment
    # [N, P, D], set by the trainer: only training needs the teachers.
    self.teacher_prompts = None
    self.FEATURE_CONVERTER_CLS = functools.partial(
      PromptFeatureConverter, prompt_length=experiment.prompt_length
    )
    features = parts.tasks[0].output_features
    super().__init__(
      module=parts.model.network,
      input_vocabulary=features["inputs"].vocabulary,
      output_vocabulary=features["targets"].vocabulary,
      optimizer_def=optimizer_def(parts),
    )

  def get_initial_variables(self, rng, input_shapes, input_types=None):
    """Random parameters; `PromptInitializer` puts the real ones there."""
    del input_shapes, input_types
    return flax.core.freeze(self.parts.model.init_variables(rng))

  def loss_fn(self, params, batch, dropout_rng):
    """The experiment's loss, and its terms as t5x's metrics."""
    model = self.parts.model
    trainable, frozen = model.split_params(flax.core.unfreeze(params))
    frozen = jax.lax.stop_gradient(frozen)
    if self.experiment.loss.distill is not None:
      frozen["teacher_prompt"] = {
        "shared_prompt": jnp.asarray(self.teacher_prompts)
      }
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
      (tokens [B, T], {"scores": [B]}), log-probabilities under T5's length
      penalty.

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
    """[B] log-probability of each row's target."""
    if return_intermediates:
      raise ValueError("the network keeps no intermediates")
    logits = self._compute_logits(params, batch).logits
    scores = -losses.cross_entropy(logits, batch["decoder_target_tokens"])
    return jnp.sum(scores * batch["decoder_loss_weights"], axis=-1)


# --------------------------------------------------- parameters and the loop


class PromptInitializer(utils.TrainStateInitializer):
  """Starts from the experiment's prompts, and from its backbone's folder.

  A backbone in a t5x checkpoint is restored by t5x itself, after this.
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
      start["prompt"] = setup_run.starting_prompts(parts, embedding)
    put = lambda new, old: jax.device_put(
      np.asarray(new, old.dtype), old.sharding
    )
    params |= {k: jax.tree.map(put, v, params[k]) for k, v in start.items()}
    return state.replace_params(flax.core.freeze(params))


def _embedding(experiment, params):
  """The token embedding: of the t5x checkpoint, or the random one."""
  if experiment.backbone is None:
    return params["token_embedder"]["embedding"]
  folder = t5x_checkpoints.find_checkpoint(experiment.backbone)
  return t5x_checkpoints.T5xTensors(folder)["token_embedder/embedding"]


def restore_config(experiment: Experiment):
  """Restores a t5x checkpoint, all but the prompts, the optimizer and the step.

  None where the backbone is a folder with its own config, or random.
  """
  if not _is_t5x_checkpoint(experiment):
    return None
  return utils.RestoreCheckpointConfig(
    path=absolute_path(experiment.backbone),
    mode="specific",
    dtype="float32",
    fallback_to_scratch=True,
    assignment_map=((r"^.*prompt.*$", None), (r"^state.*$", None)),
  )


class PromptTrainer(trainer.Trainer):
  """t5x's loop with the native launcher's keys, means and prompt files.

  The run's folder gets experiment.json and, whenever t5x writes its metrics,
  prompts/last.safetensors: what `mpt predict`, `mpt export` and the next
  stage read, whichever launcher made it.
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
    self._model_dir = pathlib.Path(kwargs["summary_dir"])
    params = flax.core.unfreeze(train_state.params)
    backbone = model.parts.backbone
    if backbone.params is None:
      frozen = {k: v for k, v in params.items() if k != "prompt"}
      backbone = dataclasses.replace(
        backbone, fingerprint=backbones.fingerprint(backbone.config, frozen)
      )
    if experiment.loss.distill is not None:
      model.teacher_prompts = setup_run.teacher_prompts(
        experiment, backbone.fingerprint
      )
    self._parts = dataclasses.replace(model.parts, backbone=backbone)
    settings = {
      **experiment.to_json(),
      "launcher": "t5x",
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
      # Means over the whole batch, also where it is cut into microbatches.
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

  def train(self, batch_iter, num_steps, start_step=None):
    summary = super().train(batch_iter, num_steps, start_step)
    if jax.process_index() == 0 and "prompt" in self.train_state.params:
      prompt = jax.tree.map(
        lambda x: np.asarray(x.addressable_data(0)),
        flax.core.unfreeze(self.train_state.params["prompt"]),
      )
      bank = run_folder.make_bank(self._parts, prompt)
      bank.save(self._model_dir / "prompts" / "last.safetensors")
    return summary
