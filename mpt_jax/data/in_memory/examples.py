"""Examples of a task, and what turns a text into a label, answer or number.

Nothing here imports TensorFlow, so tasks of seqio and tasks over rows in memory
share it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mpt_jax.data import metrics, templates
from mpt_jax.io.checks import near_misses

SPLITS = ("train", "validation", "test")
CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")

# (inputs, targets) texts of one split.
Examples = list[tuple[str, str]]


def as_str(value) -> str:
  """Returns a text that seqio may have turned into bytes."""
  return value.decode() if isinstance(value, bytes) else str(value)


class Example(tuple):
  """An (inputs, targets) pair with extra features for the postprocessor.

  Attributes:
    features: {name: text or list of texts}. They become features of the seqio
      example, such as all answers to a question. All examples of a split must
      have the same names.
  """

  features: Mapping[str, str | Sequence[str]]

  def __new__(cls, inputs: str, targets: str, **features):
    example = super().__new__(cls, (inputs, targets))
    example.features = features
    return example


@dataclasses.dataclass(frozen=True)
class LabelPostprocessor:
  """Turns a label word, or its index, into a class id.

  Attributes:
    label_names: the label words in class order. They are the candidates of rank
      classification.
  """

  label_names: tuple[str, ...]

  def __call__(self, output, **unused_kwargs) -> int:
    """Returns the class id, or -1 if the output is not a label."""
    if isinstance(output, bytes):
      output = output.decode()
    if not isinstance(output, str):
      return int(output) if 0 <= int(output) < len(self.label_names) else -1
    output = output.strip()
    if output in self.label_names:
      return self.label_names.index(output)
    return -1


@dataclasses.dataclass(frozen=True)
class NumberPostprocessor:
  """Turns the text of a number into the number.

  Attributes:
    label_names: the texts that a prediction may be, which ranking compares.
  """

  label_names: tuple[str, ...]

  def __call__(self, output, **unused_kwargs) -> float:
    """Returns the number; NaN if the text is none."""
    try:
      return float(as_str(output))
    except ValueError:
      return float("nan")


@dataclasses.dataclass(frozen=True)
class AnswersPostprocessor:
  """Turns a target into all texts that are right; strips a prediction.

  A target is itself the right text if its example does not have the feature.

  Attributes:
    feature: name of the example's feature that holds the texts.
  """

  feature: str

  def __call__(self, output, example=None, is_target=False):
    if is_target and example and self.feature in example:
      return [as_str(text) for text in example[self.feature]]
    return as_str(output).strip()


def check_template(template: str) -> tuple[str, ...]:
  """Returns the names of a template's fields, see `templates`.

  Raises:
    ValueError: the template is malformed or has no fields.
  """
  names = templates.fields(template)
  if not names:
    raise ValueError(
      f"template {template!r} must name at least one field in braces, as in"
      " 'review: {text}'"
    )
  return names


def check_label_names(label_names):
  """Checks the label words that a user names; None is for no labels.

  Raises:
    ValueError: they have no order, are no words, or have spaces at their ends,
      which a generated text cannot have.
  """
  if label_names is None:
    return
  if isinstance(label_names, str) or not isinstance(
    label_names, Sequence | Mapping
  ):
    raise ValueError(
      "label_names must be a list of words, or a dict from values to words, got"
      f" {label_names!r:.80}"
    )
  is_mapping = isinstance(label_names, Mapping)
  for label in label_names.values() if is_mapping else label_names:
    if not isinstance(label, str | int | float | np.generic):
      raise ValueError(f"label_names must be words, got {label!r:.80}")
    if str(label) != str(label).strip() or not str(label):
      raise ValueError(
        "label_names must be words without spaces at their ends, got"
        f" {label!r:.80}"
      )


def find_metric(metric: str | Callable) -> Callable:
  """Returns a metric function by its name; a function is itself one.

  Raises:
    ValueError: there is no such metric; the message has the nearest names.
  """
  if callable(metric):
    return metric
  if metric not in metrics.METRICS:
    raise ValueError(
      f"unknown metric {metric!r}; there are {', '.join(metrics.METRICS)}."
      + near_misses(metric, metrics.METRICS)
    )
  return metrics.METRICS[metric]
