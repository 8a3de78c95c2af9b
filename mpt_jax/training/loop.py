"""The training loop."""

import dataclasses
import json
import zlib

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

import mpt_jax.io.tensorflow_quietly  # noqa: F401  Before TensorFlow.
from mpt_jax.data.batches import make_batch
from mpt_jax.io import checks, paths
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.training import run_folder
from mpt_jax.training.assembly import Setup, set_up
from mpt_jax.training.best import init_best, update_best
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.metrics_log import (
  MetricsLog,
  Window,
  check_finite,
  eval_scalars,
)

# Values that stand beside the progress bar.
SHOWN = ("loss", "kl", "hidden", "tokens_per_second", "padding_fraction")


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
  """

  best: PromptBank | None
  last: PromptBank | None
  metrics: list[dict]
  setup: Setup
  params: dict


def train(
  experiment: Experiment,
  *,
  model_dir,
  num_model_partitions: int = 1,
  checkpoint_period: int = 500,
  log_period: int = 10,
  keep_checkpoints: int = 2,
  tensorboard: bool = True,
  description: str = "train",
  config_text: str | None = None,
) -> Result:
  """Runs an experiment from its start, or from the run's last checkpoint.

  Args:
    experiment: the settings.
    model_dir: the run's folder. It gets experiment.json, metrics.jsonl,
      TensorBoard events, checkpoints/ and prompts/ (last.safetensors and
      best.safetensors), or backbone/ if everything trains.
    num_model_partitions: devices that share one copy of the parameters.
    checkpoint_period: steps between checkpoints.
    log_period: steps between lines of metrics.
    keep_checkpoints: newest checkpoints to keep. If the newest is damaged, the
      run resumes from the one before it.
    tensorboard: write TensorBoard events.
    description: text beside the progress bar.
    config_text: the launcher's configuration, which is saved as config.gin.

  Returns:
    The trained prompts and their metrics.

  Raises:
    ValueError: the settings do not fit each other, the folder holds another
      experiment, or the processes have different settings. The folder is not
      changed.
    TrainingDiverged: the loss became NaN or infinite.
  """
  checks.instance("train.experiment", experiment, cls=Experiment)
  checks.whole("train.checkpoint_period", checkpoint_period, low=1)
  checks.whole("train.num_model_partitions", num_model_partitions, low=1)
  checks.whole("train.log_period", log_period, low=1)
  checks.whole("train.keep_checkpoints", keep_checkpoints, low=1)
  checks.flag("train.tensorboard", tensorboard)
  model_dir = epath.Path(checks.path("train.model_dir", model_dir))
  setup, settings = _load(experiment, model_dir, num_model_partitions)
  slots, total_steps = experiment.slots, experiment.total_steps
  stream = setup.make_stream()
  state, train_step = setup.make_train_step()
  evaluate = names = None
  if experiment.eval is not None:
    evaluate, names = setup.make_evaluation(state.params)
  best = init_best(setup.model, state.params)
  if not (model_dir / run_folder.SETTINGS).exists():
    make_batch(stream.peek(), setup.layout)  # Raises if examples do not fit.
  _check_processes(
    [settings, str(model_dir), num_model_partitions, checkpoint_period]
  )
  # Nothing above writes to the folder.
  run_folder.write_settings(model_dir, settings, config_text)
  checkpoints = Checkpoints(model_dir, keep_checkpoints)
  if checkpoints.latest_step is not None:
    state, best = checkpoints.restore(state, best, stream)
  step = int(state.step)
  base_key = jax.random.key(experiment.seed)
  metrics, evaluated, saved = [], None, None

  with MetricsLog(
    model_dir, total_steps, step, description, tensorboard
  ) as log:
    for line in checkpoints.notes:
      log.note(f"{description}: {line}")
    if step:
      log.note(f"{description}: resumed at step {step}")
    window = Window(slots)
    while step < total_steps:
      batch, stats = make_batch(next(stream), setup.layout)
      batch = partitioning.put_batch(setup.mesh, batch)
      state, step_metrics = train_step(state, setup.frozen, batch, base_key)
      step += 1
      window.push(step, stats, step_metrics)
      log.advance(step)

      is_last = step == total_steps
      saves = is_last or step % checkpoint_period == 0
      evaluates = evaluate is not None and (
        is_last or step % experiment.eval.period == 0
      )
      # Write at checkpoints too: a resumed run then logs the same lines.
      if saves or step % log_period == 0:
        log.write(step, "train", window.flush(), SHOWN)
      if evaluates:
        window.catch_up()
        metrics = evaluate(state.params)
        best = update_best(
          best, state.params, metrics, setup.model, names, step
        )
        scalars = eval_scalars(slots, metrics)
        log.write(step, "eval", scalars, dict.fromkeys(names))
        evaluated = step
        window.restart_clock()
      if saves:
        check_finite(state.params, slots, setup.model.prompt_config, step)
        checkpoints.save(step, state, best, stream)
        shown = metrics if evaluated == step else ()
        run_folder.write_prompts(
          model_dir, setup, state.params, best, names, shown
        )
        saved = step
        window.restart_clock()
    if saved is None:  # The run had finished before.
      if evaluate is not None:
        metrics = evaluate(state.params)
      run_folder.write_prompts(
        model_dir, setup, state.params, best, names, metrics
      )
  checkpoints.close()
  return _result(setup, state, best, names, metrics)


def _load(experiment, model_dir, num_model_partitions):
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
  setup = set_up(experiment, num_model_partitions)
  settings["backbone_fingerprint"] = setup.backbone.fingerprint
  run_folder.check_model_dir(model_dir, settings)
  return setup, settings


def _result(setup, state, best, names, metrics) -> Result:
  best_bank = last_bank = None
  if setup.model.prompt_config is not None:
    last_bank = run_folder.make_bank(setup, state.params["prompt"], metrics)
    best_bank = run_folder.best_bank(setup, best, last_bank, names)
  params = setup.network_params(state.params)
  return Result(
    best=best_bank, last=last_bank, metrics=metrics, setup=setup, params=params
  )


def _check_processes(settings):
  """Refuses a run whose processes were started with different settings.

  This waits for all processes, so none of them writes to the folder before the
  others have checked it.
  """
  digest = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
  digests = multihost_utils.process_allgather(np.uint32(digest))
  differ = np.flatnonzero(digests != digests[0])
  if len(differ):
    raise ValueError(
      "the processes of a run need the same settings, MODEL_DIR and T5; those"
      f" of process {', '.join(map(str, differ))} differ from process 0's"
    )
