"""Which columns are texts, which one is the target, and what kind it is."""

import pytest

from mpt_jax.fitting import columns


def made(rows):
  return columns.describe(rows)


TREC = [
  {"id": str(i), "question": f"Who wrote book {i} ?", "kind": "ab"[i % 2]}
  for i in range(20)
]
MSRP = [
  {
    "Quality": str(i % 2),
    "#1 ID": str(i),
    "#2 ID": str(50 + i),
    "#1 String": f"One sentence {i} .",
    "#2 String": f"Another sentence {i} .",
  }
  for i in range(20)
]
SICK = [
  {
    "pair_ID": i,
    "sentence_A": f"A man sings {i}",
    "sentence_B": f"A man is silent {i}",
    "relatedness_score": i / 7,
    "entailment_judgment": ("NEUTRAL", "ENTAILMENT", "CONTRADICTION")[i % 3],
  }
  for i in range(30)
]
ODD = [{"a": f"some words {i}", "b": "xyz"[i % 3]} for i in range(9)]
# A column that is empty, and one that is always the same.
EMPTY = [
  {"text": f"w {i} x y", "notes": None, "lang": "en", "label": i % 2}
  for i in range(9)
]


@pytest.mark.parametrize(
  ("rows", "label", "texts", "kind"),
  [
    (TREC, "kind", ["question"], "labels"),
    (MSRP, "Quality", ["#1 String", "#2 String"], "labels"),
    (ODD, "b", ["a"], "labels"),
    (EMPTY, "label", ["text"], "labels"),
  ],
)
def test_files_as_people_have_them(rows, label, texts, kind):
  known = made(rows)
  assert columns.find_label(known, None, "x") == label
  assert columns.find_texts(known, (), label, "x") == texts
  assert columns.find_kind(known[label], len(rows)) == kind


def test_sick_has_two_targets_of_which_the_user_names_one():
  known = made(SICK)
  texts = ["sentence_A", "sentence_B"]
  for label, kind in (
    ("relatedness_score", "number"),
    ("entailment_judgment", "labels"),
  ):
    assert columns.find_label(known, label, "x") == label
    assert columns.find_texts(known, (), label, "x") == texts
    assert columns.find_kind(known[label], len(SICK)) == kind


def test_texts_to_generate():
  rows = [
    {"article": f"long text {i} here", "summary": f"t {i} y z"}
    for i in range(9)
  ]
  known = made(rows)
  assert columns.find_label(known, None, "x") == "summary"
  assert columns.find_kind(known["summary"], 9) == "text"
  rows = [{"q": f"who is {i} there", "answers": ["a", "b"]} for i in range(9)]
  known = made(rows)
  assert columns.find_label(known, None, "x") == "answers"
  assert columns.find_kind(known["answers"], 9) == "text"


def test_errors_name_the_columns():
  known = made(TREC)
  with pytest.raises(ValueError, match=r"--label 'kint'.*Did you mean kind\?"):
    columns.find_label(known, "kint", "a.csv")
  with pytest.raises(ValueError, match="--text 'x' is no column"):
    columns.find_texts(known, ("x",), "kind", "a.csv")
  alone = made([{"a": f"only one text {i}"} for i in range(3)])
  with pytest.raises(
    ValueError, match="a.csv: no column looks like the target"
  ):
    columns.find_label(alone, None, "a.csv")
  with pytest.raises(ValueError, match="no column besides 'a' looks like text"):
    columns.find_texts(alone, (), "a", "a.csv")


def test_levels_of_numbers():
  # T5's own levels of STS-B: 0.0, 0.2, ... 5.0.
  levels = columns.find_levels([0.0, 5.0])
  assert levels == tuple(f"{i / 5:.1f}" for i in range(26))
  # Raffel et al. (2020), section 2.4, round 2.57 to 2.6.
  assert columns.nearest(levels, 2.57) == "2.6"
  assert columns.find_levels([-1, 1])[:2] == ("-1.0", "-0.9")
  assert columns.find_levels([1, 5]) == tuple(
    f"{1 + i / 5:.1f}" for i in range(21)
  )
  with pytest.raises(ValueError, match="all numbers of the target are 3"):
    columns.find_levels([3, 3])


@pytest.mark.parametrize(
  ("value", "word"),
  [
    (1, "1"),
    (1.0, "1"),
    (True, "true"),
    (" two  words ", "two words"),
    (0.5, "0.5"),
    ("1.0", "1.0"),
  ],
)
def test_words_of_labels(value, word):
  assert columns.as_label(value) == word
