"""The task that is made of rows: labels, metrics, held-out rows."""

import pytest

from mpt_jax.fitting.config import FitConfig
from mpt_jax.fitting.problem import label_balance, make_problem
from mpt_jax.fitting.sources import read_source


def rows(labels, text="some words {}"):
  return [
    {"text": text.format(i), "label": label} for i, label in enumerate(labels)
  ]


def make(data, others=(), **settings):
  sources = [read_source(own) for own in (data, *others)]
  return make_problem(sources[0], FitConfig(**settings), *sources[1:])


def test_even_labels_have_the_accuracy_and_others_the_balanced_one():
  even = make(rows(["a", "b"] * 10))
  assert even.task.metric == "accuracy" and even.scored == "validation"
  # 18 of 20 rows are more than 1.5 times the even share of a half.
  uneven = make(rows(["a"] * 36 + ["b"] * 4))
  assert uneven.task.metric == "balanced_accuracy"
  asked = make(rows(["a", "b"] * 10), metric="f1_macro")
  assert asked.task.metric_names[0] == "f1_macro" and asked.task.metric is None


def test_labels_are_words_in_an_order_of_their_own():
  assert make(rows([10, 9] * 10)).task.label_names == ("9", "10")
  assert make(rows([True, False] * 10)).task.label_names == ("false", "true")
  names = make(rows([" new  thing", "old"] * 10)).task.label_names
  assert names == ("new thing", "old")


def test_rows_that_lack_something_are_left_out_and_counted():
  data = rows(["a", "b"] * 10)
  data[3]["text"], data[4]["label"] = None, ""
  problem = make(data)
  assert problem.dropped == 2
  assert sum(len(own) for own in problem.task.rows.values()) == 18


def test_many_rows_have_a_test_split_besides():
  problem = make(rows(["a", "b", "c", "d"] * 50))
  sizes = {split: len(own) for split, own in problem.task.rows.items()}
  assert sizes == {"train": 160, "validation": 20, "test": 20}
  assert problem.scored == "test"
  assert "test and validation drawn" not in problem.held_out
  assert "validation and test drawn with seed 0" in problem.held_out
  texts = [{r["text"] for r in own} for own in problem.task.rows.values()]
  assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]


def test_given_rows_are_taken_and_never_drawn_again():
  data, own = rows(["a", "b"] * 100), rows(["a", "b"] * 4, "others {}")
  problem = make(data, [own])
  assert set(problem.task.rows) == {"train", "validation"}
  assert len(problem.task.rows["train"]) == 200
  assert problem.held_out == "your files"


def test_a_template_and_a_pair():
  data = [
    {**row, "b": f"more text {i}"} for i, row in enumerate(rows("ab" * 9))
  ]
  assert make(data).task.template == "text: {text} b: {b}"
  problem = make(data, template="say {b}!")
  assert problem.task.template == "say {b}!" and problem.texts == ("b",)
  with pytest.raises(ValueError, match="exclude another"):
    make(data, template="{b}", text="b")
  with pytest.raises(ValueError, match="is the target, so it cannot be a text"):
    make(data, text=("label",), label="label")


def test_long_texts_are_compared_by_bleu_and_rouge():
  summaries = [f"one two three four five six {i}" for i in range(20)]
  task = make(rows(summaries), kind="text").task
  assert task.metric == "bleu"
  expected = {"bleu", "rouge1", "rouge2", "rougeL", "rougeLsum"}
  assert expected < set(task.metric_names)
  assert make(rows([f"w {i}" for i in range(20)]), kind="text").task.metric == (
    "f1"
  )


def test_the_balance_names_the_most_frequent_labels():
  problem = make(rows(["a"] * 30 + ["b"] * 10 + ["c"] * 10))
  # Of 40 training rows 24 are a.
  assert label_balance(problem, 1) == "a 60%, and 2 more"


def test_numbers_that_are_none():
  data = rows([0.5, 1.5, "2,5"] * 7)
  with pytest.raises(ValueError, match="the target '2,5' is not a number"):
    make(data, kind="number")
