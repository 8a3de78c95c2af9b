"""The order, the names and the colours of methods."""

import pytest

from mpt_jax.report import names


def test_the_order_of_a_page():
  found = ["majority", "no_prompt", "dept", "spot", "mpt_a", "mpt", "tfidf_lr"]
  assert names.ordered([*found, "mpt"]) == [
    *("mpt", "mpt_a", "spot", "dept", "tfidf_lr", "no_prompt", "majority")
  ]


@pytest.mark.parametrize(
  ("written", "key"),
  [
    ("MPT", "mpt"),
    ("prompt tuning", "prompt_tuning"),
    ("SPoT", "spot"),
    ("MPT*", "MPT*"),
    ("MPT, rank 2", "MPT, rank 2"),
  ],
)
def test_names_of_tables_are_known(written, key):
  assert names.key(written) == key


def test_colours_differ_and_stay():
  found = names.colors([f"m{i}" for i in range(5)] + ["mpt", "spot"])
  assert len(set(found.values())) == 7
  assert found["mpt"] == names.colors(["mpt"])["mpt"] == 0
  many = names.colors([f"m{i}" for i in range(40)])
  assert max(many.values()) < names.NUM_COLORS
  # The main method of a page without MPT has MPT's colour.
  assert names.colors(["x", "prompt"], main="prompt")["prompt"] == 0
