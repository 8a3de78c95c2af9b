"""Evaluates prompts on tasks: metrics of the tasks on the engine's answers."""

import contextlib
import dataclasses
import functools
import hashlib
from typing import NamedTuple

import numpy as np

from mpt_jax.data import batches, labels
from mpt_jax.data.in_memory import task_files
from mpt_jax.inference.engine.decoding import Generation
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import METHODS, Example, NotFiniteError
from mpt_jax.inference.eval_task import EvalTask
from mpt_jax.inference.find_tasks import find_tasks
from mpt_jax.inference.loading import load
from mpt_jax.io import checks
from mpt_jax.model import partitioning
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.slots import Slot


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
  """When and how a run evaluates.

  Attributes:
    period: steps between evaluations; the last step is always evaluated.
    split: the split of each slot's task.
    patience: evaluations without a better mean metric of any group after
      which training ends early; None never ends it early. t5x ignores it.
    max_examples: evaluate the first so many examples of each task; None for
      all.
    method: "rank" scores each label string and takes the likeliest,
      "rank_per_token" the one with the best score per token (see
      `labels.per_token`), "decode" generates, and "auto" ranks if the task has
      label names.
    num_beams: beams of "decode"; 1 decodes greedily.
    metric: the metric that selects the best step, for all tasks; higher is
      better. None uses each task's own, see `EvalTask.main_metric`.
    num_rows: most rows of a batch, with one example each. There are fewer if
      they would exceed the engine's bound on memory.
  """

  period: int = 500
  patience: int | None = None
  split: str = "validation"
  max_examples: int | None = None
  method: str = "auto"
  num_beams: int = 1
  metric: str | None = None
  num_rows: int = 64

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.whole, "period", "num_beams", "num_rows", low=1)
    check(checks.whole, "max_examples", "patience", low=1, optional=True)
    check(checks.choice, "method", choices=METHODS)
    check(checks.text, "split")
    check(checks.text, "metric", optional=True)

  @property
  def generation(self) -> Generation:
    return Generation(num_beams=self.num_beams)


class Evaluator:
  """Evaluates prompts on their tasks' examples.

  Args:
    tasks: the seqio task of each prompt.
    config: split, method and sizes.
    names: the names of the prompts, for errors; None takes the tasks'.

  Raises:
    ValueError: a task lacks the split, the split has no examples, or the method
      is "rank" or "rank_per_token" and a task has no label names.

  Attributes:
    tasks: the `EvalTask` of each prompt.
  """

  def __init__(self, tasks, config: EvalConfig, names=None):
    self._config, by_name = config, {}
    self._names = names or [task.name for task in tasks]
    for task in tasks:
      if task.name not in by_name:
        by_name[task.name] = EvalTask(task, config.split, config.max_examples)
    self.tasks = [by_name[task.name] for task in tasks]
    for task in by_name.values():
      if config.method.startswith("rank") and task.labels is None:
        raise ValueError(
          f"task {task.name!r} has no label names to rank; use method='decode'"
        )

  def main_metrics(self) -> list[str]:
    """Returns the `EvalTask.main_metric` of each prompt's task."""
    tasks = {task.name: task for task in self.tasks}
    asked = self._config.metric
    names = {name: task.main_metric(asked) for name, task in tasks.items()}
    return [names[task.name] for task in self.tasks]

  def digest(self) -> str:
    """Returns a digest of all examples, inputs and targets."""
    digest = hashlib.sha256()
    for task in {task.name: task for task in self.tasks}.values():
      for inputs, target in zip(task.inputs, task.targets, strict=True):
        digest.update(np.asarray(inputs, np.int64).tobytes())
        digest.update(f"{task.name} {target!r}\n".encode())
    return digest.hexdigest()

  def __call__(self, engine: Engine, progress=None) -> list[dict]:
    """Evaluates the engine's prompts, or its T5 alone, on all tasks.

    Args:
      engine: an engine with one prompt per task, in order, or no prompts.
      progress: called with (done, total) numbers of examples.

    Returns:
      A dict for each task, with its metrics and "num_examples".

    Raises:
      NotFiniteError: the scores of an example are NaN or infinite.
    """
    return self.metrics(*self.predict(engine, progress))

  def metrics(self, predictions, scores) -> list[dict]:
    """Returns each task's metrics of what `predict` returned."""
    made = zip(self.tasks, predictions, scores, strict=True)
    return [task.metrics(texts, own) for task, texts, own in made]

  def predict(self, engine: Engine, progress=None) -> tuple[list, list]:
    """Answers the examples of all prompts; see `__call__` for the arguments.

    Returns:
      (predictions, scores): for each prompt the postprocessed predictions, and
      the log-probabilities of the targets where the task's metrics need them.
    """
    done = 0
    # Scores are computed apart from the predictions.
    total = sum(
      len(task.inputs) * (2 if task.task.score_metric_fns else 1)
      for task in self.tasks
    )

    def advance(count):
      nonlocal done
      done += count
      if progress:
        progress(done, total)

    predictions = [[None] * len(task.inputs) for task in self.tasks]
    scores = [[None] * len(task.inputs) for task in self.tasks]
    for name in dict.fromkeys(task.name for task in self.tasks):
      slots = [i for i, t in enumerate(self.tasks) if t.name == name]
      task = self.tasks[slots[0]]
      work = [(slot, i) for slot in slots for i in range(len(task.inputs))]
      texts = self._answer(engine, task, work, advance)
      for (slot, i), text in zip(work, texts, strict=True):
        made = task.postprocess(text, task.examples[i], False)
        predictions[slot][i] = made
      if task.task.score_metric_fns:
        made = self._score_targets(engine, task, work, advance)
        for (slot, i), score in zip(work, made, strict=True):
          scores[slot][i] = score
    return predictions, scores

  def _score_targets(self, engine, task, work, advance):
    """Returns the log-probability of the target of each (prompt, index).

    As in t5x, a target is cut to the longest length.
    """
    targets = [
      batches.truncate(example["targets"], engine.targets_length)[0]
      for example in task.examples
    ]
    examples = [
      Example(task.inputs[i], slot if engine.num_prompts else 0, (targets[i],))
      for slot, i in work
    ]
    with self._naming(work):
      return [float(own[0]) for own in engine.rank(examples, advance)]

  @contextlib.contextmanager
  def _naming(self, work):
    """Names the prompt and the example in an error of the engine."""
    try:
      yield
    except NotFiniteError as error:
      slot, i = work[error.index]
      name = f"prompt {self._names[slot]!r}, example {i + 1}"
      raise NotFiniteError(error.index, name) from None

  def _answer(self, engine, task, work, advance):
    """Returns the predicted text of each (prompt, index of the example)."""
    rank = self._config.method != "decode" and task.labels is not None
    candidates = labels.label_tokens(task.task) if rank else ()

    def prompt(slot):
      return slot if engine.num_prompts else 0

    examples = [
      Example(task.inputs[i], prompt(slot), candidates) for slot, i in work
    ]
    with self._naming(work):
      if rank:
        scores = engine.rank(examples, advance)
        if self._config.method == "rank_per_token":
          scores = [labels.per_token(own, candidates) for own in scores]
        return [task.labels[int(own.argmax())] for own in scores]
      tokens = engine.generate(examples, advance=advance)
    return [task.vocabulary.decode([int(t) for t in row]) for row in tokens]


class Answered(NamedTuple):
  """What a prompt answered.

  Attributes:
    prompt: its name; None for the T5 alone.
    task_name: the name of the task.
    task: its `EvalTask`: examples, targets and label names.
    predictions: the postprocessed answer of each example.
    metrics: the task's metrics, and "num_examples".
  """

  prompt: str | None
  task_name: str
  task: EvalTask
  predictions: list
  metrics: dict


def answer(
  prompts,
  tasks=None,
  config: EvalConfig = EvalConfig(),
  *,
  on: str | Slot | None = None,
  backbone: str | None = None,
  inputs_length: int | None = None,
  targets_length: int | None = None,
  dtype: str | None = None,
  num_model_partitions: int = 1,
  progress=None,
) -> list[Answered]:
  """Answers tasks with prompts, or with a T5 without prompts.

  Args:
    prompts: see `evaluate`, as all other arguments.
    tasks: names of prompts or tasks.
    config: split, number of examples and method.
    on: a task, or a slot, for all prompts.
    backbone: the T5.
    inputs_length: longest input in tokens.
    targets_length: longest output in tokens.
    dtype: for the T5 and the computation.
    num_model_partitions: devices that share one copy of the T5.
    progress: called with (done, total) numbers of examples.

  Returns:
    The answers of each prompt, in the bank's order.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files do not fit each other, or a task is unknown.
  """
  if prompts is None and not tasks:
    raise ValueError("without prompts, name at least one task")
  mesh = partitioning.make_mesh(num_model_partitions)
  loaded = load(prompts, backbone, dtype)
  bank, expanded, length = loaded.bank, None, None
  if bank is None:
    names, task_names = [None] * len(tasks), list(tasks)
  else:
    chosen = _chosen(bank, tasks)
    names = [bank.names[i] for i in chosen]
    task_names = [bank.slots[i]["task"] for i in chosen]
    expanded, length = bank.expanded[chosen], bank.config.prompt_length
  slots = [Slot(task=name) for name in task_names]
  if on is not None:
    slots = [on if isinstance(on, Slot) else Slot(task=on)] * len(slots)
  path = loaded.backbone.vocabulary_path
  own = None
  if on is None and bank is not None and not isinstance(prompts, PromptBank):
    own = task_files.load_tasks(prompts)
  evaluator = Evaluator(find_tasks(slots, path, own), config, bank and names)
  engine = Engine(
    loaded.backbone.config,
    loaded.backbone.params,
    expanded,
    prompt_length=length,
    mesh=mesh,
    inputs_length=loaded.choose_inputs_length(inputs_length),
    targets_length=targets_length or loaded.targets_length,
    batch_size=config.num_rows,
    generation=config.generation,
  )
  predictions, scores = evaluator.predict(engine, progress)
  metrics = evaluator.metrics(predictions, scores)
  made = zip(names, slots, evaluator.tasks, predictions, metrics, strict=True)
  return [
    Answered(name, slot.task, task, own, values)
    for name, slot, task, own, values in made
  ]


def evaluate(
  prompts,
  tasks=None,
  config: EvalConfig = EvalConfig(),
  *,
  on: str | Slot | None = None,
  backbone: str | None = None,
  inputs_length: int | None = None,
  targets_length: int | None = None,
  dtype: str | None = None,
  num_model_partitions: int = 1,
  progress=None,
) -> list[dict]:
  """Evaluates prompts, or a T5 without prompts, on tasks.

  Args:
    prompts: a prompt file, a run folder, a loaded `PromptBank`, or None for
      the T5 without prompts.
    tasks: names of prompts or tasks. Only these are evaluated, in the bank's
      order; None evaluates all. Without prompts, the tasks to evaluate.
    config: split, number of examples and method.
    on: a task, or a slot with a few-shot sample of one. Each prompt is
      evaluated on it instead of the task that it was trained for.
    backbone: "default" or a folder with a T5. None uses the run's backbone, or
      "default" if the run is unknown.
    inputs_length: longest input in tokens. None uses the run's length, or 512
      if the run is unknown.
    targets_length: longest output in tokens. None uses the run's length, or 64
      if the run is unknown.
    dtype: "float32" or "bfloat16", for the T5 and the computation. None uses
      the run's dtype, or that of the T5's folder.
    num_model_partitions: devices that share one copy of the T5. Batches are
      split over such groups of devices.
    progress: called with (done, total) numbers of examples.

  Returns:
    Rows of "prompt" (None without prompts), "task", "split", "metric",
    "value" and "num_examples".

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: the files do not fit each other, or a task is unknown.

  Example::

    evaluate("runs/adapt", ["rotten_tomatoes"], EvalConfig(split="test"))
    # [{"prompt": "rotten_tomatoes", "task": "rotten_tomatoes",
    #   "split": "test", "metric": "accuracy", "value": 0.81,
    #   "num_examples": 300}, ...]
  """
  rows = []
  for one in answer(
    prompts,
    tasks,
    config,
    on=on,
    backbone=backbone,
    inputs_length=inputs_length,
    targets_length=targets_length,
    dtype=dtype,
    num_model_partitions=num_model_partitions,
    progress=progress,
  ):
    values = dict(one.metrics)
    num_examples = int(values.pop("num_examples"))
    rows += [
      {
        "prompt": one.prompt,
        "task": one.task_name,
        "split": config.split,
        "metric": metric,
        "value": value,
        "num_examples": num_examples,
      }
      for metric, value in values.items()
    ]
  return rows


def _chosen(bank, tasks):
  """Returns the indices of the prompts with these names or tasks."""
  if not tasks:
    return list(range(len(bank.names)))
  found = set()
  for name in tasks:
    of_task = [i for i, s in enumerate(bank.slots) if s.get("task") == name]
    # `index` raises the error for an unknown name.
    found.update(of_task or [bank.index(name)])
  return sorted(found)
