"""Reads what `mpt predict --out` has written."""

import pytest
from report_pages import write_lines

from mpt_jax.report.readers import predictions


def row(text, answer, share=0.75, **fields):
  other = {"ham": "spam", "spam": "ham"}[answer]
  return {
    "text": text,
    "task": "mail",
    **fields,
    "prediction": answer,
    "scores": {"ham": -1.0, "spam": -2.0},
    "probabilities": {answer: share, other: 1 - share},
  }


def read(folder, *rows):
  write_lines(folder / predictions.FILE, rows)
  return predictions.read_predictions(folder)


def test_nothing_without_the_file(tmp_path):
  assert predictions.read_predictions(tmp_path) == ([], [], [])


def test_answers_and_confusion(tmp_path):
  rows = [
    row("a", "ham", 0.625, label="ham"),
    row("b", "ham", 0.875, label="ham"),
    row("c", "ham", label="spam"),
    row("d", "spam", label=1),  # The number of a label.
    row("e", "ham"),
  ]
  (answers,), (confusion,), notes = read(tmp_path, *rows)
  assert answers.target == "mail"
  # The most confident ones come first.
  assert [a.text for a in answers.right] == ["b", "d", "a"]
  assert [a.probability for a in answers.right] == [0.875, 0.75, 0.625]
  assert [(a.text, a.answer, a.truth) for a in answers.wrong] == [
    ("c", "ham", "spam")
  ]
  assert confusion.labels == ("ham", "spam")
  assert confusion.counts == ((2, 0), (1, 1))
  assert notes == ["predictions.jsonl: 1 of 5 rows have no right answer."]


def test_at_most_ten_of_each(tmp_path):
  rows = [row(str(i), "ham", label="ham") for i in range(15)]
  (answers,), _, _ = read(tmp_path, *rows)
  assert len(answers.right) == 10 and answers.wrong == ()


def test_generated_texts_and_several_fields(tmp_path):
  rows = [
    {"q": "1", "c": "2", "target": "x", "prediction": "x "},
    {"q": "3", "c": "4", "target": "x", "prediction": "y"},
  ]
  (answers,), confusions, _ = read(tmp_path, *rows)
  assert answers.right[0].text == "q: 1; c: 2"
  assert answers.wrong[0].answer == "y"
  assert answers.order == "the first ones of the file"
  assert confusions == []


def test_rows_without_right_answers(tmp_path):
  answers, confusions, notes = read(tmp_path, row("a", "ham"))
  assert (answers, confusions) == ([], [])
  assert notes == [
    "predictions.jsonl has no right answers: no target, label, answer."
  ]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('{"text": ', "line 1, is damaged"),
    ('{"label": "a"}', "'prediction'"),
    ('{"label": "a", "prediction": "a", "probabilities": 3}', "cannot be read"),
  ],
)
def test_damage_is_one_line(tmp_path, text, message):
  (tmp_path / predictions.FILE).write_text(text)
  with pytest.raises(ValueError, match=f"predictions.jsonl.*{message}"):
    predictions.read_predictions(tmp_path)
