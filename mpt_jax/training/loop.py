"""The training loop."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence

from etils import epath

from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.io import checks, digests, paths
from mpt_jax.model.faults import Fault
from mpt_jax.process import signals
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.training import agreement, run_folder
from mpt_jax.training.assembly import Setup, set_up
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.metrics_log import MetricsLog
from mpt_jax.training.run import Run, Trace


@dataclasses.dataclass(kw_only=True)
class Result:
  """The result of a finished run.

  Attributes:
    best: the bank with each group's prompts at its best evaluation. It equals
      `last` if nothing was evaluated, and is None if there are no prompts.
    last: the bank at the last step, or None if there are no prompts.
    metrics: the metrics of each slot at the last evaluation.
    setup: the loaded experiment.
    params: all parameters at the last step.
    diverged: the `model.faults.Fault` of each slot that is frozen at its last
      good state, because a value of it was not finite; empty if all is well.
  """

  best: PromptBank | None
  last: PromptBank | None
  metrics: list[dict]
  setup: Setup
  params: dict
  diverged: tuple[Fault, ...] = ()


def train(
  experiment: Experiment,
  *,
  model_dir,
  num_model_partitions: int = 1,
  checkpoint_period: int = 500,
  checkpoint_minutes: float | None = 10,
  log_period: int = 10,
  keep_checkpoints: int = 2,
  prompt_steps: Sequence[int] = (),
  tensorboard: bool = True,
  profile_steps: tuple[int, int] | None = None,
  description: str = "train",
  config_text: str | None = None,
  tasks: Mapping[str, RowTask] | None = None,
  prepare: Callable[[epath.Path], None] | None = None,
) -> Result:
  """Runs an experiment from its start, or from the run's last checkpoint.

  The first SIGTERM, SIGINT or SIGHUP ends it after the step, with a checkpoint;
  see `signals`.

  Args:
    experiment: the settings.
    model_dir: the run's folder. It gets experiment.json, metrics.jsonl,
      TensorBoard events, checkpoints/ and prompts/ (last.safetensors and
      best.safetensors), or backbone/ if everything trains. While the run
      writes there, it holds the folder's lock.
    num_model_partitions: devices that share one copy of the parameters.
    checkpoint_period: steps between checkpoints.
    checkpoint_minutes: minutes after a checkpoint at which there is another
      one, besides those of `checkpoint_period`; None or 0 for none. They change
      no result.
    log_period: steps between lines of metrics.
    keep_checkpoints: newest checkpoints to keep. If the newest is damaged, the
      run resumes from the one before it.
    prompt_steps: steps after which the prompts are kept for good, in
      prompts/step_N.safetensors.
    tensorboard: write TensorBoard events.
    profile_steps: the first and the last step of a trace that is written into
      the folder, for TensorBoard's profile tab; None writes none.
    description: text beside the progress bar.
    config_text: the launcher's configuration, which is saved as config.gin.
    tasks: {name: task} over rows in memory; None looks the slots' tasks up in
      seqio's registry.
    prepare: called with the folder before the first step, to write more files
      there, while the run holds the folder's lock.

  Returns:
    The trained prompts and their metrics.

  Raises:
    ValueError: the settings do not fit each other, the folder holds another
      experiment or is in use, or the processes differ. The folder is not
      changed.
    TrainingDiverged: no slot is left to train, see `Result.diverged`, or the
      loss of a T5 that trains became NaN or infinite.
    signals.Stopped: a signal ended the run.
  """
  checks.instance("train.experiment", experiment, cls=Experiment)
  checks.whole("train.checkpoint_period", checkpoint_period, low=1)
  if checkpoint_minutes is not None:
    checks.number("train.checkpoint_minutes", checkpoint_minutes, low=0)
  checks.whole("train.num_model_partitions", num_model_partitions, low=1)
  checks.whole("train.log_period", log_period, low=1)
  checks.whole("train.keep_checkpoints", keep_checkpoints, low=1)
  checks.flag("train.tensorboard", tensorboard)
  prompt_steps = _checked_prompt_steps(prompt_steps, experiment)
  model_dir = checks.path("train.model_dir", model_dir)
  if profile_steps is not None:
    profile_steps = _checked_steps(profile_steps, model_dir)
  options = {
    "train.model_dir": model_dir,
    "train.num_model_partitions": num_model_partitions,
    "train.checkpoint_period": checkpoint_period,
    "train.checkpoint_minutes": checkpoint_minutes,
    "train.log_period": log_period,
    "train.keep_checkpoints": keep_checkpoints,
  }
  # The program may change its working folder meanwhile.
  model_dir = epath.Path(paths.absolute(model_dir))
  with agreement.stopping():
    with _nothing_to_save(description), agreement.together():
      setup, settings = _load(
        experiment, model_dir, num_model_partitions, tasks
      )
      run = Run(setup, model_dir)
    if not agreement.is_alone():
      compared = {"Experiment": settings, **options}
      agreement.compare(compared, run.contents())
    # Nothing above writes to the folder.
    with agreement.hold(model_dir), signals.deferred() as stop:
      # Another run may have written there in the meantime.
      run_folder.check_model_dir(model_dir, settings)
      run_folder.write_settings(model_dir, settings, config_text)
      if prepare is not None:
        prepare(model_dir)
      checkpoints = Checkpoints(model_dir, keep_checkpoints)
      run.restore(checkpoints)
      with MetricsLog(
        model_dir,
        experiment.total_steps,
        run.step,
        description,
        tensorboard,
        run.evaluation_is_due,
      ) as log:
        agreed = agreement.Agreement(stop, checkpoint_minutes)
        with Trace(model_dir, profile_steps) as trace:
          run.go(
            log, agreed, checkpoint_period, log_period, trace, prompt_steps
          )
      checkpoints.close()
  return _result(run)


def _checked_steps(profile_steps, model_dir) -> tuple[int, int]:
  name = "train.profile_steps"
  steps = checks.sequence(
    name, profile_steps, of=checks.whole, what="two whole numbers", low=1
  )
  if len(steps) != 2 or steps[0] > steps[1]:
    raise ValueError(
      f"{name} must be the first and the last step of a trace, such as"
      f" (10, 13), got {profile_steps!r}"
    )
  paths.check_local(model_dir, "a trace of train.profile_steps")
  return steps


def _checked_prompt_steps(prompt_steps, experiment) -> tuple[int, ...]:
  name = "train.prompt_steps"
  steps = checks.sequence(
    name,
    prompt_steps,
    of=checks.whole,
    what="whole numbers",
    empty=True,
    low=1,
    high=experiment.total_steps,
  )
  if steps and experiment.trainable != "prompt":
    raise ValueError(
      f"{name}={steps} keeps prompts, and Experiment.trainable="
      f"{experiment.trainable!r} trains none alone"
    )
  return steps


@contextlib.contextmanager
def _nothing_to_save(description):
  """Says that there is nothing to save if a signal comes inside."""
  try:
    yield
  except signals.Stopped:
    print(
      f"{description}: no step was done, so there is nothing to save",
      file=sys.stderr,
    )
    raise


def _load(experiment, model_dir, num_model_partitions, tasks):
  """Loads an experiment for a folder that is new or belongs to it.

  Returns:
    (setup, settings): the loaded experiment, and the contents of the folder's
    experiment.json.

  Raises:
    ValueError: the folder belongs to another experiment.
  """
  if experiment.trainable == "everything":
    paths.check_local(model_dir, "the trained T5")
  # t5x writes other checkpoints, which this loop cannot resume.
  settings = {**experiment.to_json(), "launcher": "mpt_jax"}
  run_folder.check_model_dir(model_dir, settings)
  setup = set_up(experiment, num_model_partitions, tasks)
  settings["backbone_fingerprint"] = setup.backbone.fingerprint
  settings[run_settings.VOCABULARY_SHA256] = digests.file_sha256(
    setup.backbone.vocabulary_path
  )
  if tasks is not None:
    settings[run_settings.ROWS_SHA256] = {
      name: task.digest() for name, task in tasks.items()
    }
  run_folder.check_model_dir(model_dir, settings)
  return setup, settings


def _result(run: Run) -> Result:
  setup, trainable, faults = run.setup, run.state.params, run.faults
  best_bank = last_bank = None
  if setup.model.prompt_config is not None:
    last_bank = run_folder.make_bank(
      setup, trainable["prompt"], run.metrics, faults
    )
    best_bank = run_folder.best_bank(
      setup, run.best, last_bank, run.names, faults
    )
  return Result(
    best=best_bank,
    last=last_bank,
    metrics=run.metrics,
    setup=setup,
    params=setup.network_params(trainable),
    diverged=tuple(faults),
  )
