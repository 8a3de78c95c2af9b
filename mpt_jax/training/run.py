"""A run on its way from one step to the next."""

import signal

import jax
import numpy as np

from mpt_jax.data import packing
from mpt_jax.data.batches import make_batch
from mpt_jax.io import digests
from mpt_jax.model import partitioning
from mpt_jax.model.faults import Fault, read_faults
from mpt_jax.process import signals
from mpt_jax.training import agreement, run_folder
from mpt_jax.training.assembly import Setup
from mpt_jax.training.best import eval_scalars, init_best, update_best
from mpt_jax.training.metrics_log import Window, check_finite

# Values that stand beside the progress bar.
SHOWN = ("loss", "kl", "hidden", "tokens_per_second", "padding_fraction")


class _LeftError(Exception):
  """An evaluation was left because the run stops."""


class Trace:
  """Records some steps with JAX's profiler, if asked to.

  Use it as a context manager, which ends a trace that the run leaves open.

  Args:
    folder: the run's folder, a local one.
    steps: the first and the last step to record, or None.
  """

  def __init__(self, folder, steps: tuple[int, int] | None):
    self._folder, self._steps, self._is_on = str(folder), steps, False

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self.after(None, None)

  def before(self, step: int):
    """Begins the trace if `step`, which is to be done now, is the first."""
    if self._steps is not None and step == self._steps[0]:
      jax.profiler.start_trace(self._folder)
      self._is_on = True

  def after(self, step: int | None, results):
    """Ends the trace if `step` was the last, once its results are there."""
    if self._is_on and step in (None, self._steps[1]):
      jax.block_until_ready(results)
      jax.profiler.stop_trace()
      self._is_on = False


class Run:
  """What changes while an experiment trains.

  Attributes:
    setup: the loaded experiment.
    state: the `TrainState` after the last step.
    best: see `best.init_best`.
    names: the name of each slot's main metric; None without evaluation.
    metrics: the metrics of each slot at the last evaluation of this process.
    step: steps done.
  """

  def __init__(self, setup: Setup, model_dir):
    """Starts before the first step; writes nothing.

    Args:
      setup: the loaded experiment.
      model_dir: the run's folder.

    Raises:
      ValueError: an example is too long, or the tasks cannot be evaluated.
    """
    self.setup, self._model_dir = setup, model_dir
    self._experiment = setup.experiment
    self._stream = setup.make_stream()
    self.state, self._train_step = setup.make_train_step()
    self.names = self._evaluate = self._evaluator = None
    if self._experiment.eval is not None:
      self._evaluate, self._evaluator = setup.make_evaluation(self.state.params)
      self.names = self._evaluator.main_metrics()
    self.best = init_best(setup.model, self.state.params)
    self._first_batch = None
    if setup.model.plan.one_shape:
      # The first batch is the same when a run resumes.
      first, _ = make_batch(self._stream.peek(), setup.layout)
      num_rows = len(first["encoder_input_tokens"])
      setup.layout = packing.settle(setup.layout, num_rows)
    if not (run_folder.has_trained(model_dir) and agreement.is_alone()):
      self._first_batch, _ = make_batch(self._stream.peek(), setup.layout)
    self._base_key = jax.random.key(self._experiment.seed)
    self._window = Window(self._experiment.slots)
    self.step, self.metrics, self._evaluated = 0, [], None
    # Whether the evaluation at the present step was left, and whether to stop.
    self.evaluation_is_due = self._stops = False

  def contents(self) -> dict:
    """Returns digests of everything that the processes of a run share."""
    evaluator = self._evaluator
    prompts = self.setup.trainable.get("prompt", {})
    teachers = {"prompt": self.setup.frozen.get("teacher_prompt", {})}
    return {
      "the code or the libraries": agreement.code_digest(),
      "the content of the vocabulary": digests.file_sha256(
        self.setup.backbone.vocabulary_path
      ),
      "the T5": self.setup.backbone.fingerprint,
      "the starting prompts": agreement.digest(prompts),
      "the teachers' prompts": agreement.digest(teachers["prompt"]),
      "the content of the first batch": agreement.digest(self._first_batch),
      "the evaluation examples": evaluator and evaluator.digest(),
    }

  def restore(self, checkpoints):
    """Goes to the newest good checkpoint, if there is any."""
    self._checkpoints = checkpoints
    if checkpoints.latest_step is None:
      return
    self.state, self.best = checkpoints.restore(
      self.state, self.best, self._stream
    )
    self.step = int(self.state.step)
    self._window.know(self.faults)
    self._window.resume(checkpoints.pending.get("window"))
    self.evaluation_is_due = checkpoints.pending.get("evaluation_is_due", False)

  @property
  def is_finished(self) -> bool:
    """Whether the last step is done, or no group improves any more.

    It depends on what a checkpoint has alone, so a run that resumes ends where
    one without interruptions ends.
    """
    if self.step == self._experiment.total_steps:
      return True
    config = self._experiment.eval
    if config is None or config.patience is None or self.evaluation_is_due:
      return False
    waited = self.step - int(self.best["step"].max())
    return (
      self.step > 0
      and self.step % config.period == 0
      and waited >= config.patience * config.period
    )

  @property
  def faults(self) -> list[Fault]:
    """The slots that are frozen, and why."""
    if self.state.faults is None:
      return []
    names = [slot.name for slot in self._experiment.slots]
    return read_faults(partitioning.fetch(self.state.faults), names)

  def go(
    self,
    log,
    agreed,
    checkpoint_period: int,
    log_period: int,
    trace,
    prompt_steps=(),
  ):
    """Trains to the last step.

    Args:
      log: the run's `MetricsLog`.
      agreed: the run's `agreement.Agreement`.
      checkpoint_period: steps between checkpoints.
      log_period: steps between lines of metrics.
      trace: the run's `Trace`.
      prompt_steps: steps after which the prompts are kept for good.

    Raises:
      TrainingDiverged: the loss or the prompts are not finite.
      ValueError: the processes have different batches.
      signals.Stopped: a signal came; everything is saved.
    """
    self._log, self._agreed, self._trace = log, agreed, trace
    self._window.report = log.fault
    agreed.begin(self.step)
    for line in self._checkpoints.notes:
      log.note(line)
    if self.step:
      log.note(f"resumed at step {self.step}")
    self._window.restart_clock()
    self._begin()
    while not self.is_finished and not self._stops:
      self._take_step()
      if self.step in prompt_steps:
        self._keep_prompts()
      is_last = self.step == self._experiment.total_steps
      saves = is_last or self.step % checkpoint_period == 0
      logs = self.step % log_period == 0
      if logs:
        agreed.meet(self.step)
      if saves or logs:
        log.write(self.step, "train", self._window.flush(), SHOWN)
      self._stops = agreed.should_stop()
      if self._evaluate is not None and (
        is_last or self.step % self._experiment.eval.period == 0
      ):
        self.evaluation_is_due = True
        self._evaluate_step()
      if saves or agreed.is_due() or self._stops or self.is_finished:
        self._save()
    if self.is_finished and self.step < self._experiment.total_steps:
      log.note(f"step {self.step}: no better score for a while, so it ends")
    if self.faults:
      log.faults(self.faults, len(self._experiment.slots))
    if self._stops or agreed.signum is not None:
      log.note(
        f"step {self.step} of {self._experiment.total_steps} is saved in"
        f" {self._checkpoints.folder(self.step)}"
      )
    if self._stops:
      raise signals.Stopped(agreed.signum or signal.SIGTERM)

  def _begin(self):
    """Does what is left of the step that the run resumes at."""
    if self.evaluation_is_due:
      self._evaluate_step()
      if self.is_finished and not self.evaluation_is_due:
        self._save()
    elif self.is_finished:
      self.metrics = self._measure() or []
      if not self._stops:
        self._write_prompts(self.metrics)

  def _take_step(self):
    self._trace.before(self.step + 1)
    batch, stats = make_batch(next(self._stream), self.setup.layout)
    self._agreed.see(batch)
    batch = partitioning.put_batch(self.setup.mesh, batch)
    self.state, metrics = self._train_step(
      self.state, self.setup.frozen, batch, self._base_key
    )
    self.step += 1
    self._trace.after(self.step, metrics)
    self._window.push(self.step, stats, metrics)
    self._log.advance(self.step)

  def _measure(self) -> list[dict] | None:
    """Returns each slot's metrics; None if there are none or the run stops."""
    if self._evaluate is None or self._stops:
      return None
    try:
      return self._evaluate(self.state.params, self._leave_evaluation)
    except _LeftError:
      self._stops = True
      return None

  def _leave_evaluation(self, done, total):
    if self._agreed.should_stop():
      raise _LeftError

  def _evaluate_step(self):
    """Evaluates this step, unless the run stops before the end of it."""
    self._window.catch_up()
    metrics = self._measure()
    if metrics is None:
      return
    self.metrics, self._evaluated = metrics, self.step
    self.best = update_best(
      self.best,
      self.state.params,
      metrics,
      self.setup.model,
      self.names,
      self.step,
    )
    scores = [m[name] for m, name in zip(metrics, self.names, strict=True)]
    self._log.score(np.mean(scores), np.mean(self.best["metric"]))
    scalars = eval_scalars(self._experiment.slots, metrics)
    self._log.write(self.step, "eval", scalars, dict.fromkeys(self.names))
    self._log.not_finite(self.step, self._experiment.slots, metrics, self.names)
    self.evaluation_is_due = False
    self._window.restart_clock()

  def _save(self):
    pending = {
      "window": self._window.pending(),
      "evaluation_is_due": self.evaluation_is_due,
    }
    check_finite(
      self.state.params,
      self._experiment.slots,
      self.setup.model.prompt_config,
      self.step,
    )
    self._checkpoints.save(
      self.step,
      self.state,
      self.best,
      self._stream,
      {name: value for name, value in pending.items() if value},
    )
    self._write_prompts(self.metrics if self._evaluated == self.step else ())
    self._window.restart_clock()
    self._agreed.begin(self.step)

  def _keep_prompts(self):
    run_folder.write_prompts_of_step(
      self._model_dir, self.setup, self.state.params, self.step, self.faults
    )

  def _write_prompts(self, metrics):
    run_folder.write_prompts(
      self._model_dir,
      self.setup,
      self.state.params,
      self.best,
      self.names,
      metrics,
      self.faults,
    )
