"""The baselines without a T5, on a handful of texts."""

import types

import pytest

from mpt_jax.quickstart.baselines import baselines

TRAIN = [
  *(("a good house", "yes"), ("good tea", "yes"), ("so good", "yes")),
  *(("a bad house", "no"), ("bad tea", "no")),
]
TEST = [
  *(("good house", "yes"), ("bad", "no"), ("bad tea and house", "no")),
  ("a good one", "yes"),
  # Beyond the examples that are asked for; both baselines are wrong on it.
  ("bad", "maybe"),
]


def task_of(**splits):
  source = types.SimpleNamespace(examples=splits.__getitem__)
  return types.SimpleNamespace(source=source)


def test_both_baselines_by_hand():
  found = dict(baselines(task_of(train=TRAIN, test=TEST), 4))
  assert found.keys() == {"majority", "tfidf_lr"}
  # "yes" is the most frequent label, and right on two of four.
  assert found["majority"] == {
    "num_examples": 4,
    "accuracy": 0.5,
    "balanced_accuracy": 0.5,
  }
  # The words good and bad tell all.
  assert found["tfidf_lr"] == {
    "num_examples": 4,
    "accuracy": 1.0,
    "balanced_accuracy": 1.0,
  }


def test_unbalanced_tests():
  test = [("good", "yes")] * 3 + [("bad", "no")]
  found = dict(baselines(task_of(train=TRAIN, test=test), 99))
  # Three of four, but one of two classes.
  assert found["majority"]["accuracy"] == pytest.approx(0.75)
  assert found["majority"]["balanced_accuracy"] == pytest.approx(0.5)
