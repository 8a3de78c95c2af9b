"""The bound on memory, and sizes of which there are few."""

from mpt_jax.inference.engine import memory


def test_a_bound_cuts_rows(make_config):
  config = make_config(vocab_size=1000)
  wide = memory.Memory(config)
  narrow = memory.Memory(config, max_bytes=10**7)
  assert wide.ranking_rows(100, 8) > narrow.ranking_rows(100, 8) >= 1
  assert narrow.ranking_rows(100, 8) > narrow.ranking_rows(100, 64)
  assert wide.generating_rows(100, 8) > narrow.generating_rows(100, 8)
  assert wide.generating_rows(100, 8) > wide.generating_rows(100, 8, 40)
  # Never refused.
  assert memory.Memory(config, 1).ranking_rows(10**4, 128) == 1
  assert memory.Memory(config, 1).generating_rows(10**4, 512, 8) == 1


def test_sizes_are_few():
  for n in range(1, 5000):
    size, count = memory.next_size(n), memory.next_count(n)
    assert n <= size <= max(n + 1, 1.25 * n)
    assert n <= count <= max(n + 1, 1.5 * n)
    assert memory.next_size(size) == size
    assert memory.next_count(count) == count
  assert len({memory.next_size(n) for n in range(4097, 8193)}) == 8
