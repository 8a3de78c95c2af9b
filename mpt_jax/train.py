"""Trains an experiment: `python -m mpt_jax.train --gin_file=FILE`."""

import dataclasses
import json
import math
import os
import pathlib
import sys
import time

import jax
import numpy as np

from mpt_jax import bank as banks
from mpt_jax import (
  batches,
  evaluation,
  partitioning,
  tensorflow_quietly,  # noqa: F401  Before all that import TensorFlow.
)
from mpt_jax.checkpoints import Checkpoints
from mpt_jax.errors import TrainingDiverged
from mpt_jax.experiment import Experiment
from mpt_jax.metrics_log import MetricsLog
from mpt_jax.optimizers import make_optimizer
from mpt_jax.pipeline import ExampleStream
from mpt_jax.setup_run import Setup, set_up
from mpt_jax.train_step import (
  init_train_state,
  make_train_step,
  state_shardings,
)

SETTINGS = "experiment.json"


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

  best: banks.PromptBank | None
  last: banks.PromptBank | None
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
    ValueError: settings that do not fit; a folder of another experiment.
    TrainingDiverged: the loss became NaN or infinite.
  """
  model_dir = pathlib.Path(model_dir)
  settings = experiment.to_json()
  check_model_dir(model_dir, settings)
  setup = set_up(experiment, num_model_partitions)
  settings["backbone_fingerprint"] = setup.backbone.fingerprint
  check_model_dir(model_dir, settings)
  experiment, model, mesh = setup.experiment, setup.model, setup.mesh
  slots = experiment.slots

  stream = ExampleStream(
    setup.tasks,
    [slot.data_name for slot in slots],
    experiment.mix,
    (jax.process_index(), jax.process_count()),
  )
  optimizer = make_optimizer(
    experiment.optimizer,
    experiment.total_steps,
    model.groups,
    experiment.trainable,
  )
  state = init_train_state(optimizer, setup.trainable, mesh)
  train_step = make_train_step(
    model,
    optimizer,
    experiment.num_microbatches,
    state_shardings(state, mesh),
  )
  best = init_best(model, state.params)
  # Only now: what cannot start must not occupy the folder.
  write_settings(model_dir, settings, config_text)
  checkpoints = Checkpoints(model_dir, keep_checkpoints)
  if checkpoints.latest_step is not None:
    state, best = checkpoints.restore(state, best, stream)
  step = int(state.step)
  base_key = jax.random.key(experiment.seed)
  evaluator = None
  metrics = []
  if experiment.eval is not None:
    evaluator = evaluation.Evaluator(
      model.network, setup.tasks, experiment.eval, experiment.batch, mesh
    )
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
      evaluate = evaluator is not None and (
        last or step % experiment.eval.period == 0
      )
      save = last or step % checkpoint_period == 0
      if step % log_period == 0 or evaluate or save:
        window.add(*previous)
        previous = None
        # At checkpoints too, so that the lines of a resumed run are the same.
        if step % log_period == 0 or save:
          scalars = window.flush()
          log.write(step, "train", scalars, SHOWN)
      if evaluate:
        params = {**setup.frozen, **state.params}
        params.pop("teacher_prompt", None)
        metrics = evaluator(params)
        best = update_best(
          best, state.params, metrics, model, experiment.eval.metric, step
        )
        evaluated = step
        scalars = eval_scalars(slots, metrics)
        log.write(step, "eval", scalars, [experiment.eval.metric])
        window.restart_clock()
      if save:
        check_finite(state.params, slots, model.groups, step)
        checkpoints.save(step, state, best, stream)
        write_prompts(model_dir, setup, state.params, best)
        saved = step
        window.restart_clock()
    if evaluator is not None and evaluated != step:
      params = {**setup.frozen, **state.params}
      params.pop("teacher_prompt", None)
      metrics = evaluator(params)
    if saved != step:
      write_prompts(model_dir, setup, state.params, best)
  checkpoints.close()
  params = {**setup.frozen, **state.params}
  params.pop("teacher_prompt", None)
  best_bank = last_bank = None
  if model.prompt_config is not None:
    last_bank = make_bank(setup, state.params["prompt"])
    best_bank = last_bank
    if best["step"].all():
      best_bank = make_bank(setup, best["prompt"])
  return Result(best_bank, last_bank, metrics, setup, params)


SHOWN = ("loss", "kl", "hidden", "tokens_per_second", "padding_fraction")


class Window:
  """Sums the metrics of some steps, and stops a run whose loss is lost."""

  def __init__(self, slots):
    self._names = [slot.name for slot in slots]
    self._sums = {}
    self._stats = batches.BatchStats()
    self._norm = 0.0
    self.restart_clock()

  def restart_clock(self):
    self._start = time.monotonic()
    self._timed_tokens = 0

  def add(self, step, stats, metrics):
    metrics = jax.device_get(metrics)
    self._norm = float(metrics.pop("grad_norm"))
    finite = np.ones(len(self._names), bool)
    for name, (total, count) in metrics.items():
      finite &= np.isfinite(total[: len(self._names)])
      old = self._sums.get(name, (0.0, 0.0))
      self._sums[name] = (old[0] + total, old[1] + count)
    if not (finite.all() and math.isfinite(self._norm)):
      where = [n for n, ok in zip(self._names, finite, strict=True) if not ok]
      raise TrainingDiverged(
        f"the loss is not finite at step {step}, on"
        f" {', '.join(where) or 'the gradient of all tasks'}; the run stopped"
        " at its last checkpoint. Try a lower learning_rate"
      )
    self._stats += stats
    self._timed_tokens += stats.num_tokens

  def flush(self):
    """Means over the window: of all tokens, and of each slot's."""
    seconds = time.monotonic() - self._start
    scalars = {}
    for name, (total, count) in self._sums.items():
      scalars[name] = float(total.sum() / max(count.sum(), 1.0))
    total, count = self._sums["loss"]
    if len(self._names) > 1 and len(total) == len(self._names):
      for i, name in enumerate(self._names):
        if count[i]:
          scalars[f"loss/{name}"] = float(total[i] / count[i])
    scalars["grad_norm"] = self._norm
    scalars["tokens_per_second"] = self._timed_tokens / max(seconds, 1e-9)
    scalars["padding_fraction"] = self._stats.padding_fraction
    scalars["truncated_inputs"] = self._stats.num_truncated_inputs
    scalars["truncated_targets"] = self._stats.num_truncated_targets
    self._sums, self._stats = {}, batches.BatchStats()
    self.restart_clock()
    return scalars


def check_finite(trainable, slots, groups, step):
  """Refuses to save what is lost already.

  Raises:
    TrainingDiverged: a parameter is not finite.
  """
  bad = set()
  rows = {"shared_prompt": groups}
  for name, value in trainable.get("prompt", {}).items():
    finite = np.isfinite(np.asarray(value)).all(axis=(1, 2))
    finite = finite[np.asarray(rows.get(name, range(len(slots))))]
    bad |= {s.name for s, ok in zip(slots, finite, strict=True) if not ok}
  if bad:
    raise TrainingDiverged(
      f"the prompts are not finite after step {step}, on"
      f" {', '.join(sorted(bad))}; the run stopped at its last checkpoint. Try"
      " a lower learning_rate"
    )


def eval_scalars(slots, metrics):
  """Flat names: the mean over slots of each metric, and each slot's own."""
  scalars = {}
  for name in sorted({k for m in metrics for k in m}):
    values = [m[name] for m in metrics if name in m]
    if name != "num_examples":
      scalars[name] = float(np.mean(values))
    for slot, m in zip(slots, metrics, strict=True):
      if name in m:
        scalars[f"{name}/{slot.name}"] = m[name]
  return scalars


def init_best(model, trainable):
  """The best prompts so far: none."""
  num_groups = max(model.groups) + 1
  best = {
    "metric": np.full((num_groups,), -np.inf, np.float32),
    "step": np.zeros((num_groups,), np.int32),
  }
  if "prompt" in trainable:
    best["prompt"] = jax.tree.map(np.array, trainable["prompt"])
  return best


def update_best(best, trainable, metrics, model, metric, step):
  """Takes over the prompts of each group whose mean metric is its best."""
  groups = np.asarray(model.groups)
  values = np.array([m.get(metric, np.nan) for m in metrics])
  if np.isnan(values).all():
    known = sorted({k for m in metrics for k in m})
    raise ValueError(
      f"EvalConfig.metric={metric!r} is not among the tasks' metrics:"
      f" {', '.join(known)}"
    )
  if "prompt" not in best:
    return best
  best = jax.tree.map(np.array, best)
  for group in range(groups.max() + 1):
    members = np.flatnonzero(groups == group)
    mean = np.nanmean(values[members])
    if mean > best["metric"][group]:
      best["metric"][group], best["step"][group] = mean, step
      for name, value in trainable["prompt"].items():
        rows = [group] if name == "shared_prompt" else members
        best["prompt"][name][rows] = np.asarray(value)[rows]
  return best


def make_bank(setup: Setup, prompt) -> banks.PromptBank:
  """The bank of a prompt tree, with what prediction needs to know."""
  slots = tuple(
    {
      "task": slot.task,
      "label_names": evaluation.label_names(task),
      "template": getattr(task, "template", None),
    }
    for slot, task in zip(setup.experiment.slots, setup.tasks, strict=True)
  )
  return banks.PromptBank(
    {k: np.asarray(v) for k, v in prompt.items()},
    tuple(slot.name for slot in setup.experiment.slots),
    setup.model.groups,
    setup.backbone.fingerprint,
    slots,
  )


def write_prompts(model_dir, setup, trainable, best):
  """Writes the run's prompt files, or its backbone where everything trains."""
  if jax.process_index() != 0:
    return
  if setup.model.prompt_config is not None:
    last = make_bank(setup, trainable["prompt"])
    last.save(model_dir / "prompts" / "last.safetensors")
    chosen = make_bank(setup, best["prompt"]) if best["step"].all() else last
    chosen.save(model_dir / "prompts" / "best.safetensors")
  if setup.model.trainable == "everything":
    from mpt_jax.backbones import save_backbone

    params = {k: v for k, v in trainable.items() if k != "prompt"}
    save_backbone(
      model_dir / "backbone",
      setup.backbone.config,
      jax.tree.map(np.asarray, params),
      setup.backbone.vocabulary_path,
    )


def check_model_dir(model_dir, settings):
  """Refuses a folder of another experiment.

  Args:
    model_dir: the run's folder.
    settings: the experiment as JSON; what is compared are the keys that both
      it and the folder's experiment.json have.

  Raises:
    ValueError: the folder holds something else; the message names the
      settings that differ.
  """
  path = model_dir / SETTINGS
  if path.exists():
    try:
      old = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
      raise ValueError(f"{path} is damaged: {error}") from error
    differ = sorted(
      k for k in old.keys() & settings.keys() if old[k] != settings[k]
    )
    if differ:
      raise ValueError(
        f"{model_dir} holds another experiment: {', '.join(differ)} differ"
        f" (see {path}); use another folder"
      )
  elif model_dir.is_dir() and any(
    p.name != SETTINGS + ".tmp" for p in model_dir.iterdir()
  ):
    raise ValueError(
      f"{model_dir} is not empty and holds no {SETTINGS}, so it is not a run of"
      " ours; use another folder"
    )


def write_settings(model_dir, settings, config_text):
  """Writes experiment.json, in one move, and the launcher's configuration."""
  if jax.process_index() != 0:
    return
  model_dir.mkdir(parents=True, exist_ok=True)
  temporary = model_dir / (SETTINGS + ".tmp")
  temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
  os.replace(temporary, model_dir / SETTINGS)
  if config_text is not None:
    (model_dir / "config.gin").write_text(config_text, encoding="utf-8")


if __name__ == "__main__":
  from mpt_jax import gin_main

  sys.exit(gin_main.main(sys.argv[1:]))
