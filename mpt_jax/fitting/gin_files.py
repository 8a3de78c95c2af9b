"""The gin file and the tasks' module that are equal to a `mpt fit`.

Whoever outgrows `mpt fit` goes on from them with `mpt train` or t5x.
"""

import string

from mpt_jax.data.in_memory import task_files
from mpt_jax.io import paths
from mpt_jax.training.experiment import Experiment

GIN, MODULE = "fit.gin", "fit_tasks"

_MODULE = string.Template('''\
"""The tasks of this folder; `mpt fit` wrote this file."""

import pathlib

from mpt_jax.tasks.files import register_file_task

DATA = pathlib.Path(__file__).parent / "data"
$tasks''')

_GIN = string.Template("""\
# `mpt fit` trained with these settings. In this folder, the command
#   mpt train --gin_file=fit.gin --gin.MODEL_DIR='"../NAME"'
# trains with them again, with seqio's order of the examples.
from __gin__ import dynamic_registration
import fit_tasks

from mpt_jax.data import batches
from mpt_jax.inference import evaluator
from mpt_jax.prompts import slots

include "gin/$stage.gin"

${teachers}INITIAL_CHECKPOINT_PATH = $backbone
MIXTURE_OR_TASK_NAME = $tasks
PROMPT_LENGTH = $prompt_length
RANK = $rank
TASK_FEATURE_LENGTHS = $lengths
BATCH_SIZE = $batch_size
TRAIN_STEPS = $steps
LEARNING_RATE = $rate
FACTOR_LEARNING_RATE = $factor_rate
EVAL_PERIOD = $period
EVAL_EXAMPLES = $examples
SEED = $seed
DTYPE = None

slots.make_slots:
  share = $share
  init = $init
  source = $source
  seeds = ($seed,)

evaluator.EvalConfig:
  patience = $patience
  metric = $metric
""")


def module_text(problems) -> str:
  """Returns a Python module that registers the tasks with seqio."""
  parts = []
  for problem in problems:
    task = problem.task
    names = ", ".join(
      f"{split!r}: DATA / {task_files.file_name(task.name, split)!r}"
      for split in task.splits
    )
    labels = None if task.label_names is None else tuple(task.label_names)
    metrics = task.metric_names
    parts.append(
      f"""
register_file_task(
  {task.name!r},
  {{{names}}},
  template={task.template!r},
  target={task.target!r},
  label_names={labels!r},
  metric_fns={metrics!r},
)
"""
    )
  return _MODULE.substitute(tasks="".join(parts))


def gin_text(experiment: Experiment, share: bool) -> str:
  """Returns the gin file of an experiment of `mpt fit`.

  Slots that differ in their learning rates alone, as of `--tune`, become one.

  Args:
    experiment: the experiment.
    share: whether its tasks share one P*.
  """
  slots = experiment.slots
  names = tuple(dict.fromkeys(slot.task for slot in slots))
  each = experiment.mix.batch_size // len(slots)
  return _GIN.substitute(
    stage="base" if experiment.teachers is None else "mpt_distill",
    teachers=(
      ""
      if experiment.teachers is None
      else f"TEACHERS = {paths.absolute(experiment.teachers)!r}\n"
    ),
    backbone=repr(experiment.backbone),
    tasks=repr(names),
    prompt_length=experiment.prompt_length,
    rank=experiment.rank,
    lengths=repr(
      {
        "inputs": experiment.batch.inputs_length,
        "targets": experiment.batch.targets_length,
      }
    ),
    batch_size=each * len(names),
    steps=experiment.total_steps,
    rate=experiment.optimizer.learning_rate,
    factor_rate=experiment.optimizer.factor_learning_rate,
    period=experiment.eval.period,
    examples=experiment.eval.max_examples,
    patience=experiment.eval.patience,
    metric=repr(experiment.eval.metric),
    seed=experiment.seed,
    share=repr("all" if share else "none"),
    init=repr(slots[0].init),
    source=repr(slots[0].source),
  )
