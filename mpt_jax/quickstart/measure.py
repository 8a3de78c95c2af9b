"""Measures the quickstart's prompts, and what they are compared with.

All results are rows as `mpt_jax.quickstart.statistics` describes them.
"""

import itertools

import mpt_jax as mpt
from mpt_jax.data import metrics
from mpt_jax.data.in_memory.baselines import MAJORITY, TFIDF, answer_task
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.quickstart.config import BATCH


def baseline_rows(config, vocabulary_path) -> list[dict]:
  """Fetches the data, and measures what needs no T5 on each draw of it."""
  from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.
  from mpt_jax.tasks.public import packages, sources

  names = [*config.sources, *config.targets]
  known = [sources.SOURCES[name] for name in names if name in sources.SOURCES]
  packages.fetch_all(sorted({p for source in known for p in source.packages}))
  rows = []
  for stage, slots in (
    ("teach", mpt.make_slots(config.sources)),
    ("adapt", mpt.make_slots(config.targets, config.shots, config.seeds)),
  ):
    tasks = slot_tasks(slots, vocabulary_path)
    for slot, task in zip(slots, tasks, strict=True):
      seed = None if slot.shots is None else slot.seed
      made, right = answer_task(task, "test", config.test_examples)
      for method, name in (("majority", MAJORITY), ("tfidf_lr", TFIDF)):
        values = {"num_examples": len(right)}
        for metric in ("accuracy", "balanced_accuracy"):
          values |= metrics.METRICS[metric](right, made[name])
        rows += _rows(stage, method, slot.task, slot.shots, seed, values)
  return rows


def best_teacher(config, teachers, slot) -> str:
  """Returns the best teacher on a target's own shots.

  SPoT's source is chosen in this way, on training examples alone.
  """
  found = _evaluate(config, teachers, split="train", on=slot)
  best = max(found, key=lambda one: one[2]["balanced_accuracy"])
  return best[0]


def source_rows(config, teachers, students) -> list[dict]:
  """Measures both banks of the source tasks, and the T5 without prompts."""
  prefixed = [f"{name}_prefixed" for name in config.sources]
  rows = []
  for stage, method, prompts, tasks in (
    ("teach", "no_prompt", None, config.sources),
    ("teach", "native_prefix", None, prefixed),
    ("teach", "teacher", teachers, None),
    ("distill", "student", students, None),
  ):
    for _, task, values in _evaluate(config, prompts, tasks):
      task = task.removesuffix("_prefixed")
      rows += _rows(stage, method, task, None, None, values)
  return rows


def target_rows(config, prompts, slots) -> list[dict]:
  """Measures the slots of the targets, and the T5 without prompts."""
  rows = []
  measured = _evaluate(config, prompts)
  for slot, (_, task, values) in zip(slots, measured, strict=True):
    rows += _rows("adapt", slot.label, task, slot.shots, slot.seed, values)
  for _, task, values in _evaluate(config, None, config.targets):
    for shots in config.shots:
      rows += _rows("adapt", "no_prompt", task, shots, None, values)
  return rows


def _evaluate(config, prompts, tasks=None, split="test", **options):
  """Yields (prompt, task, metrics) in the order of the bank."""
  rows = mpt.evaluate(
    prompts,
    tasks,
    mpt.EvalConfig(split=split, max_examples=config.test_examples),
    backbone=config.backbone,
    inputs_length=BATCH.inputs_length,
    targets_length=BATCH.targets_length,
    **options,
  )

  def key(row):
    return (row["prompt"], row["task"])

  for (prompt, task), own in itertools.groupby(rows, key):
    own = list(own)
    values = {row["metric"]: row["value"] for row in own}
    yield prompt, task, values | {"num_examples": own[0]["num_examples"]}


def _rows(stage, method, task, shots, seed, values):
  """Returns the rows of one measurement, one for each metric."""
  return [
    {
      "stage": stage,
      "method": method,
      "task": task,
      "shots": shots,
      "seed": seed,
      "metric": metric,
      "value": float(values[metric]),
      "num_examples": int(values["num_examples"]),
    }
    for metric in ("accuracy", "balanced_accuracy")
  ]
