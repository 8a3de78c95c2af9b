"""Overlaps of pretraining and targets, counted by hand."""

from mpt_jax.tasks.pretraining.packed import overlap

TARGET = "one two three four five six seven eight nine ten"
PHRASE = "this mail is sent by a robot please do"


def test_runs_of_eight():
  assert len(list(overlap.runs(TARGET))) == 3
  assert not list(overlap.runs("only seven words are in this text"))


def test_counts_by_hand():
  targets = {"a": [TARGET, "unrelated " * 9], "b": ["x " * 8]}
  pretraining = ["and ONE, two three four five six seven eight! then"]
  a, b = overlap.count_overlaps(targets, pretraining)
  # Runs of a: three of the first text, one of the second.
  assert (a.texts, a.touched, a.runs, a.shared) == (2, 1, 4, 1)
  assert (b.texts, b.touched, b.runs, b.shared) == (1, 0, 1, 0)


def test_phrases_of_a_kind_do_not_count():
  texts = [f"{PHRASE} {i}" for i in range(3)]
  assert PHRASE.rpartition(" ")[0] not in overlap.own_runs(texts)
  assert "is sent by a robot please do 0" in overlap.own_runs(texts)


def test_texts_with_a_banned_run_are_left_out():
  banned = overlap.own_runs([TARGET])
  assert overlap.without_overlaps([f"so {TARGET}", "else"], banned) == ["else"]


def test_held_out_names():
  assert {"bbc_topic", "spam", "vader_tweets"} <= {*overlap.held_out_names()}
  assert "rotten_tomatoes" not in overlap.held_out_names()
