"""The division of public datasets into splits."""

from mpt_jax.tasks.public import sources


def test_split_rows_repeats_no_text():
  rows = [{"text": f"Text  {i % 5000}", "label": "a"} for i in range(9000)]
  splits = sources.split_rows(rows)
  kept = [row["text"] for split in splits.values() for row in split]
  assert len(kept) == len(set(kept)) == 5000
  # A tenth of 5,000 for test, then a tenth of the 4,500 left.
  assert len(splits["test"]) == 500 and len(splits["validation"]) == 450
  assert splits == sources.split_rows(rows[::-1])


def test_split_rows_keeps_official_test_rows():
  rows = [
    {"text": "same", "label": "a", "split": "train"},
    {"text": "SAME", "label": "a", "split": "test"},
    *({"text": f"t{i}", "label": "a", "split": "train"} for i in range(20)),
  ]
  splits = sources.split_rows(rows)
  assert splits["test"] == [{"text": "SAME", "label": "a"}]
  assert len(splits["train"]) == 18 and len(splits["validation"]) == 2
