"""Evaluation of every slot of a bank: rank classification or decoding."""

import dataclasses
import functools

import jax
import numpy as np

from mpt_jax.data import batches
from mpt_jax.data.batches import BatchConfig
from mpt_jax.inference import decoding
from mpt_jax.model import partitioning

METHODS = ("auto", "rank", "decode")


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """When and how a run evaluates.

  Attributes:
    period: steps between evaluations; one more follows the last step.
    split: split of each slot's task.
    max_examples: examples of each task, the first ones; None for all.
    method: "rank" scores each label string and takes the likeliest, "decode"
      generates; "auto" ranks where the task has label names.
    num_beams: 1 decodes greedily.
    metric: the metric by which the best step is kept, of all tasks; it is
      maximised. None: each task's own, see `EvalTask.main_metric`.
    num_rows: rows of an evaluation batch.
  """

  period: int = 500
  split: str = "validation"
  max_examples: int | None = None
  method: str = "auto"
  num_beams: int = 1
  metric: str | None = None
  num_rows: int = 16

  def __post_init__(self):
    if self.method not in METHODS:
      raise ValueError(
        f"EvalConfig.method must be one of {METHODS}, got {self.method!r}"
      )
    if self.period < 1:
      raise ValueError(f"EvalConfig.period must be >= 1, got {self.period}")


def label_names(task) -> tuple[str, ...] | None:
  """The task's label strings, from its postprocessor; None if it has none."""
  return getattr(task.postprocessor, "label_names", None)


class EvalTask:
  """The tokenised evaluation examples of one seqio task.

  Attributes:
    name: the task's name.
    labels: its label strings, or None.
    inputs: list of token ids.
    targets: postprocessed targets, what the metrics compare with.
    task: the seqio task.
  """

  def __init__(self, task, split, max_examples=None):
    self.task, self.name = task, task.name
    self.labels = label_names(task)
    if split not in task.splits:
      raise ValueError(
        f"task {task.name!r} has no split {split!r}; it has"
        f" {', '.join(task.splits)}"
      )
    ds = task.get_dataset(sequence_length=None, split=split, shuffle=False)
    if max_examples is not None:
      ds = ds.take(max_examples)
    examples = list(ds.as_numpy_iterator())
    if not examples:
      raise ValueError(f"split {split!r} of task {task.name!r} is empty")
    vocabulary = task.output_features["targets"].vocabulary
    self.inputs = [x["inputs"] for x in examples]
    self.examples = examples
    self.vocabulary = vocabulary
    self.targets = [self.postprocess(self._text(x), x, True) for x in examples]

  def _text(self, example):
    """The target as text."""
    if "targets_pretokenized" in example:
      return example["targets_pretokenized"].decode()
    return self.vocabulary.decode([int(i) for i in example["targets"]])

  def postprocess(self, text, example, is_target):
    return self.task.postprocess_fn(text, example=example, is_target=is_target)

  def candidates(self):
    """Token ids of each label string, end of sequence included."""
    return [
      np.array([*self.vocabulary.encode(name), batches.EOS_ID], np.int32)
      for name in self.labels
    ]

  def metrics(self, predictions) -> dict[str, float]:
    """The task's metrics, and the number of examples they are over."""
    result = {}
    for metric_fn in self.task.metric_fns:
      result.update(metric_fn(self.targets, predictions))
    result = {k: float(getattr(v, "value", v)) for k, v in result.items()}
    return {**result, "num_examples": len(self.inputs)}

  def main_metric(self, name: str | None = None) -> str:
    """The name of the metric by which prompts of this task are compared.

    Args:
      name: the one that was asked for, if any.

    Returns:
      `name`; else the task's own (`tasks.Dataset.metric`); else the first
      value of its first metric function.

    Raises:
      ValueError: the task's metric functions do not return it.
    """
    # Only a call tells what a metric function returns: for right predictions.
    right = [self.postprocess(self._text(x), x, False) for x in self.examples]
    known = list(self.metrics(right))[:-1]  # The last is num_examples.
    if not known:
      raise ValueError(
        f"task {self.name!r} has no metric_fns, so there is no best step of it;"
        " register it with some, or train without evaluation"
        " (--gin.Experiment.eval=None)"
      )
    asked = name or getattr(self.task, "metric", None)
    if asked is not None and asked not in known:
      raise ValueError(
        (f"EvalConfig.metric={name!r}" if name else f"metric {asked!r}")
        + f" is not among the metrics of task {self.name!r}:"
        f" {', '.join(known)}"
      )
    return asked or known[0]


def _fill_rows(examples, config: BatchConfig, num_rows):
  """Cuts a list into runs that fit into `num_rows` packed rows.

  The list must be sorted by falling length, so that `batches.make_batch`
  packs each run as it is tried here.
  """
  start = 0
  length = config.row_length
  free = []
  for i, example in enumerate(examples):
    need = [
      config.prompt_length + min(len(example["inputs"]), config.inputs_length),
      sum(min(len(t), config.targets_length) for t in example["targets"]),
    ]
    for space in free:
      if need[0] <= space[0] and need[1] <= space[1]:
        break
    else:
      if len(free) == num_rows:
        yield examples[start:i]
        free, start = [], i
      space = [length, config.target_row_length]
      free.append(space)
    space[0] -= need[0]
    space[1] -= need[1]
  if start < len(examples):
    yield examples[start:]


class Evaluator:
  """Evaluates slots on their tasks' examples, all in the same programs.

  Args:
    network: `network.T5` with the bank's `PromptConfig`.
    tasks: for each slot of the bank its seqio task.
    config: split, method and sizes.
    batch_config: lengths; its prompt_length and num_tasks are the bank's.
    mesh: where to run.
  """

  def __init__(self, network, tasks, config, batch_config, mesh):
    self._network, self._config, self._mesh = network, config, mesh
    by_name = {}
    for task in tasks:
      if task.name not in by_name:
        by_name[task.name] = EvalTask(task, config.split, config.max_examples)
    self._tasks = [by_name[task.name] for task in tasks]
    self._batch_config = batch_config
    self._num_rows = (
      -(-config.num_rows // mesh.shape["data"]) * (mesh.shape["data"])
    )
    self._score = jax.jit(
      functools.partial(decoding.score_candidates, network),
      static_argnames="num_candidates",
      out_shardings=partitioning.replicated(mesh),
    )
    if config.num_beams > 1:
      decode = lambda *args, max_length: decoding.beam_decode(
        network, *args, max_length=max_length, num_beams=config.num_beams
      )[0]
    else:
      decode = functools.partial(decoding.greedy_decode, network)
    self._decode = jax.jit(
      decode,
      static_argnames="max_length",
      out_shardings=partitioning.replicated(mesh),
    )

  def main_metrics(self) -> list[str]:
    """For each slot its task's `EvalTask.main_metric`."""
    tasks = {task.name: task for task in self._tasks}
    asked = self._config.metric
    names = {name: task.main_metric(asked) for name, task in tasks.items()}
    return [names[task.name] for task in self._tasks]

  def __call__(self, params, progress=None) -> list[dict]:
    """Evaluates all slots.

    Args:
      params: the network's parameters, the bank under "prompt".
      progress: called with (done, total) examples.

    Returns:
      For each slot a dict of its task's metrics and "num_examples".
    """
    predictions = [[None] * len(task.inputs) for task in self._tasks]
    groups = {}
    for slot, task in enumerate(self._tasks):
      groups.setdefault(task.name, (task, []))[1].append(slot)
    total = sum(len(task.inputs) for task in self._tasks)
    done = 0
    for task, slots in groups.values():
      work = [
        (slot, i, ids) for slot in slots for i, ids in enumerate(task.inputs)
      ]
      rank = self._config.method == "rank" or (
        self._config.method == "auto" and task.labels is not None
      )
      if rank and task.labels is None:
        raise ValueError(
          f"task {task.name!r} has no label names to rank; use method='decode'"
        )
      run = self._rank if rank else self._generate
      for slot, i, prediction in run(params, task, work):
        predictions[slot][i] = prediction
        done += 1
        if progress and done % 64 == 0:
          progress(done, total)
    return [
      task.metrics(made)
      for task, made in zip(self._tasks, predictions, strict=True)
    ]

  def _rank(self, params, task, work):
    candidates = task.candidates()
    size = sum(len(c) for c in candidates)
    c = self._batch_config
    length = c.row_length or c.inputs_length + c.prompt_length
    longest = max(len(ids) for _, _, ids in work)
    per_row = max(
      1, length // (c.prompt_length + min(longest, c.inputs_length))
    )
    config = dataclasses.replace(
      c,
      pack=True,
      long_rows=False,
      row_length=length,
      targets_length=max(len(t) for t in candidates),
      # Shorter inputs than the longest fit more often than per_row times.
      target_row_length=-(-2 * per_row * size // 32) * 32,
      row_multiple=1,
    )
    work = sorted(work, key=lambda w: -len(w[2]))
    examples = [
      {"inputs": ids, "targets": candidates, "task_id": slot}
      for slot, _, ids in work
    ]
    start = 0
    for run in _fill_rows(examples, config, self._num_rows):
      batch, _ = batches.make_batch(run, config, self._num_rows)
      scores = self._score(
        params,
        partitioning.put_batch(self._mesh, batch),
        num_candidates=self._num_rows * config.target_row_length,
      )
      scores = np.asarray(scores)[: len(run) * len(candidates)]
      best = scores.reshape(len(run), len(candidates)).argmax(axis=1)
      for (slot, i, _), k in zip(
        work[start : start + len(run)], best, strict=True
      ):
        text = task.labels[k]
        yield slot, i, task.postprocess(text, task.examples[i], False)
      start += len(run)

  def _generate(self, params, task, work):
    config = dataclasses.replace(self._batch_config, pack=False)
    work = sorted(work, key=lambda w: -len(w[2]))
    for start in range(0, len(work), self._num_rows):
      part = work[start : start + self._num_rows]
      batch, _ = batches.make_batch(
        # The targets are not looked at: any token stands for them.
        [
          {
            "inputs": ids,
            "targets": np.array([2, batches.EOS_ID]),
            "task_id": slot,
          }
          for slot, _, ids in part
        ],
        config,
        self._num_rows,
      )
      tokens = self._decode(
        params,
        partitioning.put_batch(self._mesh, batch),
        max_length=config.targets_length,
      )
      for (slot, i, _), row in zip(part, np.asarray(tokens), strict=False):
        text = task.vocabulary.decode([int(t) for t in row])
        yield slot, i, task.postprocess(text, task.examples[i], False)
