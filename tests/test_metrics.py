"""Metrics against hand counts and against other implementations."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mpt_jax import metrics


def test_accuracy_counts_equal_pairs():
  # Positions 0 and 3 agree: 2 of 4.
  assert metrics.accuracy([0, 1, 2, 0], [0, 2, -1, 0]) == {"accuracy": 0.5}


def test_classification_metrics_equal_sklearn():
  rng = np.random.default_rng(0)
  targets = rng.integers(0, 3, 60).tolist()
  predictions = rng.integers(0, 3, 60).tolist()
  assert metrics.balanced_accuracy(targets, predictions)[
    "balanced_accuracy"
  ] == pytest.approx(
    sklearn_metrics.balanced_accuracy_score(targets, predictions)
  )
  assert metrics.f1_macro(targets, predictions)["f1_macro"] == pytest.approx(
    sklearn_metrics.f1_score(targets, predictions, average="macro")
  )
  assert metrics.matthews(targets, predictions)["matthews"] == pytest.approx(
    sklearn_metrics.matthews_corrcoef(targets, predictions)
  )


def test_prediction_outside_the_list_is_wrong_for_its_class_only():
  # Recalls: class 0 is 1 of 2, class 1 is 1 of 1; -1 is no class.
  targets, predictions = [0, 0, 1], [0, -1, 1]
  assert metrics.balanced_accuracy(targets, predictions) == {
    "balanced_accuracy": 0.75
  }
  # Class 0: P = 1, R = 1/2, F1 = 2/3; class 1: F1 = 1; the mean is 5/6.
  score = metrics.f1_macro(targets, predictions)["f1_macro"]
  assert score == pytest.approx(5 / 6)


def test_matthews_of_a_constant_side_is_zero():
  assert metrics.matthews([0, 1, 1], [1, 1, 1]) == {"matthews": 0.0}
  assert metrics.matthews([1, 1], [1, 1]) == {"matthews": 0.0}


def test_correlations():
  # Ranks 1..4 against 1, 2, 4, 3: Spearman is 1 - 6 * 2 / (4 * 15) = 0.8.
  result = metrics.pearson_spearman([1, 2, 3, 4], ["1.0", "2", "10", "3"])
  assert result["spearman"] == pytest.approx(0.8)
  expected = np.corrcoef([1, 2, 3, 4], [1, 2, 10, 3])[0, 1]
  assert result["pearson"] == pytest.approx(expected)
  assert metrics.pearson_spearman([1, 2], ["x", "y"])["pearson"] == 0.0


def test_squad_takes_the_best_answer_and_ignores_articles():
  result = metrics.squad(
    [["The Eiffel Tower", "tower"], "blue car"], ["eiffel tower!", "red car"]
  )
  # First: an exact match, F1 1. Second: one word of two in common, F1 1/2.
  assert result == {"em": 0.5, "f1": 0.75}


def test_squad_counts_repeated_words_once_each():
  # Common "x" once: P = 1/2, R = 1, F1 = 2/3.
  assert metrics.squad(["x"], ["x x"])["f1"] == pytest.approx(2 / 3)
  assert metrics.squad(["the"], [""]) == {"em": 1.0, "f1": 1.0}


def test_bleu_is_100_for_a_copy_and_takes_several_references():
  text = "the quick brown fox jumps over the lazy dog"
  assert metrics.bleu([text], [text])["bleu"] == pytest.approx(100.0)
  both = metrics.bleu(
    [["something else entirely here", text], text], [text] * 2
  )
  assert both["bleu"] == pytest.approx(100.0)


def test_exact_match_ignores_outer_spaces():
  assert metrics.exact_match(["a b", "c"], [" a b ", "d"]) == {
    "exact_match": 0.5
  }


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_bad_lengths_are_errors(name):
  with pytest.raises(ValueError, match="differ in length"):
    metrics.METRICS[name](["1"], [])
  with pytest.raises(ValueError, match="at least one example"):
    metrics.METRICS[name]([], [])
