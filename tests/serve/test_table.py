"""The table of prompts: factors, growth, and rows that are used again."""

import numpy as np
import pytest
from serving import make_bank

from mpt_jax.serve.table import FIRST_CAPACITY, Composed, Table


def _prompts(table, entries):
  return np.stack([table.prompt(entry) for entry in entries])


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_prompts_have_the_bits_of_the_bank(backbone, rank):
  bank = make_bank(backbone, [f"t{i}" for i in range(5)], rank)
  table = Table(2, 32)
  entries = [table.add(bank, i, bank.composed) for i in range(5)]
  np.testing.assert_array_equal(_prompts(table, entries), bank.composed)
  lazy = Composed(bank)
  for i, prompt in enumerate(bank.composed):
    np.testing.assert_array_equal(lazy[i], prompt)
  assert all(entry.is_factors == (rank == 1) for entry in entries)


def test_a_task_of_rank_one_takes_its_factors_alone(backbone):
  bank = make_bank(backbone, [f"t{i}" for i in range(FIRST_CAPACITY)])
  table, composed = Table(2, 32), bank.composed
  entries = [table.add(bank, i, composed) for i in range(FIRST_CAPACITY)]
  # 64 rows of u [2] and v [32], and P* [2, 32] once, of 4 bytes each.
  assert table.sizes() == {
    "used": 64,
    "capacity": 64,
    "shared": 1,
    "bytes": 4 * (64 * (2 + 32) + 2 * 32),
  }
  entries.append(table.add(bank, 0, composed))
  assert table.sizes()["capacity"] == 128
  np.testing.assert_array_equal(
    _prompts(table, entries), np.concatenate([composed, composed[:1]])
  )


def test_rows_are_used_again_and_memory_stays(backbone):
  bank = make_bank(backbone, [f"t{i}" for i in range(20)])
  table, composed = Table(2, 32), bank.composed
  kept = [table.add(bank, i, composed) for i in range(10)]
  size = table.sizes()
  for i in range(1000):
    entry = table.add(bank, 10 + i % 10, composed)
    np.testing.assert_array_equal(table.prompt(entry), composed[10 + i % 10])
    entry.release()
  assert table.sizes() == size
  np.testing.assert_array_equal(_prompts(table, kept), composed[:10])
  for entry in kept:
    entry.release()
  assert table.sizes()["used"] == table.sizes()["shared"] == 0


def test_a_request_keeps_its_row(backbone):
  bank = make_bank(backbone, ["x", "y"])
  table, composed = Table(2, 32), bank.composed
  entry = table.add(bank, 0, composed)
  entry.lease()
  entry.release()  # The task is removed.
  other = table.add(bank, 1, composed)
  np.testing.assert_array_equal(table.prompt(entry), composed[0])
  entry.release()  # The request is answered.
  assert table.sizes()["used"] == 1
  assert not table.prompt(entry).any()
  np.testing.assert_array_equal(table.prompt(other), composed[1])


def test_another_shape_is_refused(backbone):
  bank = make_bank(backbone, ["x"])
  with pytest.raises(ValueError, match="'x' has length 2 and width 32; this"):
    Table(3, 32).add(bank, 0, bank.composed)
