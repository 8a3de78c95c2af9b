"""The gate of a T5: can prompts steer it on tasks that it has not seen?

  python benchmarks/gate.py --backbone T5_FOLDER --out FOLDER

For each target, with its whole training set: the majority class, tf-idf with
logistic regression, the T5 without a prompt, one tuned prompt, and full
fine-tuning of the same T5. Numbers are balanced accuracies on test rows in
percent. Learning rates and steps are chosen on validation rows. What
`results.json` in FOLDER has already is not run again, and an interrupted run
goes on where it stopped.

The gate is passed where the prompt is at least 10 points above majority, no
more than 5 below fine-tuning and, on half of the targets, not below tf-idf.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

import jax
import numpy as np

import mpt_jax as mpt
import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.data import metrics
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.model import partitioning
from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.
from mpt_jax.tasks.pretraining.packed import overlap

METRIC = "balanced_accuracy"
METHODS = ("majority", "tfidf_lr", "no_prompt", "prompt", "finetune")
ABOVE_MAJORITY = 10.0
BELOW_FINETUNE = 5.0
BATCH = mpt.BatchConfig(
  inputs_length=80, targets_length=8, row_length=192, row_multiple=4
)


@dataclasses.dataclass(frozen=True)
class GateConfig:
  """What the gate runs.

  Attributes:
    backbone: the T5: "default" or a folder.
    prompt_length: P.
    steps: training steps of each prompt and of each fine-tuning.
    batch_size: examples of a batch, for each task.
    prompt_rates: candidate learning rates of the prompt.
    finetune_rates: candidate learning rates of fine-tuning.
    test_examples: test rows of each target.
  """

  backbone: str = "default"
  prompt_length: int = 16
  steps: int = 1000
  batch_size: int = 32
  prompt_rates: tuple[float, ...] = (0.1, 0.3)
  finetune_rates: tuple[float, ...] = (0.001,)
  test_examples: int = 1000


class Gate:
  """Runs the methods and keeps their numbers.

  Args:
    out: folder of the runs and of results.json.
    config: what to run.
  """

  def __init__(self, out, config: GateConfig):
    self.out, self.config = pathlib.Path(out), config
    self.backbone = mpt.load_backbone(config.backbone)
    self._path = self.out / "results.json"
    self.rows = []
    if self._path.exists():
      self.rows = json.loads(self._path.read_text())

  def run(self, target: str) -> dict[str, float]:
    """Returns {method: balanced accuracy in percent} of a target."""
    makers = {
      "majority": self._majority,
      "tfidf_lr": self._tfidf,
      "no_prompt": self._no_prompt,
      "prompt": self._prompt,
      "finetune": self._finetune,
    }
    for method in METHODS:
      if method not in self.values(target):
        value = 100.0 * makers[method](target)
        row = {"target": target, "method": method, "value": value}
        self.rows.append(row)
        self._save()
        print(f"{target:16} {method:10} {value:5.1f}", flush=True)
    return self.values(target)

  def values(self, target: str) -> dict[str, float]:
    rows = [row for row in self.rows if row["target"] == target]
    return {row["method"]: row["value"] for row in rows}

  def _save(self):
    self.out.mkdir(parents=True, exist_ok=True)
    temporary = self._path.with_suffix(".tmp")
    temporary.write_text(json.dumps(self.rows, indent=1) + "\n")
    os.replace(temporary, self._path)

  def _task(self, target):
    slots = mpt.make_slots((target,))
    (task,) = slot_tasks(slots, self.backbone.vocabulary_path)
    return task

  def _rows_of(self, target):
    task = self._task(target)
    test = task.source.examples("test")[: self.config.test_examples]
    return task.source.examples("train"), test

  def _majority(self, target):
    train_rows, test_rows = self._rows_of(target)
    labels, counts = np.unique([y for _, y in train_rows], return_counts=True)
    common = str(labels[counts.argmax()])
    return _balanced([y for _, y in test_rows], [common] * len(test_rows))

  def _tfidf(self, target):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train_rows, test_rows = self._rows_of(target)
    model = make_pipeline(
      TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
      LogisticRegression(C=10.0, max_iter=300, solver="newton-cg"),
    )
    model.fit(*zip(*train_rows, strict=True))
    texts, labels = zip(*test_rows, strict=True)
    return _balanced(list(labels), model.predict(texts).tolist())

  def _no_prompt(self, target):
    engine = self._engine(self.backbone.params)
    return self._evaluate(engine, target, "test")

  def _prompt(self, target):
    """Tunes a prompt with each rate, in one bank; validation chooses."""
    config = self.config
    rates = config.prompt_rates
    (slot,) = mpt.make_slots((target,))
    slots = tuple(
      dataclasses.replace(
        slot, label=f"rate{rate}", learning_rate_scale=rate / rates[0]
      )
      for rate in rates
    )
    bank = mpt.train(
      mpt.Experiment(
        slots=slots,
        rank=0,
        prompt_length=config.prompt_length,
        optimizer=mpt.OptimizerConfig(learning_rate=rates[0]),
        mix=mpt.MixConfig(batch_size=config.batch_size * len(slots)),
        **self._common(),
      ),
      model_dir=self.out / f"{target}_prompt",
      description=f"{target}: prompt",
    ).best
    engine = self._engine(self.backbone.params)
    candidates = [engine.with_prompts(prompt[None]) for prompt in bank.composed]
    return self._best(candidates, target)

  def _finetune(self, target):
    """Trains the whole T5 with each rate; validation chooses."""
    candidates = []
    for rate in self.config.finetune_rates:
      result = mpt.train(
        mpt.Experiment(
          slots=mpt.make_slots((target,)),
          trainable="everything",
          prompt_length=0,
          dropout_rate=0.1,
          optimizer=mpt.OptimizerConfig(learning_rate=rate),
          mix=mpt.MixConfig(batch_size=self.config.batch_size),
          **self._common(),
        ),
        model_dir=self.out / f"{target}_finetune_{rate}",
        description=f"{target}: fine-tuning",
      )
      candidates.append(self._engine(jax.device_get(result.params)))
    return self._best(candidates, target)

  def _common(self):
    steps = self.config.steps
    return dict(
      backbone=self.config.backbone,
      total_steps=steps,
      batch=BATCH,
      eval=mpt.EvalConfig(
        period=max(1, steps // 4), max_examples=300, metric=METRIC
      ),
    )

  def _best(self, engines, target):
    """The test value of the engine that is best on validation rows."""
    scores = [
      self._evaluate(engine, target, "validation") for engine in engines
    ]
    chosen = engines[int(np.argmax(scores))]
    return self._evaluate(chosen, target, "test")

  def _engine(self, params):
    return Engine(
      self.backbone.config,
      params,
      mesh=partitioning.make_mesh(),
      inputs_length=BATCH.inputs_length,
      targets_length=BATCH.targets_length,
    )

  def _evaluate(self, engine, target, split):
    config = mpt.EvalConfig(split=split, max_examples=self.config.test_examples)
    (values,) = Evaluator([self._task(target)], config)(engine)
    return values[METRIC]


def _balanced(labels, predicted):
  return metrics.METRICS[METRIC](labels, predicted)[METRIC]


def judge(table: dict[str, dict[str, float]]) -> tuple[list[str], bool]:
  """Says for each target whether it passes, and whether the gate does.

  Args:
    table: {target: {method: balanced accuracy in percent}}.

  Returns:
    Lines of a Markdown table, and True if all conditions hold.
  """
  lines = [
    "| target | " + " | ".join(METHODS) + " | steered | near full | ≥ tf-idf |",
    "|" + " --- |" * (len(METHODS) + 4),
  ]
  checks = []
  for target, values in table.items():
    prompt = values["prompt"]
    check = (
      prompt >= values["majority"] + ABOVE_MAJORITY,
      prompt >= values["finetune"] - BELOW_FINETUNE,
      prompt >= values["tfidf_lr"],
    )
    checks.append(check)
    cells = [f"{values[method]:.1f}" for method in METHODS]
    cells += ["yes" if passed else "no" for passed in check]
    lines.append(f"| {target} | " + " | ".join(cells) + " |")
  steered, near, words = zip(*checks, strict=True)
  return lines, all(steered) and all(near) and 2 * sum(words) >= len(words)


def main(arguments=None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--out", required=True, help="folder of the runs")
  parser.add_argument("--targets", nargs="+", default=overlap.held_out_names())
  for field in dataclasses.fields(GateConfig):
    if field.type in (int, str):
      parser.add_argument(f"--{field.name}", type=field.type)
  options = vars(parser.parse_args(arguments))
  names = {field.name for field in dataclasses.fields(GateConfig)}
  changes = {k: v for k, v in options.items() if k in names and v is not None}
  gate = Gate(options["out"], GateConfig(**changes))
  table = {target: gate.run(target) for target in options["targets"]}
  lines, passed = judge(table)
  verdict = "The gate is passed." if passed else "The gate is not passed."
  text = "\n".join([*lines, "", verdict]) + "\n"
  (gate.out / "gate.md").write_text(text)
  print(text)
  return 0 if passed else 1


if __name__ == "__main__":
  sys.exit(main())
