"""Held-out rows: of each label in proportion, and no text on both sides."""

import collections

import pytest

from mpt_jax.fitting import splitting


def test_labels_are_in_proportion():
  # 60, 30 and 10 of 100 rows: a draw of 20 has 12, 6 and 2.
  targets = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
  texts = [f"text {i}" for i in range(100)]
  drawn, rest = splitting.draw(texts, targets, 20)
  counts = collections.Counter(targets[i] for i in drawn)
  assert counts == {"a": 12, "b": 6, "c": 2}
  assert sorted([*drawn, *rest]) == list(range(100))
  assert splitting.draw(texts, targets, 20)[0] == drawn
  assert splitting.draw(texts, targets, 20, seed=1)[0] != drawn


def test_the_draw_does_not_depend_on_the_order_of_the_rows():
  texts = [f"text {i}" for i in range(40)]
  targets = ["ab"[i % 2] for i in range(40)]
  drawn, _ = splitting.draw(texts, targets, 8)
  turned, _ = splitting.draw(texts[::-1], targets[::-1], 8)
  assert {texts[i] for i in drawn} == {texts[::-1][i] for i in turned}


def test_equal_texts_stay_together():
  texts = [f"text {i // 3}" for i in range(60)]
  drawn, rest = splitting.draw(texts, ["ab"[i % 2] for i in range(60)], 12)
  assert drawn and not {texts[i] for i in drawn} & {texts[i] for i in rest}


def test_a_text_of_each_label_stays():
  texts = ["a", "b", "c", "d", "e", "same", "same"]
  targets = ["x"] * 5 + ["y"] * 2
  drawn, rest = splitting.draw(texts, targets, 6)
  assert {targets[i] for i in rest} == {"x", "y"} or 5 in rest
  assert 5 in rest and 6 in rest and drawn


@pytest.mark.parametrize(
  ("rows", "size"), [(10, 2), (50, 10), (100, 20), (1000, 100), (10**6, 1000)]
)
def test_sizes(rows, size):
  assert splitting.size_of(rows) == size
