"""Right and wrong answers, and confusion by class."""

import numpy as np
import pytest
from report_pages import Checker
from sklearn import metrics

from mpt_jax.report.material import Answer, Answers, Confusion
from mpt_jax.report.sections import answers

COUNTS = ((5, 2, 0), (1, 7, 0), (0, 3, 0))


def confusion(**changes):
  values = dict(
    target="<i>t</i>",
    method="MPT",
    labels=("a & b", "b", "c"),
    answers=("a & b", "b", "c"),
    counts=COUNTS,
  )
  return Confusion(**{**values, **changes})


def test_right_and_wrong_answers_are_listed_and_escaped():
  one = Answers(
    target="t_1",
    method="MPT",
    right=(Answer(text="<b>x", truth="a", answer="a", probability=0.875),),
    wrong=(Answer(text="y & z", truth="a", answer="<i>"),),
    order="the first ones",
  )
  made = answers.answer_lists([one])
  Checker(made.body)
  for text in (
    *("&lt;b&gt;x", "✓ a", "88 %", "y &amp; z", "✗ &lt;i&gt;"),
    *("in truth a", "MPT; the first ones."),
  ):
    assert text in made.body
  assert "<i>" not in made.body
  assert answers.answer_lists([]) is None


def test_scores_of_classes_are_scikit_learns():
  truth, answered = [], []
  for i, row in enumerate(COUNTS):
    for j, count in enumerate(row):
      truth += [i] * count
      answered += [j] * count
  precision, recall, f1, support = metrics.precision_recall_fscore_support(
    truth, answered, zero_division=0
  )
  found = answers.class_scores(confusion())
  expected = np.stack([recall, precision, f1, support], axis=1)
  assert np.array([row[1:] for row in found]) == pytest.approx(expected)


def test_the_tables_have_the_counts():
  made = answers.confusions([confusion()])
  matrix, classes = Checker(made.body).tables
  assert matrix == [
    ["class", "a & b", "b", "c"],
    ["a & b", "5", "2", ""],
    ["b", "1", "7", ""],
    ["c", "", "3", ""],
  ]
  # 5 of 7 are found, and 5 of 6 answers are right.
  assert classes[1][:3] == ["a & b", "71.4", "83.3"]
  assert classes[3] == ["c", "0.0", "0.0", "0.0", "3"]
  assert "&lt;i&gt;t" in made.body and "<i>" not in made.body
  # The colour is the share of the class: 0.75 · 5 / 7.
  assert 'style="--tint:0.54" class="hit">5<' in made.body


def test_answers_without_a_label_have_a_column():
  one = confusion(
    answers=("a & b", "b", "c", "(no label)"),
    counts=tuple((*row, 1) for row in COUNTS),
  )
  matrix, classes = Checker(answers.confusions([one]).body).tables
  assert matrix[0][-1] == "(no label)" and matrix[1][-1] == "1"
  assert classes[1][-1] == "8"


def test_too_many_classes_are_not_drawn():
  labels = tuple(map(str, range(61)))
  one = confusion(labels=labels, answers=labels, counts=((0,) * 61,) * 61)
  made = answers.confusions([one])
  assert "61 classes are too many to draw" in made.body
  assert "<table" not in made.body
  assert answers.confusions([]) is None
