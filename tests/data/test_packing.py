"""How examples share rows, by hand."""

import dataclasses

import pytest

from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.packing import (
  BatchLayout,
  Rows,
  assign_rows,
  count_rows,
  settle,
)

LAYOUT = BatchLayout(
  inputs_length=8, targets_length=4, prompt_length=2, num_slots=3
)


def test_the_layout_has_the_settings_and_what_follows_from_the_run():
  config = BatchConfig(inputs_length=8, targets_length=4, row_multiple=8)
  layout = config.layout(prompt_length=2, num_slots=3)
  assert layout == BatchLayout(
    inputs_length=8,
    targets_length=4,
    row_multiple=8,
    prompt_length=2,
    num_slots=3,
  )
  # 2 + 8 encoder positions hold one longest input, so there is room for two
  # longest targets.
  assert layout.packed_lengths == (10, 8)
  # 25 positions are 2.5 longest inputs: room for 5 longest targets.
  assert config.layout(prompt_length=2, row_length=25).packed_lengths == (
    25,
    20,
  )
  with pytest.raises(ValueError, match="row_length=9 does not hold .* 10 pos"):
    config.layout(prompt_length=2, row_length=9)


def test_plain_rows_are_as_long_as_the_longest():
  plain = dataclasses.replace(LAYOUT, pack=False)
  # Multiples of 16 and of 8.
  expected = Rows([[0], [1]], 16, 8)
  assert assign_rows([(5, 2), (9, 3)], plain) == expected
  # Of a fixed number all have one shape: 10 and 4 positions, rounded up.
  fixed = dataclasses.replace(plain, num_rows=4)
  assert assign_rows([(5, 2)], fixed) == Rows([[0]], 16, 8)
  assert assign_rows([], plain) == Rows([], 16, 8)


def test_the_longest_example_goes_into_the_first_row_with_room():
  # Rows of 10 and 8 positions. 7 and 6 do not share one; 3 fits beside 7, 4
  # beside 6; the second 3 does not fit anywhere.
  sizes = [(3, 2), (6, 2), (7, 2), (4, 2), (3, 2)]
  assert assign_rows(sizes, LAYOUT) == Rows([[2, 0], [1, 3], [4]], 10, 8)
  # 3 fits beside 7 in the encoder, but 5 + 4 > 8 in the decoder.
  assert assign_rows([(7, 5), (3, 4)], LAYOUT).examples == [[0], [1]]


def test_the_number_of_rows():
  rows = Rows([[0], [1, 2]], 10, 8)
  assert count_rows(rows, LAYOUT, None) == 2
  multiple = dataclasses.replace(LAYOUT, row_multiple=8)
  assert count_rows(rows, multiple, None) == 8
  assert count_rows(Rows([], 10, 8), multiple, None) == 8
  # A number that is given is kept.
  assert count_rows(rows, multiple, 3) == 3
  fixed = dataclasses.replace(multiple, num_rows=2)
  assert count_rows(rows, fixed, None) == 2
  with pytest.raises(
    ValueError, match="3 examples need 2 rows of 10 positions"
  ):
    count_rows(rows, fixed, 1)


def test_batches_of_a_run_have_one_shape():
  layout = BatchLayout(inputs_length=8, targets_length=2, row_multiple=2)
  layout = settle(layout, 10)  # 12 rows, a fifth more.

  def count(needed):
    rows = Rows([[i] for i in range(needed)], 8, 4)
    return count_rows(rows, layout, None)

  assert [count(n) for n in (1, 10, 12)] == [12, 12, 12]
  # Larger batches have few shapes: multiples of a quarter of the usual rows
  # and of row_multiple, 6.
  assert [count(n) for n in (13, 18, 19)] == [18, 18, 24]
  # A number of rows that the user set stays, as do plain rows.
  for changes in (dict(num_rows=4), dict(pack=False)):
    fixed = dataclasses.replace(layout, usual_rows=None, **changes)
    assert settle(fixed, 10) == fixed
