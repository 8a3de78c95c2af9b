"""The evaluation examples of a task, and its metrics."""

from mpt_jax.data import labels, metrics
from mpt_jax.data.in_memory.row_task import read_examples
from mpt_jax.io.errors import calling


class EvalTask:
  """The tokenised evaluation examples of one task.

  Attributes:
    name: the task's name.
    labels: its label strings, or None.
    inputs: the token ids of each example.
    targets: the postprocessed targets, for the metrics.
    task: the task, see `row_task.Task`.
  """

  def __init__(self, task, split, max_examples=None):
    self.task, self.name = task, task.name
    self.labels = labels.label_names(task)
    if split not in task.splits:
      raise ValueError(
        f"task {task.name!r} has no split {split!r}; it has"
        f" {', '.join(task.splits)}"
      )
    examples = read_examples(task, split, max_examples)
    if not examples:
      raise ValueError(f"split {split!r} of task {task.name!r} is empty")
    self.vocabulary = task.output_features["targets"].vocabulary
    self.inputs = [x["inputs"] for x in examples]
    self.examples = examples
    if self.labels:
      labels.check_labels(
        f"task {self.name!r}", self.labels, labels.label_tokens(task)
      )
    if task.predict_with_aux_metric_fns:
      raise ValueError(
        f"task {self.name!r}: the metric function"
        f" {task.predict_with_aux_metric_fns[0].__name__} takes aux_values,"
        " which only t5x computes; take (targets, predictions) or"
        " (targets, scores)"
      )
    self.targets = [self.postprocess(self._text(x), x, True) for x in examples]
    labels.check_targets(f"task {self.name!r}", self.labels, self.targets)

  def texts(self) -> list[str]:
    """Returns the input of each example as text."""
    made = []
    for example in self.examples:
      if "inputs_pretokenized" in example:
        made.append(example["inputs_pretokenized"].decode())
      else:
        made.append(self.vocabulary.decode([int(i) for i in example["inputs"]]))
    return made

  def _text(self, example):
    """Returns the target as text."""
    if "targets_pretokenized" in example:
      return example["targets_pretokenized"].decode()
    return self.vocabulary.decode([int(i) for i in example["targets"]])

  def postprocess(self, text, example, is_target):
    with calling(f"the postprocessor of task {self.name!r}"):
      return self.task.postprocess_fn(
        text, example=example, is_target=is_target
      )

  def metrics(self, predictions, scores=None) -> dict[str, float]:
    """Returns the task's metrics and the number of examples.

    Args:
      predictions: the postprocessed predictions.
      scores: the log-probability of each target, for `score_metric_fns`.
    """
    result = {}
    for metric_fn in self.task.predict_metric_fns:
      result.update(self._call(metric_fn, predictions=predictions))
    for metric_fn in self.task.score_metric_fns:
      result.update(self._call(metric_fn, scores=scores))
    return {**result, "num_examples": len(self.inputs)}

  def _call(self, metric_fn, **arguments) -> dict[str, float]:
    name = getattr(metric_fn, "__name__", str(metric_fn))
    with calling(f"the metric function {name} of task {self.name!r}"):
      made = metric_fn(targets=self.targets, **arguments)
      return metrics.as_numbers(made)

  def main_metric(self, name: str | None = None) -> str:
    """Returns the name of the metric that compares prompts of this task.

    Args:
      name: the metric that the user set, or None.

    Returns:
      `name` if it is given, else the task's own metric (`TextTask.metric`),
      else the first value of the task's first metric function.

    Raises:
      ValueError: the task's metric functions do not return this metric.
    """
    # Only a call shows what a metric function returns; use right predictions.
    right = [self.postprocess(self._text(x), x, False) for x in self.examples]
    certain = [0.0] * len(right)
    known = list(self.metrics(right, certain))[:-1]  # num_examples is the last.
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
