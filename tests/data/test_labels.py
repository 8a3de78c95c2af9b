"""Labels that no model can tell apart are refused by name."""

import numpy as np
import pytest

from mpt_jax.data.labels import check_labels, check_targets, per_token
from mpt_jax.text import vocabularies

TOKENIZER = vocabularies.Tokenizer(vocabularies.default_vocabulary_path())


def check(*labels, length=None):
  ids = [[*TOKENIZER.encode(label), 1] for label in labels]
  check_labels("task 'x'", labels, ids, length)


def test_labels_that_differ():
  check("good", "bad", "not good")
  check("good", "bad", length=2)


@pytest.mark.parametrize(
  "labels",
  [
    ("猫", "犬"),  # Two pieces that the vocabulary does not know.
    ("good", " good"),
    ("not good", "not  good"),
    ("a\u200b", "a"),
  ],
)
def test_labels_of_the_same_ids(labels):
  with pytest.raises(ValueError, match="have the same token ids") as error:
    check("other", *labels)
  assert all(repr(label) in str(error.value) for label in labels)


def test_a_label_without_tokens():
  with pytest.raises(ValueError, match=r"label '\\u200b' has no tokens"):
    check("good", "\u200b")


def test_labels_that_are_equal_after_cutting():
  labels = ("a good film", "a good book")
  needed = max(len(TOKENIZER.encode(label)) for label in labels) + 1
  check(*labels, length=needed)
  with pytest.raises(
    ValueError, match=f"targets_length=3; raise it to {needed}"
  ):
    check(*labels, length=3)


def test_a_cut_label_may_equal_a_whole_one():
  # [a, b, EOS] is cut to [a, EOS].
  with pytest.raises(ValueError, match="'x' and 'x y' .* when they are cut"):
    check_labels("task", ("x", "x y"), [[5, 1], [5, 6, 1]], 2)


def test_targets_that_are_no_labels():
  """A prediction that is no label is -1 too, and would count as right."""
  with pytest.raises(ValueError, match="task 'x': 1 of 3 targets are none of"):
    check_targets("task 'x'", ("no", "yes"), [0, -1, 1])
  with pytest.raises(ValueError, match="1 of 1 targets"):
    check_targets("task 'x'", ("no", "yes"), [("group", -1)])
  check_targets("task 'x'", ("no", "yes"), [("group", 1), 0])
  # Without labels, -1 is a value like others.
  check_targets("task 'x'", None, [-1])


def test_a_label_that_occurs_twice():
  with pytest.raises(ValueError, match="task 'x': the label 'no' occurs twice"):
    check("yes", "no", "no")


def test_scores_per_token_by_hand():
  # Three tokens, two and one, each with the end of sequence.
  candidates = [[5, 6, 1], np.array([7, 1]), [1]]
  made = per_token(np.array([-6.0, -5.0, -3.0], np.float32), candidates)
  assert made.tolist() == [-2.0, -2.5, -3.0]
