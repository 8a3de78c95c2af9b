"""The model and the initial values for t5x's programs.

`gin/launchers/t5x.*.gin` bind the arguments of `t5x.train`, `t5x.eval` and
`t5x.infer` to the functions here, in `data` and in `trainer`, which take the
`Experiment`. The network, the prompts, the losses, the examples of each batch
and the optimizer are those of the native launcher. The loop, the partitioning,
the checkpoints and the evaluator are t5x's. Nothing else in the library imports
t5x.
"""

import functools

import clu.metrics
import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax

# isort: off
from mpt_jax.t5x import (
  data,
)  # Must be first: without t5x its error says what to do.
from t5x import metrics as t5x_metrics
from t5x import models, optimizers, utils

# isort: on
from mpt_jax.backbones import t5x_checkpoints
from mpt_jax.data.labels import label_names, label_tokens
from mpt_jax.inference import evaluator
from mpt_jax.inference.engine import decoding
from mpt_jax.io import paths
from mpt_jax.model import losses
from mpt_jax.prompts.plain import plain_params
from mpt_jax.t5x import tasks
from mpt_jax.training import assembly
from mpt_jax.training.experiment import Experiment


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
    prompts: the arrays of a bank to answer with, in place of those of the
      checkpoint; None for no others.
  """

  def __init__(self, experiment: Experiment, prompts=None):
    self._prompts = prompts
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
    """Returns the experiment's loss, and its terms as t5x's metrics.

    t5x calls this for the loss of evaluation rows by teacher forcing; the
    trainer has the native step.
    """
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

  @functools.cached_property
  def _labels(self):
    """The token ids of each slot's labels, which `Evaluator` ranks.

    Returns:
      [N, C, T] int32, zeros after a label's end and for labels that a slot
      lacks; a slot without labels has none.
    """
    tasks_labels = [()] * len(self.parts.tasks)
    if self._evaluation.method != "decode":
      tasks_labels = [
        label_tokens(task) if label_names(task) else ()
        for task in self.parts.tasks
      ]
    labels = [label for own in tasks_labels for label in own]
    table = np.zeros(
      (
        len(tasks_labels),
        max(map(len, tasks_labels)),
        max(map(len, labels), default=0),
      ),
      np.int32,
    )
    for slot, own in enumerate(tasks_labels):
      for i, label in enumerate(own):
        table[slot, i, : len(label)] = label
    return table

  @property
  def _evaluation(self):
    return self.experiment.eval or evaluator.EvalConfig()

  def predict_batch_with_aux(
    self,
    params,
    batch,
    rng=None,
    decoder_params=None,
    return_all_decodes=False,
    num_decodes=None,
  ):
    """Answers plain rows, each behind its own prompt, as `mpt predict` does.

    Returns:
      (tokens [B, T], {"scores": [B]}). For a task with labels these are the
      best label and its score, as `EvalConfig.method` says. Otherwise the
      tokens are generated, and T5's length penalty is applied to the score. If
      a score is not finite, the tokens are `decoding.NOT_FINITE`.

    Raises:
      ValueError: sampling or all beams are asked for.
    """
    del rng
    if return_all_decodes or decoder_params:
      raise ValueError(
        "only the best decode is returned, and there are no decoder_params"
      )
    params = data.with_prompts(params, self._prompts)
    slot_ids = batch["encoder_slot_ids"][:, 0]
    ranks = self._labels.any((1, 2))  # [N]
    answers = []
    if ranks.any():
      answers.append(self._rank(params, batch, slot_ids))
    if not ranks.all():
      answers.append(
        decoding.beam_decode(
          self.module,
          params,
          batch,
          batch["decoder_input_tokens"].shape[1],
          num_decodes or self._evaluation.num_beams,
        )
      )
    tokens, scores = answers[0]
    if len(answers) == 2:
      text, text_scores = answers[1]
      length = max(tokens.shape[1], text.shape[1])
      ranked = jnp.asarray(ranks)[slot_ids]
      tokens, text = (
        jnp.pad(x, ((0, 0), (0, length - x.shape[1]))) for x in (tokens, text)
      )
      tokens = jnp.where(ranked[:, None], tokens, text)
      scores = jnp.where(ranked, scores, text_scores)
    is_finite = jnp.isfinite(scores)[:, None]
    return jnp.where(is_finite, tokens, decoding.NOT_FINITE), {"scores": scores}

  def _rank(self, params, batch, slot_ids):
    """Returns each row's best label [B, T], and its score [B].

    The score is NaN if that of any label is not finite.

    Args:
      params: all parameters.
      batch: plain rows.
      slot_ids: [B] int, the slot of each row.
    """
    labels = jnp.asarray(self._labels)[slot_ids]  # [B, C, T]
    encoded = decoding.encode(self.module, params, batch)

    def score(targets):  # [B, T] -> [B]
      is_token = (targets > 0).astype(jnp.int32)
      logits, _ = self.module.apply(
        {"params": params},
        encoded,
        batch["encoder_segment_ids"],
        jnp.pad(targets[:, :-1], ((0, 0), (1, 0))),
        is_token,
        method="decode",
      )
      return -jnp.sum(losses.cross_entropy(logits, targets) * is_token, axis=-1)

    # One label after the other, so that many labels need no more memory.
    scores = jax.lax.map(score, jnp.moveaxis(labels, 1, 0))  # [C, B]
    lengths = jnp.sum(labels > 0, axis=-1).T
    if self._evaluation.method == "rank_per_token":  # See `labels.per_token`.
      scores = scores / jnp.maximum(lengths, 1)
    is_sound = jnp.all(jnp.isfinite(scores) | (lengths == 0), axis=0)  # [B]
    scores = jnp.where(lengths > 0, scores, -jnp.inf)
    rows = jnp.arange(len(slot_ids))
    best = scores.argmax(axis=0)
    return labels[rows, best], jnp.where(is_sound, scores[best, rows], jnp.nan)

  def score_batch(self, params, batch, return_intermediates=False):
    """Returns the log-probability [B] of each row's target."""
    if return_intermediates:
      raise ValueError("the network keeps no intermediates")
    params = data.with_prompts(params, self._prompts)
    logits = self._compute_logits(params, batch).logits
    scores = -losses.cross_entropy(logits, batch["decoder_target_tokens"])
    return jnp.sum(scores * batch["decoder_loss_weights"], axis=-1)


# -------------------------------------------------------------- parameters


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

    def put(new, old):
      return jax.device_put(np.asarray(new, old.dtype), old.sharding)

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
