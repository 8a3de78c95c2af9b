"""Metrics against hand counts and against other implementations."""

import collections
import functools
import math
import operator

import numpy as np
import pytest
import seqio
from sklearn import metrics as sklearn_metrics

from mpt_jax.data import metrics


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
  assert metrics.squad(["the"], [""]) == {"em": 1.0, "f1": 0.0}


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


def test_f1_of_two_classes_equals_sklearn():
  rng = np.random.default_rng(1)
  targets = rng.integers(0, 2, 50).tolist()
  predictions = rng.integers(0, 2, 50).tolist()
  expected = sklearn_metrics.f1_score(targets, predictions)
  assert metrics.f1(targets, predictions)["f1"] == pytest.approx(expected)
  # A prediction that is not a class is always wrong: one hit, one false alarm
  # and one miss give P = R = 1/2.
  assert metrics.f1([1, 0, 1], [1, -1, -1])["f1"] == pytest.approx(0.5)
  # No class 1 anywhere.
  assert metrics.f1([0, 0], [0, 0]) == {"f1": 0.0}


def test_f1_macro_over_given_classes():
  # Class 0: P = 1/2, R = 1, F1 = 2/3. Class 1: no hit, 0. Class 2 is not among
  # the targets and counts as 0, as in SuperGLUE's CB.
  targets, predictions = [0, 1], [0, 0]
  score = metrics.f1_macro(targets, predictions, num_classes=3)["f1_macro"]
  assert score == pytest.approx(2 / 9)
  expected = sklearn_metrics.f1_score(
    targets, predictions, labels=[0, 1, 2], average="macro", zero_division=0
  )
  assert score == pytest.approx(expected)
  assert metrics.f1_macro(targets, predictions)["f1_macro"] == pytest.approx(
    1 / 3
  )


def test_multirc_f1a_is_over_options_and_em_over_questions():
  # "q" has three options, one of them predicted wrong; "r" has two, both right.
  # Class 1: hits 2, false alarms 1, misses 0, so P = 2/3, R = 1, F1a = 4/5.
  targets = [("q", 1), ("q", 0), ("r", 1), ("q", 0), ("r", 0)]
  predictions = [("q", 1), ("q", 1), ("r", 1), ("q", 0), ("r", 0)]
  assert metrics.multirc(targets, predictions) == {
    "f1a": pytest.approx(0.8),
    "em": 0.5,
  }


def test_squad_equals_the_official_script_on_its_odd_cases():
  # Articles go as whole words, punctuation goes without a space in its place
  # and white space is one. "U.S.A." is "usa"; "theatre" keeps its "the".
  same = [
    ("U.S.A.", "usa"),
    ("The  Beatles", "beatles"),
    ("theatre", "The theatre!"),
    ("twenty-one", "twentyone"),
    ("Zoë", "zoë"),
  ]
  targets, predictions = zip(*same, strict=True)
  assert metrics.squad(targets, predictions) == {"em": 1.0, "f1": 1.0}
  # Without a common word the scripts of 1.1, MRQA and ReCoRD return 0, even
  # where both sides are empty and match.
  assert metrics.squad([[""], [""]], ["", "x"]) == {"em": 0.5, "f1": 0.0}
  # The maximum is over each value: "a b c" has F1 4/5 with "b c d"
  # (without the article b c: P = 1, R = 2/3).
  result = metrics.squad([["x", "b c d"]], ["a b c"])
  assert result == {"em": 0.0, "f1": pytest.approx(0.8)}


def test_matthews_and_correlations_by_hand():
  # TP 2, TN 1, FP 1, FN 1: (2 - 1) / sqrt(3 * 3 * 2 * 2) = 1/6.
  result = metrics.matthews([1, 1, 1, 0, 0], [1, 1, 0, 0, 1])
  assert result["matthews"] == pytest.approx(1 / 6)
  # Deviations -2 0 2 and -1 2 -1: covariance 0.
  result = metrics.pearson_spearman(["1.0", "3.0", "5.0"], ["0", "3", "0"])
  assert result == {"pearson": pytest.approx(0), "spearman": pytest.approx(0)}


def test_bleu_by_hand():
  # "a b c d e" against "a b c d f": 4/5 words, 3/4 pairs, 2/3 triples, 1/2
  # fours; their product is 1/5, its fourth root the score. No brevity.
  score = metrics.bleu([["a b c d f", "x"]], ["a b c d e"])["bleu"]
  assert score == pytest.approx(100 * 0.2**0.25)


def all_of_rouge(targets, predictions):
  names = ("rouge1", "rouge2", "rougeL", "rougeLsum")
  made = {}
  for name in names:
    made |= metrics.METRICS[name](targets, predictions)
  assert tuple(made) == names
  return list(made.values())


def test_rouge_by_hand():
  # All 5 words are in the reference of 6: P = 1, R = 5/6. Of the pairs, "on
  # the", "the mat" and "the cat" are: P = 3/4, R = 3/5. The longest common
  # subsequence is "on the mat": P = 3/5, R = 3/6.
  target, prediction = "The cat sat on the mat.", "on the mat the cat"
  expected = [10 / 11, 2 / 3, 6 / 11, 6 / 11]
  assert all_of_rouge([target], [prediction]) == pytest.approx(expected)
  # The better reference counts, and an empty text has nothing in common.
  several = [["a dog", target], "a dog"]
  expected = [value / 2 for value in expected]
  assert all_of_rouge(several, [prediction, ""]) == pytest.approx(expected)


def test_rouge_of_lines_by_hand():
  # As one text, the longest common subsequence is one of the two lines. Line by
  # line, both are found. Of the 5 pairs of 6 words, "c d" is not: 4/5.
  made = all_of_rouge(["a b c\nd e f"], ["d e f\na b c"])
  assert made == pytest.approx([1, 4 / 5, 1 / 2, 1])


def test_bleu_of_e2e_by_hand():
  targets, predictions = [["a b c d"]], ["A b x d"]
  # 3/4 words and 1/3 pairs; no triple and no four match: mteval takes 1/2 of a
  # triple of two, and 1/4 of the one four. The product is 1/64.
  made = metrics.bleu_e2e(targets, predictions)["bleu_e2e"]
  assert made == pytest.approx(100 * (1 / 64) ** 0.25)
  # With case, 2/4 words match, and no pair: 1/2 of 3, 1/4 of 2 and 1/8 of 1.
  made = metrics.bleu(targets, predictions)["bleu"]
  assert made == pytest.approx(100 * (1 / 2 / 6 / 8 / 8) ** 0.25)


def _mteval(references, predictions):
  """BLEU by the rules of mteval-v13a, for words without punctuation.

  The closest reference counts as the length, the shorter one of two that are
  equally close. A precision of 0 becomes 1 / (2^k · count), k = 1, 2, ...
  """
  hits, counts, length, shown = [0] * 4, [0] * 4, 0, 0
  for group, text in zip(references, predictions, strict=True):
    words = text.lower().split()
    group = [reference.lower().split() for reference in group]
    shown += len(words)
    length += min(map(len, group), key=lambda n: (abs(n - len(words)), n))
    for n in range(1, 5):
      own, *others = (
        collections.Counter(zip(*(x[i:] for i in range(n)), strict=False))
        for x in (words, *group)
      )
      best = functools.reduce(operator.or_, others)  # Each one's maximum.
      hits[n - 1] += (own & best).total()
      counts[n - 1] += own.total()
  logs, smooth = [], 1
  for hit, count in zip(hits, counts, strict=True):
    smooth *= 1 if hit else 2
    logs.append(math.log(hit / count if hit else 1 / (smooth * count)))
  return 100 * math.exp(np.mean(logs) + min(0, 1 - length / shown))


@pytest.mark.parametrize("num_words", [3, 6, 40])
def test_bleu_of_e2e_follows_the_rules_of_its_script(num_words):
  rng = np.random.default_rng(num_words)
  vocabulary = [f"Word{i}" for i in range(num_words)]

  def text():
    words = rng.choice(vocabulary, rng.integers(4, 12))
    return " ".join(w.lower() if rng.random() < 0.5 else w for w in words)

  for _ in range(20):
    references = [[text() for _ in range(rng.integers(1, 5))] for _ in range(6)]
    predictions = [text() for _ in references]
    made = metrics.bleu_e2e(references, predictions)["bleu_e2e"]
    assert made == pytest.approx(_mteval(references, predictions))


def test_bleu_of_webnlg_counts_missing_references():
  targets = [["k l m n", "k l m n o"], ["a b c d e f g h i j"]]
  predictions = ["k l m n", "a b c d e"]
  # All n-grams match. The second example has an empty second reference, which
  # is as near to 5 words as that of 10 words is, and shorter: 4 words of
  # references stand against 9 words, so that there is no brevity penalty.
  made = metrics.bleu_webnlg(targets, predictions)["bleu_webnlg"]
  assert made == pytest.approx(100)
  # Without it there are 14 words: exp(1 - 14 / 9).
  made = metrics.bleu(targets, predictions)["bleu"]
  assert made == pytest.approx(100 * math.exp(1 - 14 / 9))
  # Each example has all references: nothing is empty.
  alike = [[group[0]] for group in targets]
  made = metrics.bleu_webnlg(alike, predictions)["bleu_webnlg"]
  assert made == pytest.approx(100 * math.exp(1 - 14 / 9))
  # The script does not smooth, and tells case apart.
  assert metrics.bleu_webnlg(["a b"], ["A B"]) == {"bleu_webnlg": 0.0}


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_bad_lengths_are_errors(name):
  with pytest.raises(ValueError, match="differ in length"):
    metrics.METRICS[name](["1"], [])
  with pytest.raises(ValueError, match="at least one example"):
    metrics.METRICS[name]([], [])


def test_seqios_metric_objects():
  """Texts are shown by seqio's loggers, and are no numbers."""
  made = {"a": seqio.metrics.Scalar(0.5), "b": seqio.metrics.Text("x"), "c": 1}
  assert metrics.as_numbers(made) == {"a": 0.5, "c": 1.0}
