"""The training loop."""

import dataclasses
import json
import zlib

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

import mpt_jax.io.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.data import batches
from mpt_jax.data.pipeline import ExampleStream
from mpt_jax.inference.engine import Engine
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.io import paths
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.parametrization import compose_bank
from mpt_jax.training import run_folder
from mpt_jax.training.assembly import Setup, set_up
from mpt_jax.training.checkpoints import Checkpoints
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.metrics_log import (
  MetricsLog,
  Window,
  check_finite,
  eval_scalars,
)
from mpt_jax.training.step import (
  init_train_state,
  make_train_step,
  state_shardings,
)


@dataclasses.dataclass
class Result:
  """What a finished run gives.

  Attributes:
    best: the bank at each group's best evaluation, or at the last step where
      nothing was evaluated; None where there are no prompts.
    last: the bank at the last step.
    metrics: for each slot the metrics of the last evaluation.
    setup: the loaded experiment.
    params: all parameters, the last step's.
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
  checkpoint_period: int = 1000,
  log_period: int = 10,
  keep_checkpoints: int = 1,
  tensorboard: bool = True,
  description: str = "train",
  config_text: str | None = None,
) -> Result:
  """Runs an experiment from its start, or from the run's last checkpoint.

  Args:
    experiment: the settings.
    model_dir: the run's folder. It gets experiment.json, metrics.jsonl,
      TensorBoard events, checkpoints/ and prompts/ (last.safetensors and
      best.safetensors), or backbone/ where everything trains.
    num_model_partitions: devices that share one copy of the parameters.
    checkpoint_period: steps between checkpoints.
    log_period: steps between lines of metrics.
    keep_checkpoints: newest checkpoints to keep.
    tensorboard: write TensorBoard events.
    description: shown beside the progress bar.
    config_text: the launcher's configuration, kept as config.gin.

  Returns:
    The trained prompts and their metrics.

  Raises:
    ValueError: settings that do not fit; a folder of another experiment;
      several processes with different settings.
    TrainingDiverged: the loss became NaN or infinite.
  """
  model_dir = epath.Path(model_dir)
  if experiment.trainable == "everything":
    paths.check_local(model_dir, "the trained T5")
  # A run of t5x has other checkpoints, which this loop would not find.
  settings = {**experiment.to_json(), "launcher": "mpt_jax"}
  run_folder.check_model_dir(model_dir, settings)
  setup = set_up(experiment, num_model_partitions)
  settings["backbone_fingerprint"] = setup.backbone.fingerprint
  run_folder.check_model_dir(model_dir, settings)
  experiment, model, mesh = setup.experiment, setup.model, setup.mesh
  slots = experiment.slots

  stream = ExampleStream(
    setup.tasks,
    [slot.data_name for slot in slots],
    experiment.mix,
  )
  optimizer = setup.make_optimizer()
  state = init_train_state(optimizer, setup.trainable, mesh)
  train_step = make_train_step(
    model,
    optimizer,
    None if experiment.batch.long_rows else experiment.num_microbatches,
    state_shardings(state, mesh),
  )
  best = run_folder.init_best(model, state.params)
  evaluate = names = None
  metrics = []
  if experiment.eval is not None:
    evaluate, names = _evaluation(setup, state.params)
  # Only now: what cannot start must not occupy the folder. And not before the
  # slowest process has looked into it, for which this waits.
  _check_processes(
    [settings, str(model_dir), num_model_partitions, checkpoint_period]
  )
  run_folder.write_settings(model_dir, settings, config_text)
  checkpoints = Checkpoints(model_dir, keep_checkpoints)
  if checkpoints.latest_step is not None:
    state, best = checkpoints.restore(state, best, stream)
  step = int(state.step)
  base_key = jax.random.key(experiment.seed)
  evaluated = saved = -1

  with MetricsLog(
    model_dir, experiment.total_steps, step, description, tensorboard
  ) as log:
    if step:
      log.note(f"{description}: resumed at step {step}")
    window = Window(slots)
    previous = None
    while step < experiment.total_steps:
      batch, stats = batches.make_batch(next(stream), experiment.batch)
      batch = partitioning.put_batch(mesh, batch)
      state, step_metrics = train_step(state, setup.frozen, batch, base_key)
      # Looks at the step before, so that this one runs meanwhile.
      if previous is not None:
        window.add(*previous)
      previous = (step + 1, stats, step_metrics)
      step += 1
      log.advance(step)

      last = step == experiment.total_steps
      evaluates = evaluate is not None and (
        last or step % experiment.eval.period == 0
      )
      save = last or step % checkpoint_period == 0
      if step % log_period == 0 or evaluates or save:
        window.add(*previous)
        previous = None
        # At checkpoints too, so that the lines of a resumed run are the same.
        if step % log_period == 0 or save:
          scalars = window.flush()
          log.write(step, "train", scalars, SHOWN)
      if evaluates:
        metrics = evaluate(state.params)
        best = run_folder.update_best(
          best, state.params, metrics, model, names, step
        )
        evaluated = step
        scalars = eval_scalars(slots, metrics)
        log.write(step, "eval", scalars, dict.fromkeys(names))
        window.restart_clock()
      if save:
        check_finite(state.params, slots, model.prompt_config, step)
        checkpoints.save(step, state, best, stream)
        shown = metrics if evaluated == step else ()
        run_folder.write_prompts(
          model_dir, setup, state.params, best, names, shown
        )
        saved = step
        window.restart_clock()
    if evaluate is not None and evaluated != step:
      # A finished run was started again.
      metrics = evaluate(state.params)
    if saved != step:
      run_folder.write_prompts(
        model_dir, setup, state.params, best, names, metrics
      )
  checkpoints.close()
  params = setup.network_params(state.params)
  best_bank = last_bank = None
  if model.prompt_config is not None:
    last_bank = run_folder.make_bank(setup, state.params["prompt"], metrics)
    best_bank = run_folder.best_bank(setup, best, last_bank, names)
  return Result(best_bank, last_bank, metrics, setup, params)


def _evaluation(setup, trainable):
  """How a run evaluates.

  Args:
    setup: the loaded experiment, with evaluation.
    trainable: the trained tree at some step.

  Returns:
    The function from the trained tree to the metrics of each slot, and the
    name of each slot's main metric.
  """
  experiment, model = setup.experiment, setup.model
  config = experiment.eval
  evaluator = Evaluator(setup.tasks, config)

  def parts(trainable):
    params = setup.network_params(trainable)
    prompt = params.pop("prompt", None)
    if prompt is None:
      return params, None
    prompt = jax.tree.map(partitioning.fetch, prompt)
    return params, compose_bank(prompt, model.groups)

  engine = Engine(
    model.config,
    *parts(trainable),
    mesh=setup.mesh,
    inputs_length=experiment.batch.inputs_length,
    targets_length=experiment.batch.targets_length,
    batch_size=config.num_rows,
    generation=config.generation,
  )
  evaluate = lambda trainable: evaluator(engine.with_params(*parts(trainable)))
  return evaluate, evaluator.main_metrics()


def _check_processes(settings):
  """Refuses a run whose processes were started with different settings."""
  digest = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
  digests = multihost_utils.process_allgather(np.uint32(digest))
  differ = np.flatnonzero(digests != digests[0])
  if len(differ):
    raise ValueError(
      "the processes of a run need the same settings, MODEL_DIR and T5; those"
      f" of process {', '.join(map(str, differ))} are not process 0's"
    )


SHOWN = ("loss", "kl", "hidden", "tokens_per_second", "padding_fraction")
