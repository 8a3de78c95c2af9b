"""Scores of predictions: with an interval, beside baselines, in detail."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from mpt_jax.data import metrics, templates
from mpt_jax.data.in_memory import baselines
from mpt_jax.data.in_memory.row_task import RowTask

NUM_ANSWERS, NUM_RESAMPLES = 10, 1000
# The 97.5 % quantile of the normal distribution.
Z = 1.959964


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
  """The scores of a task's prompt on one split.

  Attributes:
    task: the task's name.
    split: "test" or "validation".
    metric: the name of the score's metric.
    score: its value.
    interval: the ends of its 95 % interval.
    method: "Wilson" or "bootstrap", how the interval was computed.
    majority: the score of the majority baseline, see `baselines`.
    tfidf: the score of the tf-idf baseline.
    examples: the number of rows.
    metrics: {name: value} of all metrics.
    labels: the labels in the order of the confusion matrix; None if the task
      has none.
    confusion: [labels, labels] numbers of rows: true label, predicted label.
    per_class: {label: {"precision", "recall", "f1", "rows"}}.
    mistakes: the most confident wrong answers: "input", "target", "prediction"
      and, with labels, "probability".
    right: right answers, in the same form and order.
  """

  task: str
  split: str
  metric: str
  score: float
  interval: tuple[float, float]
  method: str
  majority: float
  tfidf: float
  examples: int
  metrics: dict[str, float]
  labels: tuple[str, ...] | None = None
  confusion: list[list[int]] | None = None
  per_class: dict[str, dict] | None = None
  mistakes: list[dict] = dataclasses.field(default_factory=list)
  right: list[dict] = dataclasses.field(default_factory=list)

  def to_json(self) -> dict:
    """Returns JSON values; a metric that is NaN becomes None."""
    made = dataclasses.asdict(self)
    made["metrics"] = {
      k: v if math.isfinite(v) else None for k, v in self.metrics.items()
    }
    return made

  @classmethod
  def from_json(cls, fields: dict) -> "Scores":
    """Makes the scores from `to_json`."""
    made = dict(fields, interval=tuple(fields["interval"]))
    if made["labels"] is not None:
      made["labels"] = tuple(made["labels"])
    return cls(**made)


def wilson(hits: int, count: int) -> tuple[float, float]:
  """Returns the 95 % interval of a share (Wilson, 1927).

  >>> low, high = wilson(8, 10)
  >>> round(low, 4), round(high, 4)
  (0.4902, 0.9433)
  """
  share, square = hits / count, Z**2
  middle = (share + square / (2 * count)) / (1 + square / count)
  half = (
    Z
    * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    / (1 + square / count)
  )
  return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
  score: Callable[[np.ndarray], float], count: int, seed: int = 0
) -> tuple[float, float]:
  """Returns the 95 % percentile interval of a score (Efron, 1979).

  Args:
    score: from indices of rows, with repetitions, to the score of these rows.
    count: the number of rows.
    seed: the seed of the resampling.
  """
  rng = np.random.default_rng(seed)
  found = [score(rng.integers(0, count, count)) for _ in range(NUM_RESAMPLES)]
  low, high = np.nanquantile(found, (0.025, 0.975))
  return float(low), float(high)


def measure(task: RowTask, split: str, results: Sequence[dict]) -> Scores:
  """Scores the predictions for all rows of a split.

  Args:
    task: the task.
    split: the split of the rows.
    results: what `Predictor.predict` returned for its rows, in order.
  """
  pairs = [task.texts(split, i) for i in range(len(task.rows[split]))]
  predictions = [result["prediction"] for result in results]
  name = task.metric or _first_value(task, pairs)
  scores = _Scorer(task, pairs, name)
  values = scores.all(predictions)
  train = [task.texts("train", i) for i in range(len(task.rows["train"]))]
  others = baselines.answer(
    task.kind,
    [inputs for inputs, _ in train],
    [answers[0] for _, answers in train],
    [inputs for inputs, _ in pairs],
  )
  if name == "accuracy":
    hits = round(values["accuracy"] * len(pairs))
    interval, method = wilson(hits, len(pairs)), "Wilson"
  else:
    interval = bootstrap(scores.of_rows(predictions), len(pairs))
    method = "bootstrap"
  details = {}
  if task.kind == "labels":
    details = _by_class(task.label_names, pairs, predictions)
  right, wrong = _answers(task, pairs, results)
  return Scores(
    task=task.name,
    split=split,
    metric=name,
    score=values[name],
    interval=interval,
    method=method,
    majority=scores.all(others[baselines.MAJORITY])[name],
    tfidf=scores.all(others[baselines.TFIDF])[name],
    examples=len(pairs),
    metrics=values,
    mistakes=wrong,
    right=right,
    **details,
  )


def _first_value(task, pairs) -> str:
  """Returns the name of the first value of a task's first metric."""
  answers = [own[0] for _, own in pairs]
  return next(iter(_Scorer(task, pairs, None).all(answers)))


class _Scorer:
  """Computes a task's metrics of predicted texts."""

  def __init__(self, task, pairs, name):
    self._task, self._name = task, name
    self._targets = [self._target(answers) for _, answers in pairs]

  def _target(self, answers):
    if self._task.kind == "text":
      return list(answers)
    return self._task.postprocess_fn(answers[0])

  def all(self, predictions) -> dict[str, float]:
    return self._values(self._targets, self._processed(predictions))

  def _processed(self, predictions):
    return [self._task.postprocess_fn(text) for text in predictions]

  def of_rows(self, predictions) -> Callable[[np.ndarray], float]:
    """Returns a function from indices to the score of these rows."""
    made = self._processed(predictions)
    fns = [
      fn
      for fn in self._task.predict_metric_fns
      if self._name in metrics.as_numbers(fn(self._targets, made))
    ]

    def score(chosen):
      values = fns[0](
        [self._targets[i] for i in chosen], [made[i] for i in chosen]
      )
      return metrics.as_numbers(values)[self._name]

    return score

  def _values(self, targets, predictions):
    made = {}
    for fn in self._task.predict_metric_fns:
      made |= metrics.as_numbers(fn(targets, predictions))
    return made


def _by_class(labels, pairs, predictions) -> dict:
  from sklearn import metrics as sklearn_metrics

  targets = [answers[0] for _, answers in pairs]
  columns = sklearn_metrics.precision_recall_fscore_support(
    targets, predictions, labels=list(labels), zero_division=0
  )
  per_class = {
    label: {
      "precision": float(precision),
      "recall": float(recall),
      "f1": float(f1),
      "rows": int(count),
    }
    for label, precision, recall, f1, count in zip(
      labels, *columns, strict=True
    )
  }
  confusion = sklearn_metrics.confusion_matrix(
    targets, predictions, labels=list(labels)
  )
  return {
    "labels": tuple(labels),
    "confusion": confusion.tolist(),
    "per_class": per_class,
  }


def _answers(task, pairs, results) -> tuple[list[dict], list[dict]]:
  """Returns right and wrong answers, the most confident first."""
  right, wrong = [], []
  for (inputs, answers), result in zip(pairs, results, strict=True):
    prediction = result["prediction"]
    made = {
      "input": inputs[:300],
      "target": templates.as_text(answers[0], "target")[:200],
      "prediction": prediction[:200],
    }
    if "probabilities" in result:
      made["probability"] = max(result["probabilities"].values())
    (right if prediction.strip() in answers else wrong).append(made)
  for found in (right, wrong):
    found.sort(key=lambda m: -m.get("probability", 0.0))
  if task.kind == "number":
    wrong.sort(key=lambda m: -abs(float(m["target"]) - float(m["prediction"])))
  return right[:NUM_ANSWERS], wrong[:NUM_ANSWERS]
