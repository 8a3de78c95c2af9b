"""The trainer for t5x's loop: native steps, evaluations and prompt files."""

import dataclasses
import signal
import sys

import flax.core
import jax
import numpy as np
from etils import epath
from jax.sharding import NamedSharding, PartitionSpec
from t5x import trainer

from mpt_jax.backbones.fingerprints import fingerprint
from mpt_jax.io.errors import ExitCode
from mpt_jax.model import faults, partitioning
from mpt_jax.process import signals
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.plain import plain_params
from mpt_jax.t5x import data, evaluation, sums
from mpt_jax.t5x.adapter import PromptModel
from mpt_jax.t5x.step import make_step
from mpt_jax.training import agreement, assembly, run_folder
from mpt_jax.training.best import init_best, update_best
from mpt_jax.training.metrics_log import Window, check_finite, print_faults
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
  launcher wrote them. The step is the native one, so a slot that diverges is
  frozen, and `close` then ends the program with `ExitCode.DIVERGED`.

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
    TrainingDiverged: no slot is left to train, or a T5 that trains has a loss
      or a gradient that is not finite.
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
    whole = PartitionSpec()
    self._step = partitioner.partition(
      make_step(self._parts, base_key, lambda step: rate * schedule(step)),
      in_axis_resources=(
        *(train_state_axes, whole, whole),
        partitioner.data_partition_spec,
      ),
      out_axis_resources=(train_state_axes, whole, None, None),
      donate_argnums=(0, 1),
    )
    self._replicated = NamedSharding(partitioner.mesh, whole)
    self._kept = self._teachers = None
    if model.teacher_prompts is not None:
      self._teachers = partitioning.put(
        plain_params(model.teacher_prompts), self._replicated
      )
    self._window = Window(experiment.slots)
    self._window.report = self._report
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
    self._agreed.begin(step)
    if self._record is None:
      best = init_best(self._parts.model, self._trainable())
      self._record = stream.record or {"best": best, "evaluated": np.int32(0)}
      self._keep_good_state()
      if self._is_due(step) and self._record["evaluated"] < step:
        self._run_evaluation(step)
    summary, last = None, step + num_steps
    while step < last and not self._stops:
      step, summary = self._run(
        stream, step, min(last, self._next_evaluation(step))
      )
      if self._is_due(step) and not self._stops:
        self._run_evaluation(step)
    if self._kept is not None:
      self._record["faults"] = partitioning.fetch(self._kept[0])
    stream.record = self._record
    self._write_prompts(step)
    sums.write(self._summary_dir)
    self._agreed.meet(step)
    if self._stops:
      self._show_faults()
      raise Preempted(
        step,
        self._experiment.total_steps,
        self._summary_dir,
        self._agreed.signum,
      )
    return summary

  def close(self):
    """Writes what t5x's last checkpoint lacks, and gives the folder free.

    Raises:
      SystemExit: slots are frozen; everything is saved.
    """
    super().close()
    sums.write(self._summary_dir)
    self._stop.is_deferred = False
    if self._show_faults():
      raise SystemExit(ExitCode.DIVERGED)

  def _keep_good_state(self):
    """Makes what the native step keeps beside t5x's state: (faults, backup)."""
    model = self._parts.model
    if model.trainable != "prompt":
      return
    found = self._record.get("faults", faults.init_faults(model.num_slots))
    self._window.know(faults.read_faults(found, self._names()))
    self._kept = (
      partitioning.put(np.asarray(found), self._replicated),
      partitioning.put(
        jax.tree.map(partitioning.fetch, self._trainable()), self._replicated
      ),
    )

  def _names(self) -> list[str]:
    return [slot.name for slot in self._experiment.slots]

  def _faults(self) -> list[faults.Fault]:
    """Returns the slots that are frozen, and why."""
    if self._kept is not None:
      found = partitioning.fetch(self._kept[0])
      return faults.read_faults(found, self._names())
    last = self._summary_dir / "prompts" / "last.safetensors"
    if self._record is not None or not last.exists():
      return []
    # The run had ended before.
    bank = load_bank(last)
    return [
      faults.Fault(name, **slot["diverged"])
      for name, slot in zip(bank.names, bank.slots, strict=True)
      if "diverged" in slot
    ]

  def _report(self, fault):
    if jax.process_index() == 0:
      print(fault.report, file=sys.stderr)

  def _show_faults(self) -> bool:
    """Prints a table of the slots that are frozen, if there are any."""
    found = self._faults()
    if found and jax.process_index() == 0:
      print_faults("t5x.train", found, len(self._names()))
    return bool(found)

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
        state, self._kept, update, by_slot = self._step(
          state, self._kept, self._teachers, batch
        )
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
      self._faults(),
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
    **data.settings_of_run(model.parts),
    "backbone_fingerprint": backbone.fingerprint,
  }
  if (folder / run_folder.SETTINGS).exists():
    run_folder.check_model_dir(folder, settings)
  # Those of earlier versions, before the settings say that all have them.
  sums.write(folder)
  run_folder.write_settings(folder, settings, None)
  return dataclasses.replace(model.parts, backbone=backbone)
