"""The rows of the targets, from rows in memory."""

from mpt_jax.tasks.public import target_readers


def test_every_second_title_is_another_texts():
  pairs = [(f"title {i}", f"text {i}") for i in range(50)]
  rows = target_readers.match_rows(pairs)
  fits = [row["title"][6:] == row["text"][5:] for row in rows]
  assert [row["label"] for row in rows] == ["yes" if x else "no" for x in fits]
  assert sum(fits) == 25
