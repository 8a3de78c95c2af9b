"""Predictions, scores and metrics of prompts on tasks."""

import numpy as np
import pytest
import row_tasks
from plain_task import first, seqio_task

from mpt_jax.inference.engine.example import NotFiniteError
from mpt_jax.inference.eval_task import EvalTask
from mpt_jax.inference.evaluator import EvalConfig, Evaluator


class KnownScores:
  """An engine that scores a target by its number of tokens."""

  num_prompts, targets_length = 2, 3

  def __init__(self, task):
    self.seen, self._task = [], task

  def rank(self, examples, advance):
    self.seen += examples
    advance(len(examples))
    return [np.array([-float(len(e.candidates[0]))]) for e in examples]

  def generate(self, examples, advance):
    advance(len(examples))
    return [self._task.vocabulary.encode("yes") for _ in examples]


def surprise(targets, scores):
  assert targets == ["yes"]
  return {"surprise": -sum(scores) / len(scores)}


def test_metric_functions_get_scores_as_seqio_gives_them():
  task = seqio_task("scored", [surprise, first])
  made = Evaluator([task, task], EvalConfig())
  # seqio puts the functions of predictions first.
  assert made.main_metrics() == ["b", "b"]
  engine = KnownScores(EvalTask(task, "validation"))
  progress = []
  rows = made(engine, lambda done, total: progress.append((done, total)))
  target = engine.seen[0].candidates[0]
  assert [example.prompt for example in engine.seen] == [0, 1]
  assert rows[0] == {
    "b": 1.0,
    "a": 2.0,
    "surprise": len(target),
    "num_examples": 1,
  }
  assert progress[-1] == (4, 4)


class BrokenEngine:
  """An engine whose second example has no finite scores."""

  num_prompts, targets_length = 2, 3

  def rank(self, examples, advance):
    raise NotFiniteError(1)

  generate = rank


@pytest.mark.parametrize("metric_fn", [surprise, first])
def test_scores_that_are_not_finite_name_the_prompt(metric_fn):
  task = seqio_task(f"not_finite_{metric_fn.__name__}", [metric_fn])
  made = Evaluator([task, task], EvalConfig(), ["one", "two"])
  expected = "prompt 'two', example 1: the scores are not finite"
  with pytest.raises(NotFiniteError, match=expected):
    made(BrokenEngine())


class LabelScores:
  """An engine that gives the labels of `row_tasks` these scores."""

  num_prompts, targets_length = 0, 8

  def __init__(self, *scores):
    self._scores = np.array(scores, np.float32)

  def rank(self, examples, advance):
    return [self._scores for _ in examples]


def test_a_long_label_wins_by_its_score_per_token():
  """As bytes "bad" has 4 tokens with its end, "good" and "fair" have 5."""
  task = row_tasks.register()
  assert row_tasks.LABELS == ("bad", "good", "fair")
  # Per token: -8 / 4 = -2, -9 / 5 = -1.8, -20 / 5 = -4.
  engine = LabelScores(-8.0, -9.0, -20.0)
  for method, label in (("rank", 0), ("auto", 0), ("rank_per_token", 1)):
    made = Evaluator([task], EvalConfig(method=method))
    ((answers,), _) = made.predict(engine)
    assert set(answers) == {label}


@pytest.mark.parametrize("method", ["rank", "rank_per_token"])
def test_a_task_without_labels_cannot_be_ranked(method):
  task = seqio_task(f"without_labels_{method}", [first])
  with pytest.raises(ValueError, match="has no label names to rank"):
    Evaluator([task], EvalConfig(method=method))
