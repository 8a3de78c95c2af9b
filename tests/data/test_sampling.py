"""The paper's task sampling, and mixing by rates."""

import collections
import functools

import numpy as np
import pytest
import seqio
import tensorflow as tf
from train_fixtures import register_tiny_task

from mpt_jax.data import pipeline, sampling


def endless(num_tasks):
  """Endless datasets whose examples have their task and a counter."""
  return [
    tf.data.Dataset.counter().map(
      lambda n, task=task: {
        "inputs": tf.fill([2], 1000 * (task + 1) + tf.cast(n, tf.int32))
      }
    )
    for task in range(num_tasks)
  ]


def blocks(num_blocks, num_tasks=5, seed=0, **settings):
  ds = sampling.sample_tasks(endless(num_tasks), seed, **settings)
  size = settings["batch_size"]
  taken = list(ds.take(num_blocks * size).as_numpy_iterator())
  return [taken[i * size : (i + 1) * size] for i in range(num_blocks)]


def test_blocks_hold_equal_numbers_of_k_tasks_and_blanks():
  seen = [0] * 5
  for block in blocks(40, batch_size=13, min_tasks=2, max_tasks=4):
    assert len(block) == 13
    counts = collections.Counter(int(x["slot_ids"]) for x in block)
    blanks = counts.pop(sampling.BLANK_SLOT_ID, 0)
    assert 2 <= len(counts) <= 4
    # 13 examples of 2, 3 or 4 tasks: 6, 4 or 3 of each and 1 blank.
    assert set(counts.values()) == {13 // len(counts)}
    assert blanks == 13 % len(counts)
    for example in block:
      task = int(example["slot_ids"])
      if task == sampling.BLANK_SLOT_ID:
        assert example["inputs"].sum() == 0
      else:
        # The label is the dataset's own, and each example occurs exactly once.
        assert example["inputs"][0] == 1000 * (task + 1) + seen[task]
        seen[task] += 1


def test_k_and_the_tasks_are_uniform():
  num_blocks, num_tasks = 1200, 5
  choose = tf.function(
    functools.partial(
      sampling.task_choices,
      num_tasks=num_tasks,
      seed=3,
      batch_size=20,
      min_tasks=2,
      max_tasks=5,
    )
  )
  ks, tasks = collections.Counter(), collections.Counter()
  for block in range(num_blocks):
    chosen = set(choose(block).numpy().tolist()) - {num_tasks}
    ks[len(chosen)] += 1
    tasks.update(chosen)
  # Chi-square with 3 degrees of freedom exceeds 16.27 once in 1,000 draws.
  expected = num_blocks / 4
  assert set(ks) == {2, 3, 4, 5}
  assert sum((n - expected) ** 2 / expected for n in ks.values()) < 16.27
  # A task is in a block with probability E[K] / 5 = 3.5 / 5 = 0.7, so the
  # number of its blocks has standard deviation sqrt(1200 * 0.7 * 0.3) = 15.9;
  # four of them are 63.5.
  for task in range(num_tasks):
    assert abs(tasks[task] - 840) < 63.5


def ids(ds, num):
  return [int(x["slot_ids"]) for x in ds.take(num).as_numpy_iterator()]


def test_the_draw_depends_on_the_seed_alone():
  def make(seed):
    return ids(sampling.sample_tasks(endless(6), seed, batch_size=12), 120)

  assert make(1) == make(1)
  assert make(1) != make(2)


@pytest.mark.parametrize("how", ["sampled", "rates"])
def test_a_restored_iterator_continues_where_it_stood(how, tmp_path):
  def make():
    if how == "sampled":
      ds = sampling.sample_tasks(endless(4), 7, batch_size=9)
    else:
      ds = sampling.sample_by_rate(endless(4), [4, 3, 2, 1], 7)
    return iter(ds)

  first = make()
  for _ in range(31):
    next(first)
  tf.train.Checkpoint(iterator=first).write(str(tmp_path / "position"))
  expected = [next(first) for _ in range(40)]
  second = make()
  tf.train.Checkpoint(iterator=second).read(
    str(tmp_path / "position")
  ).assert_consumed()
  for example in expected:
    other = next(second)
    for name in example:
      np.testing.assert_array_equal(example[name], other[name])


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (dict(batch_size=8, min_tasks=3, max_tasks=2), "min_tasks=3, max_tasks=2"),
    (dict(batch_size=8, max_tasks=9), "max_tasks=9"),
    (dict(batch_size=8, min_tasks=0), "min_tasks=0"),
    (dict(batch_size=3), "at least 4"),
  ],
)
def test_numbers_of_tasks_that_do_not_fit(settings, message):
  with pytest.raises(ValueError, match=message):
    sampling.sample_tasks(endless(4), 0, **settings)


def test_examples_follow_the_rates():
  # 1 : 3 of 2,000: 500, standard deviation sqrt(2000 / 4 * 3 / 4) = 19.4; five
  # of them are 97.
  drawn = ids(sampling.sample_by_rate(endless(2), [0.5, 1.5], 11), 2000)
  assert abs(drawn.count(0) - 500) < 97


@pytest.mark.parametrize(
  ("settings", "expected"),
  [
    (dict(mixing="rates"), [1, 1]),
    (dict(mixing="rates", rates=(2.0, 0.5)), [2, 0.5]),
    (dict(mixing="proportional"), [40, 10]),
    (dict(mixing="proportional", max_examples=20), [20, 10]),
    # 40^(1/2) and 10^(1/2): twice as many of the first.
    (dict(mixing="temperature", temperature=2.0), [40**0.5, 10**0.5]),
  ],
)
def test_mixing_rates_by_hand(settings, expected, sized_tasks):
  config = pipeline.MixConfig(**settings)
  rates = pipeline._mixing_rates(sized_tasks, (1.0, 1.0), config)
  np.testing.assert_allclose(rates, expected)


def test_one_rate_per_task_is_needed(sized_tasks):
  config = pipeline.MixConfig(mixing="rates", rates=(1.0,))
  with pytest.raises(ValueError, match=r"one rate per task \(2\), got 1"):
    pipeline._mixing_rates(sized_tasks, (1.0, 1.0), config)


@pytest.fixture(scope="module")
def sized_tasks(tmp_path_factory):
  """Tasks of 40 and of 10 training examples."""
  folder = tmp_path_factory.mktemp("sized")
  names = [register_tiny_task(folder, num=num) for num in (40, 10)]
  return [seqio.TaskRegistry.get(name) for name in names]
