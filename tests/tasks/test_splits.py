"""The division of datasets into train, validation and test."""

import random

import pytest

from mpt_jax.tasks import splits


def text(row):
  return row["text"]


def make_rows(count, groups=None):
  return [
    {"text": f"row {i % (groups or count)}", "i": i} for i in range(count)
  ]


def ids(rows):
  return [row["i"] for row in rows]


def test_halved_validation_is_disjoint_and_whole():
  own = {"train": make_rows(7), "validation": make_rows(101)}
  parts = splits.HALVE.read("test", own.__getitem__, text)
  assert parts == splits.HALVE.read("validation", own.__getitem__, text)
  first, second = set(ids(parts["validation"])), set(ids(parts["test"]))
  assert not first & second and first | second == set(range(101))
  # 101 // 2 = 50.
  assert (len(first), len(second)) == (50, 51)
  assert splits.HALVE.read("train", own.__getitem__, text) == {
    "train": own["train"]
  }


def test_carved_validation_is_1000_rows_of_train():
  own = {"train": make_rows(12_000), "validation": make_rows(3)}
  parts = splits.CARVE.read("train", own.__getitem__, text)
  first, second = set(ids(parts["validation"])), set(ids(parts["train"]))
  assert not first & second and first | second == set(range(12_000))
  assert len(first) == 1000
  # Nothing but the dataset's validation is test.
  assert splits.CARVE.read("test", own.__getitem__, text) == {
    "test": own["validation"]
  }
  # A tenth of 45 rows, rounded up.
  own["train"] = make_rows(45)
  parts = splits.CARVE.read("validation", own.__getitem__, text)
  assert len(parts["validation"]) == 5 and len(parts["train"]) == 40


def test_own_and_further_splits_stay_as_they_are():
  own = {name: make_rows(i + 1) for i, name in enumerate("abcd")}
  made = splits.Splits("own", "a", "b", "c", others={"test_more": "d"})
  assert made.names == ("train", "validation", "test", "test_more")
  for split, name in zip(made.names, "acbd", strict=True):
    assert made.read(split, own.__getitem__, text) == {split: own[name]}
  with pytest.raises(ValueError, match="Splits.division must be one of"):
    splits.Splits("third")


def test_the_draw_depends_on_texts_and_seed_alone():
  rows = make_rows(60)
  shuffled = random.Random(0).sample(rows, len(rows))
  assert splits.divide(rows, 20, text) == splits.divide(shuffled, 20, text)
  other = splits.divide(rows, 20, text, seed=1)
  assert ids(other[0]) != ids(splits.divide(rows, 20, text)[0])
  # `printf '0\0d' | b2sum -l 128` begins with 40, that of e with 63, of f
  # with 0b.
  drawn, rest = splits.divide([{"text": t} for t in "def"], 1, text)
  assert (drawn, rest) == ([{"text": "f"}], [{"text": "d"}, {"text": "e"}])


def test_rows_of_one_text_stay_together():
  first, second = splits.divide(make_rows(40, groups=7), 10, text)
  assert not {row["text"] for row in first} & {row["text"] for row in second}
  # Groups of 5 or 6 rows: two of them are 10 to 12.
  assert 10 <= len(first) <= 12 and len(first) + len(second) == 40


def test_own_splits_are_the_datasets_three():
  made = splits.Splits("own")
  assert (made.train, made.validation, made.test) == (
    "train",
    "validation",
    "test",
  )
  assert splits.Splits("halve").test == "validation"
  assert splits.Splits("own", test="validation").test == "validation"
