"""Forms: how a row becomes a class, a score, answers or references.

A form makes `Example`s from rows. Tasks are evaluated by rank
classification if their form has `label_names`, and by generation otherwise.
`metric_fns` are the form's metrics, unless a dataset has others, and `metric`
is the name of the main one.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mpt_jax.data.in_memory.examples import (
  AnswersPostprocessor,
  Example,
  LabelPostprocessor,
  as_str,
)
from mpt_jax.data.templates import as_text, fill


def _one(value, field):
  """Returns a value that is neither a list nor an object.

  Raises:
    ValueError: it is one.
  """
  return as_text(value, field) if isinstance(value, list | dict) else value


def _texts(values, field) -> list[str]:
  """Checks a field that holds a list of texts.

  Raises:
    ValueError: it is no list, or an item is neither a text nor a number.
  """
  if not isinstance(values, list | tuple):
    raise ValueError(
      f"field {field!r} must be a list of texts, got {values!r:.60}"
    )
  return [as_text(item, f"{field}[{i}]") for i, item in enumerate(values)]


@dataclasses.dataclass(frozen=True)
class GroupedLabelPostprocessor(LabelPostprocessor):
  """Turns a label word into (the example's group, class id)."""

  def __call__(self, output, example=None, **unused_kwargs):
    return as_str(example["group"]), super().__call__(output)


@dataclasses.dataclass(frozen=True)
class Labels:
  """Classification: the target is the word of the row's class.

  Attributes:
    classes: the names of the dataset's classes, in its order.
    field: the field with the class id or the class's name.
    grouped: the row has a field `group`, and the metrics get (group, class).
    digits: the label words are "0", "1", ... instead of the names.
  """

  classes: tuple[str, ...]
  field: str = "label"
  grouped: bool = False
  digits: bool = False
  metric_fns = ("accuracy",)
  metric = "accuracy"

  @property
  def fields(self) -> tuple[str, ...]:
    """The fields of a row that the form reads."""
    return (self.field, *(["group"] if self.grouped else []))

  @property
  def label_names(self) -> tuple[str, ...]:
    """The label words in class order."""
    if self.digits:
      return tuple(str(i) for i in range(len(self.classes)))
    return self.classes

  @property
  def postprocessor(self):
    kind = GroupedLabelPostprocessor if self.grouped else LabelPostprocessor
    return kind(self.label_names)

  def examples(
    self, rows: Sequence[Mapping], template: str, train: bool
  ) -> list[Example]:
    """Makes an example of each row.

    Raises:
      ValueError: a row has no label (-1), or a label that is not a class.
    """
    del train
    words = dict(enumerate(self.label_names))
    words.update(zip(self.classes, self.label_names, strict=True))
    made = []
    for row in rows:
      inputs, label = fill(template, row), _one(row[self.field], self.field)
      if label not in words:
        raise ValueError(
          f"label {label!r} of {inputs[:60]!r} is none of the classes"
          f" {self.classes}" + (": an unlabelled row" if label == -1 else "")
        )
      features = {"group": row["group"]} if self.grouped else {}
      made.append(Example(inputs, words[label], **features))
    return made


@dataclasses.dataclass(frozen=True)
class Score:
  """Regression as text, T5's way: a score in 0..5 to the nearest 0.2.

  Targets are rounded in evaluation too, as T5 and later papers do.

  Attributes:
    field: the field with the score.
  """

  field: str = "label"
  metric_fns = ("pearson_spearman",)
  metric = "pearson"
  label_names = None
  postprocessor = None

  @property
  def fields(self) -> tuple[str, ...]:
    return (self.field,)

  def examples(
    self, rows: Sequence[Mapping], template: str, train: bool
  ) -> list[Example]:
    """Makes an example of each row.

    Raises:
      ValueError: a score outside of 0..5, such as the -1 of unlabelled rows.
    """
    del train
    made = []
    for row in rows:
      # Round in float32, because T5 did; it decides halfway scores.
      score = np.float32(_one(row[self.field], self.field))
      if not 0 <= score <= 5:
        raise ValueError(
          f"score {score} of {fill(template, row)[:60]!r} is not in 0..5"
          + (": an unlabelled row" if score == -1 else "")
        )
      rounded = np.round(score * np.float32(5)) / 5
      made.append(Example(fill(template, row), f"{rounded:.1f}"))
    return made


@dataclasses.dataclass(frozen=True)
class Answers:
  """Question answering: the target is one answer, and any answer is right.

  Attributes:
    field: the field with the answers.
    each: every answer gives a training example, not only the first one.
  """

  field: str = "answers"
  each: bool = False
  metric_fns = ("squad",)
  metric = "f1"
  label_names = None
  postprocessor = AnswersPostprocessor("answers")

  @property
  def fields(self) -> tuple[str, ...]:
    return (self.field,)

  def examples(
    self, rows: Sequence[Mapping], template: str, train: bool
  ) -> list[Example]:
    """Makes examples of the rows.

    An empty answer is never a training target. A question with no other answer
    is left out of training and kept in evaluation.

    Raises:
      ValueError: a row has no answers at all.
    """
    made = []
    for row in rows:
      answers = list(dict.fromkeys(_texts(row[self.field], self.field)))
      if not answers:
        raise ValueError(
          f"{fill(template, row)[:60]!r} has no answers: an unlabelled row"
        )
      targets = [answer for answer in answers if answer.strip()]
      if train:
        targets = targets if self.each else targets[:1]
      else:
        targets = (targets or [""])[:1]
      inputs = fill(template, row)
      made += [Example(inputs, text, answers=answers) for text in targets]
    return made


@dataclasses.dataclass(frozen=True)
class References:
  """Generation: rows of one input are an example with several references.

  In training every row is an example.

  Attributes:
    target: the field of the row's text.
    field: the field with the row's references, if it has several.
  """

  target: str = "target"
  field: str | None = None
  metric_fns = ("bleu",)
  metric = "bleu"
  label_names = None
  postprocessor = AnswersPostprocessor("references")

  @property
  def fields(self) -> tuple[str, ...]:
    return (self.target, *([self.field] if self.field else []))

  def examples(
    self, rows: Sequence[Mapping], template: str, train: bool
  ) -> list[Example]:
    """Makes examples of the rows.

    Raises:
      ValueError: a row has no text.
    """
    made = []
    by_input = {}
    for row in rows:
      inputs = fill(template, row)
      texts = [as_text(row[self.target], self.target)]
      if self.field:
        texts += _texts(row[self.field], self.field)
      texts = list(dict.fromkeys(text for text in texts if text.strip()))
      if not texts:
        raise ValueError(f"{inputs[:60]!r} has no text: an unlabelled row")
      made.append(Example(inputs, texts[0], references=texts))
      by_input.setdefault(inputs, []).extend(texts)
    if train:
      return made
    return [
      Example(inputs, texts[0], references=list(dict.fromkeys(texts)))
      for inputs, texts in by_input.items()
    ]
