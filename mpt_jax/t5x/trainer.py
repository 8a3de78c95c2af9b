"""The trainer for t5x's loop: native steps, evaluations and prompt files."""

import dataclasses
import signal

import flax.core
import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import NamedSharding
from t5x import trainer

from mpt_jax.backbones.fingerprints import fingerprint
from mpt_jax.io import signals
from mpt_jax.model import partitioning
from mpt_jax.t5x import data, evaluation, sums
from mpt_jax.t5x.adapter import BY_SLOT, PromptModel
from mpt_jax.training import agreement, assembly, run_folder
from mpt_jax.training.best import init_best, update_best
from mpt_jax.training.metrics_log import Window, check_finite
from mpt_jax.training.optimizers import make_schedule


class Preempted(trainer.PreemptionError):
  """A signal ended the run; t5x saves a checkpoint before it passes this on.

  Attributes:
    saved: a line for the user.
    model_dir: the run's folder.
    signum: the signal; SIGTERM if another process got it.
  """

  def __init__(self, step: int, total_steps: int, model_dir, signum):
    folder = model_dir / f"checkpoint_{step}"
    self.saved = f"step {step} of {total_steps} is saved in {folder}"
    super().__init__(self.saved)
    self.model_dir, self.signum = model_dir, signum or signal.SIGTERM


class PromptTrainer(trainer.Trainer):
  """t5x's trainer with the native launcher's keys, means and files.

  It evaluates at the same steps as the native launcher, whichever step a run
  resumes at, and before t5x saves a checkpoint. So the checkpoint holds the
  best prompts so far. The run's folder gets experiment.json and, whenever t5x
  writes its metrics, prompts/last.safetensors and prompts/best.safetensors.
  `mpt predict`, `mpt export` and the next stage read these files, whichever
  launcher wrote them. Dropout masks equal those of the native launcher, except
  with microbatches: t5x chooses their rows and splits their keys.

  Args:
    model: the model.
    train_state: the state to start from.
    partitioner: t5x's partitioner.
    train_state_axes: the partition specs of the state.
    summary_dir: the run's folder.
    rng: ignored; the settings have a seed.
    **kwargs: see `trainer.Trainer`.

  Raises:
    ValueError: the run's folder holds another experiment.
    TypeError: the batches do not come from `data.get_dataset`.
    TrainingDiverged: a loss, a gradient or a prompt is not finite.
    Preempted: a signal ended the run.
  """

  def __init__(
    self,
    model: PromptModel,
    train_state,
    partitioner,
    train_state_axes,
    summary_dir,
    rng=None,
    **kwargs,
  ):
    del rng
    self._experiment = experiment = model.experiment
    self._summary_dir = epath.Path(summary_dir)
    self._parts = _prepare(model, train_state, self._summary_dir)
    schedule = make_schedule(experiment.optimizer, experiment.total_steps)
    rate = experiment.optimizer.learning_rate
    base_key = jax.random.key(experiment.seed)
    super().__init__(
      model=model,
      train_state=train_state,
      partitioner=partitioner,
      train_state_axes=train_state_axes,
      summary_dir=summary_dir,
      rng=base_key,
      learning_rate_fn=lambda step: rate * schedule(step),
      num_microbatches=experiment.num_microbatches,
      **kwargs,
    )
    self._batch_sharding = NamedSharding(
      partitioner.mesh, partitioner.data_partition_spec
    )
    self._row_multiple = (
      partitioner.data_mesh_size * experiment.num_microbatches
    )
    self._step = partitioner.partition(
      _make_step(
        model,
        base_key,
        lambda step: rate * schedule(step),
        partitioner.data_partition_spec,
      ),
      in_axis_resources=(train_state_axes, partitioner.data_partition_spec),
      out_axis_resources=(train_state_axes, None, None),
      donate_argnums=(0,),
    )
    self._window = Window(experiment.slots)
    # Without a handler, as in a thread, no signal comes.
    self._stop = signals.current() or signals.Stop(None)
    self._stop.is_deferred = True
    self._agreed = agreement.Agreement(self._stop, None)
    self._record = None
    self._evaluate, self._metrics, self._stops = None, (), False
    if experiment.eval is not None:
      self._evaluate = evaluation.Evaluation(
        self._parts, partitioner.mesh, summary_dir
      )

  def compile_train(self, batch):
    """Does nothing: each number of rows is compiled on first use."""

  def train(self, batch_iter, num_steps, start_step=None):
    """Trains, and evaluates at the steps of the native launcher."""
    stream = data.find_batches(batch_iter)
    step = int(self.train_state.step if start_step is None else start_step)
    sums.write(self._summary_dir)
    if self._record is None:
      best = init_best(self._parts.model, self._trainable())
      self._record = stream.record or {"best": best, "evaluated": np.int32(0)}
      if self._is_due(step) and self._record["evaluated"] < step:
        self._run_evaluation(step)
    summary, last = None, step + num_steps
    while step < last and not self._stops:
      step, summary = self._run(
        stream, step, min(last, self._next_evaluation(step))
      )
      if self._is_due(step) and not self._stops:
        self._run_evaluation(step)
    stream.record = self._record
    self._write_prompts(step)
    self._agreed.meet(step)
    if self._stops:
      raise Preempted(
        step,
        self._experiment.total_steps,
        self._summary_dir,
        self._agreed.signum,
      )
    return summary

  def close(self):
    """Writes what t5x's last checkpoint lacks, and gives the folder free."""
    super().close()
    sums.write(self._summary_dir)
    self._stop.is_deferred = False

  def _run(self, stream, start, end):
    """Runs the steps from `start` to `end`, or until the run has to stop.

    Returns:
      (the steps done, t5x's summary of them).
    """
    state, metrics = self.train_state, None
    self.train_metrics_manager.start_duration_timer(block_on=state)
    for step in range(start, end):
      batch, stats = stream.next_batch(self._row_multiple)
      self._agreed.see(batch)
      batch = partitioning.put(batch, self._batch_sharding)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        state, update, by_slot = self._step(state, batch)
      metrics = trainer.merge_metrics(metrics, update) if metrics else update
      self._window.push(step + 1, stats, by_slot)
      # The last step ends the run anyway.
      if self._agreed.should_stop() and step + 1 < self._experiment.total_steps:
        self._stops, end = True, step + 1
        break
    self._window.flush()
    self.train_state = state
    return end, self.train_metrics_manager.write_metrics_summary(
      metrics, end, end - start
    )

  def _is_due(self, step) -> bool:
    return self._evaluate is not None and (
      step == self._experiment.total_steps
      or step % self._experiment.eval.period == 0
    )

  def _next_evaluation(self, step) -> int:
    """Returns the first later step that may be evaluated."""
    if self._evaluate is None:
      return self._experiment.total_steps
    period = self._experiment.eval.period
    return min(self._experiment.total_steps, (step // period + 1) * period)

  def _trainable(self):
    params = flax.core.unfreeze(self.train_state.params)
    return self._parts.model.split_params(params)[0]

  def _run_evaluation(self, step):
    self._metrics = self._evaluate(self.train_state.params, step)
    self._record["evaluated"] = np.int32(step)
    self._record["best"] = update_best(
      self._record["best"],
      self._trainable(),
      self._metrics,
      self._parts.model,
      self._evaluate.names,
      step,
    )

  def _write_prompts(self, step):
    """Writes the prompt files; a T5 that trains is written at the last step."""
    trainable = self._trainable()
    model = self._parts.model
    check_finite(trainable, self._experiment.slots, model.prompt_config, step)
    everything = model.trainable == "everything"
    if everything and step < self._experiment.total_steps:
      return
    run_folder.write_prompts(
      self._summary_dir,
      self._parts,
      trainable,
      self._record["best"],
      self._evaluate and self._evaluate.names,
      self._metrics if self._record["evaluated"] == step else (),
    )


def _prepare(model, train_state, folder) -> assembly.Assembly:
  """Loads the teachers and writes the settings; returns the run's parts."""
  experiment = model.experiment
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
  settings = {
    **data.run_settings(model.parts),
    "backbone_fingerprint": backbone.fingerprint,
  }
  if (folder / run_folder.SETTINGS).exists():
    run_folder.check_model_dir(folder, settings)
  run_folder.write_settings(folder, settings, None)
  return dataclasses.replace(model.parts, backbone=backbone)


def _make_step(model: PromptModel, base_key, learning_rate, batch_spec):
  """Makes the function of one step.

  Returns:
    A function (state, batch) -> (state, t5x's metrics, the metrics of
    `training.step.make_train_step`).
  """
  experiment, native = model.experiment, model.parts.model

  def step(state, batch):
    # Means over the whole batch, even if it is cut into microbatches.
    batch = {**batch, **native.mean_weights(batch)}
    gradients, metrics, _ = trainer.accumulate_grads_microbatched(
      model,
      state,
      batch,
      jax.random.fold_in(base_key, state.step),
      experiment.num_microbatches,
      batch_spec,
    )
    metrics = dict(metrics)
    by_slot = {
      name.removeprefix(BY_SLOT): (average.total, average.count)
      for name, average in metrics.items()
      if name.startswith(BY_SLOT)
    }
    for name in by_slot:
      del metrics[BY_SLOT + name]
    trained, _ = native.split_params(flax.core.unfreeze(gradients))
    by_slot["grad_norm"] = optax.global_norm(trained)
    state, metrics = trainer.apply_grads(
      state, gradients, metrics, learning_rate(state.step), None
    )
    return state, metrics, by_slot

  return step
