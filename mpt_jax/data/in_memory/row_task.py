"""Tasks over rows in memory; a task of seqio answers to the same protocol.

A `RowTask` makes the token ids of an example when it is asked for them. Nothing
here imports TensorFlow.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mpt_jax.data import templates
from mpt_jax.data.batches import EOS_ID
from mpt_jax.data.in_memory.examples import (
  AnswersPostprocessor,
  LabelPostprocessor,
  NumberPostprocessor,
  check_template,
  find_metric,
)
from mpt_jax.text import vocabularies

KINDS = ("labels", "number", "text")
# The feature of an example with all right answers.
ANSWERS = "answers"


class Task(Protocol):
  """What training and evaluation ask of a task; a `seqio.Task` has it too.

  Attributes:
    name: the task's name.
    splits: the names of its splits.
    output_features: {"inputs": feature, "targets": feature}, each with the
      `vocabulary` that has `encode`, `decode` and `vocab_size`.
    postprocessor: turns a text into what metrics compare. Its `label_names`,
      if it has any, are the candidates of ranking.
    postprocess_fn: (text, example=, is_target=) -> that.
    predict_metric_fns: functions of (targets, predictions).
    score_metric_fns: functions of (targets, scores).
    predict_with_aux_metric_fns: functions that only t5x can call.
  """

  name: str
  splits: Sequence[str]
  output_features: Mapping[str, Any]
  postprocessor: Callable
  postprocess_fn: Callable
  predict_metric_fns: Sequence[Callable]
  score_metric_fns: Sequence[Callable]
  predict_with_aux_metric_fns: Sequence[Callable]


class RowVocabulary:
  """A vocabulary without seqio, with seqio's names of what it can do.

  Args:
    path: see `vocabularies`.
  """

  def __init__(self, path):
    self._tokenizer = vocabularies.Tokenizer(path)
    self.vocab_size, _ = vocabularies.vocabulary_size(path)

  def encode(self, text: str) -> list[int]:
    return self._tokenizer.encode(text)

  def decode(self, ids: Sequence[int]) -> str:
    return self._tokenizer.decode(ids)


class RowFeature:
  """A feature of token ids; seqio's `Feature` with the vocabulary alone."""

  def __init__(self, vocabulary: RowVocabulary):
    self.vocabulary = vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RowTask:
  """A task over rows in memory.

  Attributes:
    name: the task's name.
    rows: {split: rows}; a row has the template's fields and the target's.
    template: the input text with fields in braces, see `templates`.
    target: the field of the target: a text or, without label names, a list of
      right answers, the first of which is trained.
    kind: "labels" ranks the label names, "number" ranks texts of numbers and
      compares numbers, "text" generates.
    label_names: the candidates, in class order, for "labels" and "number".
    metric_names: names in `metrics.METRICS`.
    metric: the metric that selects the best step; None for the first one.
    vocabulary_path: a vocabulary, see `vocabularies`; None for the default
      T5's.

  Raises:
    ValueError: the kind, the template or a metric is unknown, or label names
      are missing.
  """

  name: str
  rows: Mapping[str, Sequence[Mapping]]
  template: str
  target: str = "label"
  kind: str = "labels"
  label_names: tuple[str, ...] | None = None
  metric_names: tuple[str, ...] = ("accuracy",)
  metric: str | None = None
  vocabulary_path: str | None = None

  score_metric_fns = ()
  predict_with_aux_metric_fns = ()

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
    if (self.label_names is None) != (self.kind == "text"):
      raise ValueError(
        f"kind={self.kind!r} and label_names={self.label_names!r:.80}: labels"
        " and numbers have label_names, texts have none"
      )
    check_template(self.template)
    for metric in self.metric_names:
      find_metric(metric)

  @property
  def splits(self) -> tuple[str, ...]:
    return tuple(self.rows)

  @functools.cached_property
  def output_features(self) -> dict[str, RowFeature]:
    path = self.vocabulary_path or vocabularies.default_vocabulary_path()
    feature = RowFeature(RowVocabulary(path))
    return {"inputs": feature, "targets": feature}

  @functools.cached_property
  def postprocessor(self):
    if self.kind == "text":
      return AnswersPostprocessor(ANSWERS)
    kinds = {"labels": LabelPostprocessor, "number": NumberPostprocessor}
    return kinds[self.kind](self.label_names)

  def postprocess_fn(self, text, example=None, is_target=False):
    return self.postprocessor(text, example=example, is_target=is_target)

  @property
  def predict_metric_fns(self) -> list[Callable]:
    return [find_metric(name) for name in self.metric_names]

  def with_vocabulary(self, path) -> "RowTask":
    """Returns a copy with another vocabulary."""
    return dataclasses.replace(self, vocabulary_path=path)

  def texts(self, split: str, index: int) -> tuple[str, list[str]]:
    """Returns the input and the right answers of a row.

    Raises:
      ValueError: a field is no text or number, or the answer is empty.
    """
    row = self.rows[split][index]
    value = row[self.target]
    if not isinstance(value, list | tuple):
      value = [value]
    answers = [templates.as_text(text, self.target).strip() for text in value]
    if not answers or not all(answers):
      raise ValueError(
        f"task {self.name!r}: the target of row {index + 1} of {split!r} is"
        " empty"
      )
    return templates.fill(self.template, row), answers

  def example(self, split: str, index: int) -> dict:
    """Returns a row as seqio would: token ids, and the texts as bytes."""
    inputs, answers = self.texts(split, index)
    encode = self.output_features["inputs"].vocabulary.encode
    made = {
      name: np.array([*encode(text), EOS_ID], np.int32)
      for name, text in (("inputs", inputs), ("targets", answers[0]))
    }
    made["inputs_pretokenized"] = inputs.encode()
    made["targets_pretokenized"] = answers[0].encode()
    if self.kind == "text":
      made[ANSWERS] = answers
    return made

  def digest(self) -> str:
    """Returns the SHA-256 of everything that determines the examples."""
    digest = hashlib.sha256()
    fields = (self.name, self.template, self.target, self.kind)
    digest.update(json.dumps([*fields, self.label_names]).encode())
    for split in self.rows:
      for index in range(len(self.rows[split])):
        pair = (split, *self.texts(split, index))
        digest.update(json.dumps(pair).encode())
    return digest.hexdigest()


def read_examples(
  task: Task, split: str, limit: int | None = None, spread: bool = False
) -> list[dict]:
  """Returns examples of a task's split, in the data's order.

  Args:
    task: a `RowTask` or a `seqio.Task`.
    split: the split.
    limit: the most examples to return; None for all.
    spread: take them from everywhere in the split rather than its beginning;
      only for rows in memory, which cost nothing to skip.
  """
  if isinstance(task, RowTask):
    count = len(task.rows[split])
    step = -(-count // limit) if limit and spread else 1
    chosen = itertools.islice(range(0, count, step), limit)
    return [task.example(split, index) for index in chosen]
  ds = task.get_dataset(sequence_length=None, split=split, shuffle=False)
  if limit is not None:
    ds = ds.take(limit)
  return list(ds.as_numpy_iterator())
