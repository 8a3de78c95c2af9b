"""Settles the settings of a run: lengths, prompts, steps, learning rate."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from mpt_jax.backbones import backbone as backbones
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.data.mixing import MixConfig
from mpt_jax.fitting.config import SCRATCH, FitConfig
from mpt_jax.fitting.problem import Problem
from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.kind import SLOTS
from mpt_jax.prompts.slots import Slot
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import OptimizerConfig

# (most training rows, steps).
STEPS = ((200, 200), (1000, 400), (10_000, 800), (math.inf, 1500))
# A T5 of at most this width is small, and gets shorter prompts.
SMALL = 256
PROMPT_LENGTH = {True: 16, False: 100}
# The paper's. On bbc_topic (480 rows, 16 x 256, 80 steps) the training loss of
# the default T5 was 1.26 at this rate, 1.89 at a third and 2.60 at a tenth.
LEARNING_RATE = 0.3
# The factors' rate is that of P* times this, as in the paper's 0.4 and 0.3.
FACTOR_RATE = 4 / 3
# Examples of a task in each batch: alone, and beside others.
BATCH_SIZE = {True: 32, False: 16}
EVALUATIONS, PATIENCE, EVAL_EXAMPLES = 20, 6, 500
TUNED = (0.3, 1.0, 3.0)
# Longest inputs and targets, in tokens, unless the user allows more.
MAX_INPUTS, MAX_TARGETS = 256, 64
# Most rows to look at for lengths.
SAMPLE = 2000
# The share of a plain matrix product's speed that a step reaches on a CPU.
EFFICIENCY = 0.35
# Seconds to compile a small T5.
COMPILING = 15


class Lengths(NamedTuple):
  """Token lengths of a task's training rows, with the end of sequence."""

  longest_inputs: int
  median_inputs: float
  cut: float
  longest_targets: int
  median_targets: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What will be trained.

  Attributes:
    experiment: its settings.
    lengths: the lengths of each task's rows.
    network: the shape of the T5.
    num_parameters: the number of parameters of the T5.
    per_task: trained parameters of a task.
    seconds: about how long training takes; None if that is unknown.
  """

  experiment: Experiment
  lengths: tuple[Lengths, ...]
  network: T5Config
  num_parameters: int
  per_task: int
  seconds: float | None


def make_plan(problems: Sequence[Problem], config: FitConfig) -> Plan:
  """Settles everything that the user left open.

  Raises:
    FileNotFoundError: there is no such T5 or prompt file.
    ValueError: settings do not fit each other.
  """
  opened = backbones.open_backbone(config.backbone)
  vocabulary = opened.find_vocabulary()
  small = opened.config.emb_dim <= SMALL
  tasks = [p.task.with_vocabulary(vocabulary) for p in problems]
  most = config.inputs_length or MAX_INPUTS
  lengths = tuple(_lengths(task, most) for task in tasks)
  inputs_length = min(most, max(x.longest_inputs for x in lengths))
  targets_length = max(x.longest_targets for x in lengths)
  if any(p.task.kind == "text" for p in problems):
    targets_length = min(MAX_TARGETS, targets_length)
  slots, shape = _slots(problems, config, small)
  rows = max(len(p.task.rows["train"]) for p in problems)
  steps = config.steps or next(n for most, n in STEPS if rows <= most)
  each = config.batch_size or BATCH_SIZE[len(slots) == 1]
  rate = config.learning_rate or LEARNING_RATE
  metrics = {problem.task.metric for problem in problems}
  experiment = Experiment(
    slots=slots,
    total_steps=steps,
    backbone=config.backbone,
    **shape,
    **_distillation(config),
    batch=BatchConfig(
      inputs_length=-(-inputs_length // 8) * 8,
      targets_length=max(2, targets_length),
      row_multiple=8,
    ),
    mix=MixConfig(
      batch_size=each * len(slots),
      mixing="sampled" if config.teachers else "all",
      seed=config.seed,
    ),
    optimizer=OptimizerConfig(
      learning_rate=rate, factor_learning_rate=round(rate * FACTOR_RATE, 6)
    ),
    eval=EvalConfig(
      period=max(10, steps // EVALUATIONS),
      patience=PATIENCE,
      max_examples=EVAL_EXAMPLES,
      metric=metrics.pop() if len(metrics) == 1 else None,
    ),
    seed=config.seed,
  )
  sizes = _sizes(opened)
  each = experiment.bank_config.num_parameters_each(opened.config.emb_dim)
  shares = experiment.rank and config.share
  return Plan(
    experiment=experiment,
    lengths=lengths,
    network=opened.config,
    num_parameters=sum(sizes.values()),
    per_task=each[SLOTS] if shares else sum(each.values()),
    seconds=_estimate(experiment, problems, lengths, sizes),
  )


def _distillation(config) -> dict:
  """Returns the settings of `Experiment` that distill teachers, if any."""
  if config.teachers is None:
    return {}
  loss = LossConfig(distill=DistillConfig())
  return {"teachers": config.teachers, "loss": loss}


def _lengths(task: RowTask, most: int) -> Lengths:
  """Measures rows from everywhere in the training split."""
  count = len(task.rows["train"])
  chosen = range(0, count, -(-count // SAMPLE))
  made = [task.example("train", index) for index in chosen]
  inputs = [len(example["inputs"]) for example in made]
  targets = [len(example["targets"]) for example in made]
  if task.label_names:
    encode = task.output_features["targets"].vocabulary.encode
    targets.append(max(len(encode(name)) + 1 for name in task.label_names))
  return Lengths(
    max(inputs),
    float(np.median(inputs)),
    float(np.mean([length > most for length in inputs])),
    max(targets),
    float(np.median(targets)),
  )


def _slots(problems, config, small) -> tuple[tuple[Slot, ...], dict]:
  """Returns the slots, and the shape of their prompts for `Experiment`."""
  start, rank = {}, 1 if config.share else 0
  shape = {"prompt_length": config.prompt_length or PROMPT_LENGTH[small]}
  if config.teachers is not None:
    teachers = load_bank(config.teachers)
    shape = {"prompt_length": teachers.config.prompt_length}
  if config.start != SCRATCH:
    bank = load_bank(config.start)
    shape = {"prompt_length": bank.config.prompt_length}
    init = "mean_matrix"
    if not bank.config.can_share:
      init = f"task:{bank.names[bank.best_of(range(len(bank.names)))]}"
    if not bank.config.is_plain:
      rank, shape["prompt_kind"] = bank.config.rank, bank.config.kind
    start = {"init": init, "source": config.start}
  slots = []
  for scale in TUNED if config.tune else (1.0,):
    label = f"rate_x{scale:g}" if config.tune else ""
    for problem in problems:
      slots.append(
        Slot(
          task=problem.task.name,
          label=label,
          seed=config.seed,
          group="_".join(filter(None, ("all", label)))
          if config.share
          else None,
          learning_rate_scale=scale,
          **start,
        )
      )
  return tuple(slots), {**shape, "rank": rank}


def _sizes(opened) -> dict[str, int]:
  """Returns the numbers of parameters of the parts of a T5."""
  from mpt_jax.backbones.shapes import parameter_shapes

  sizes = {}
  for name, shape in parameter_shapes(opened.config).items():
    part = name.partition("/")[0]
    sizes[part] = sizes.get(part, 0) + math.prod(shape)
  return sizes


def _estimate(experiment, problems, lengths, sizes) -> float | None:
  """Returns about how many seconds training takes on a CPU, else None.

  A step multiplies each token by the weights forwards and backwards: 4
  operations per weight, since no gradient of the weights is computed. An
  evaluation has half of that, and the target tokens of all labels.
  """
  if jax.default_backend() != "cpu":
    return None
  prompt, most = experiment.prompt_length, experiment.batch.inputs_length
  inputs = np.mean([min(x.median_inputs, most) for x in lengths]) + prompt
  targets = np.mean([x.median_targets for x in lengths])
  head = max(sizes.get("token_embedder", 0), sizes["decoder"] // 8)
  one = inputs * sizes["encoder"] + targets * (sizes["decoder"] + head)
  total = 4 * experiment.mix.batch_size * one * experiment.total_steps
  evaluations = experiment.total_steps / experiment.eval.period
  for problem in problems:
    rows = min(len(problem.task.rows["validation"]), EVAL_EXAMPLES)
    ranked = targets * max(1, len(problem.task.label_names or ()))
    row = inputs * sizes["encoder"] + ranked * (sizes["decoder"] + head)
    share = len(experiment.slots) / len(problems)
    total += 2 * evaluations * rows * share * row
  return COMPILING + total / (EFFICIENCY * _speed())


def _speed() -> float:
  """Returns the operations a second of a plain matrix product here."""
  matrix = np.ones((768, 768), np.float32)
  matrix @ matrix  # The first product starts threads.
  start, count = time.perf_counter(), 0
  while time.perf_counter() < start + 0.1:
    matrix @ matrix
    count += 1
  return count * 2 * 768**3 / (time.perf_counter() - start)
