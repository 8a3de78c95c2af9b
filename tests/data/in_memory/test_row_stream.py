"""The stream of examples in memory: its order, its mixing and its position."""

import collections

import numpy as np
import pytest
from scipy import stats

from mpt_jax.data.in_memory.row_stream import RowStream, _bits
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.data.mixing import MixConfig

NUM = 12


def make_task(name, num=NUM):
  rows = [{"text": f"{name} {i}", "label": "ab"[i % 2]} for i in range(num)]
  return RowTask(
    name=name,
    rows={"train": rows},
    template="{text}",
    label_names=("a", "b"),
  )


@pytest.fixture(scope="module")
def three_tasks():
  return [make_task(name) for name in ("one", "two", "three")]


def stream(tasks, rates=None, **settings):
  values = dict(batch_size=2 * len(tasks), seed=5)
  names = [task.name for task in tasks]
  return RowStream(tasks, names, MixConfig(**{**values, **settings}), rates)


def take(examples, num):
  """The next batches as comparable values."""
  return [
    [(x["slot_id"], x["name"], tuple(x["inputs"])) for x in next(examples)]
    for _ in range(num)
  ]


@pytest.mark.parametrize(
  "settings",
  [
    dict(mixing="all"),
    dict(mixing="sampled", min_tasks=2, batch_size=7),
    dict(mixing="proportional"),
    dict(mixing="rates", rates=(1.0, 2.0, 3.0)),
  ],
  ids=lambda s: s["mixing"],
)
def test_a_restored_stream_continues_exactly(three_tasks, settings, tmp_path):
  first = stream(three_tasks, **settings)
  take(first, 8)
  first.save(tmp_path / "position")
  expected = take(first, 15)
  second = stream(three_tasks, **settings)
  take(second, 3)
  second.restore(tmp_path / "position")
  assert take(second, 15) == expected


def test_the_batch_that_was_peeked_at_stays_the_next(three_tasks, tmp_path):
  expected = take(stream(three_tasks), 3)
  peeked = stream(three_tasks)
  assert peeked.peek() is peeked.peek()
  assert take(peeked, 2) == expected[:2]
  peeked.save(tmp_path / "position")
  other = stream(three_tasks)
  other.peek()
  other.restore(tmp_path / "position")
  assert take(other, 1) == expected[2:]


def test_an_epoch_has_every_example_once_and_epochs_differ(three_tasks):
  examples = stream(three_tasks[:1], batch_size=4)
  epochs = [sum(take(examples, 3), []) for _ in range(4)]
  every = [
    (0, "one", tuple(three_tasks[0].example("train", i)["inputs"]))
    for i in range(NUM)
  ]
  for epoch in epochs:
    assert sorted(epoch) == sorted(every)
  assert len({tuple(epoch) for epoch in epochs}) == 4


def test_orders_are_uniform():
  # Three examples have six orders. 1,200 seeds: chi-square with 5 degrees of
  # freedom.
  task = make_task("one", 3)
  counts = collections.Counter(
    tuple(take(stream([task], batch_size=3, seed=seed), 1)[0])
    for seed in range(1200)
  )
  assert len(counts) == 6
  assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_a_slot_has_the_same_examples_alone_and_in_a_bank(three_tasks):
  together = take(stream(three_tasks), 9)
  for index, task in enumerate(three_tasks):
    alone = take(stream([task]), 9)
    share = [[x[1:] for x in batch if x[0] == index] for batch in together]
    assert share == [[x[1:] for x in batch] for batch in alone]


def test_sampled_batches_draw_k_and_then_k_tasks(three_tasks):
  examples = stream(three_tasks, mixing="sampled", min_tasks=1, batch_size=7)
  sizes, tasks = collections.Counter(), collections.Counter()
  for batch in take(examples, 900):
    counts = collections.Counter(x[0] for x in batch)
    # Each of K tasks gets 7 // K examples; the rest of the batch is left out.
    assert set(counts.values()) == {7 // len(counts)}
    sizes[len(counts)] += 1
    tasks.update(counts.keys())
  assert stats.chisquare([sizes[k] for k in (1, 2, 3)]).pvalue > 1e-3
  # Each task is in a batch with probability (1/3 + 2/3 + 1) / 3 = 2/3; the
  # standard deviation of a share is sqrt(2/9 / 900) = 1.6 %.
  for task in range(3):
    assert tasks[task] / 900 == pytest.approx(2 / 3, abs=0.06)


def test_rates_are_obeyed(three_tasks):
  examples = stream(three_tasks, rates=[7.0, 2.0, 1.0], batch_size=250)
  seen = [x[0] for batch in take(examples, 4) for x in batch]
  for slot_id, rate in enumerate((7, 2, 1)):
    assert seen.count(slot_id) / len(seen) == pytest.approx(rate / 10, abs=0.05)


def test_bits_are_philox_as_its_authors_publish_it():
  # The random numbers must stay the same, or a run could not be resumed with
  # another NumPy. Known answer of Random123 (kat_vectors, philox4x64-10) for a
  # counter of ones and a key of ones; NumPy adds 1 to the counter first.
  ones = 2**64 - 1
  generator = np.random.Philox(
    counter=[ones - 1, ones, ones, ones], key=[ones, ones]
  )
  assert [hex(int(x)) for x in generator.random_raw(4)] == [
    "0x87b092c3013fe90b",
    "0x438c3c67be8d0224",
    "0x9cc7d7c69cd777b6",
    "0xa09caebf594f0ba0",
  ]
  assert _bits(2, 1, 2).tolist() == _bits(3, 1, 2).tolist()[:2]
  assert _bits(2, 1, 2).tolist() != _bits(2, 1, 3).tolist()


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (dict(batch_size=7), "multiple of the 3 slots.*take 6 or 9"),
    (dict(mixing="rates", rates=(1.0,)), "one rate per task"),
    (
      dict(mixing="sampled", batch_size=2),
      "leaves no example for each of max_tasks=3",
    ),
    (dict(mixing="sampled", max_tasks=4), "1 <= min_tasks <= max_tasks <= 3"),
  ],
)
def test_settings_that_do_not_fit(three_tasks, settings, message):
  with pytest.raises(ValueError, match=message):
    stream(three_tasks, **settings)
