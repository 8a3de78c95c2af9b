"""The stream of examples: its position and its order."""

import pytest
import seqio
import tensorflow as tf
from train_fixtures import register_tiny_task

from mpt_jax.data.mixing import MixConfig
from mpt_jax.data.pipeline import ExampleStream

NUM = 12


@pytest.fixture(scope="module")
def three_tasks(tmp_path_factory):
  folder = tmp_path_factory.mktemp("three")
  names = [register_tiny_task(folder, num=NUM, seed=s) for s in range(3)]
  return [seqio.TaskRegistry.get(name) for name in names]


def stream(tasks, **settings):
  names = [task.name for task in tasks]
  values = dict(batch_size=2 * len(tasks), seed=5)
  return ExampleStream(tasks, names, MixConfig(**{**values, **settings}))


def take(examples, num):
  """The next batches as comparable values."""
  return [
    [
      (x["slot_id"], tuple(x["inputs"].tolist()), tuple(x["targets"].tolist()))
      for x in next(examples)
    ]
    for _ in range(num)
  ]


@pytest.mark.parametrize(
  "settings",
  [
    dict(mixing="all"),
    dict(mixing="sampled", min_tasks=2, batch_size=7),
    dict(mixing="proportional"),
  ],
  ids=lambda s: s["mixing"],
)
def test_a_restored_stream_continues_exactly(three_tasks, settings, tmp_path):
  first = stream(three_tasks, **settings)
  # Epochs have 12 examples of a task: the position is within the second one,
  # and the batches after it reach into later ones.
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
  examples = peeked.peek()
  assert peeked.peek() is examples
  assert take(peeked, 2) == expected[:2]
  # Another stream saved the position before it: peeking changes nothing.
  peeked.save(tmp_path / "position")
  other = stream(three_tasks)
  other.peek()
  other.restore(tmp_path / "position")
  assert take(other, 1) == expected[2:]


def test_an_epoch_has_every_example_once_and_epochs_differ(three_tasks):
  batches = take(stream(three_tasks[:1], batch_size=4), 6)
  first = [x for batch in batches[:3] for x in batch]
  second = [x for batch in batches[3:] for x in batch]
  everything = [
    (0, tuple(x["inputs"].tolist()), tuple(x["targets"].tolist()))
    for x in three_tasks[0]
    .get_dataset(sequence_length=None, split="train", shuffle=False)
    .as_numpy_iterator()
  ]
  assert sorted(first) == sorted(second) == sorted(everything)
  assert first != second


def test_a_slot_has_the_same_examples_alone_and_in_a_bank(three_tasks):
  together = take(stream(three_tasks), 9)
  for index, task in enumerate(three_tasks):
    alone = take(stream([task]), 9)
    share = [[x[1:] for x in batch if x[0] == index] for batch in together]
    assert share == [[x[1:] for x in batch] for batch in alone]


def test_the_place_in_a_python_generator_is_counted(three_tasks, tmp_path):
  features = three_tasks[0].output_features
  texts = [f"red house {i}" for i in range(10)]

  def dataset_fn(split, shuffle_files, seed=None):
    del split, shuffle_files, seed
    signature = {k: tf.TensorSpec((), tf.string) for k in features}

    def make():
      return ({"inputs": t, "targets": "yes"} for t in texts)

    return tf.data.Dataset.from_generator(make, output_signature=signature)

  name = "pipeline_generator"
  task = seqio.TaskRegistry.add(
    name,
    seqio.FunctionDataSource(dataset_fn, splits=("train",)),
    output_features=features,
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
    ],
  )

  def make():
    return ExampleStream([task], [name], MixConfig(batch_size=4, seed=1))

  first = make()
  take(first, 4)  # Into the second epoch.
  first.save(tmp_path / "a")
  expected = take(first, 3)
  second = make()
  take(second, 1)
  second.restore(tmp_path / "a")
  assert take(second, 1) == expected[:1]
  # A place after one that was restored.
  second.save(tmp_path / "b")
  third = make()
  third.restore(tmp_path / "b")
  assert take(third, 2) == expected[1:]


@pytest.mark.parametrize(
  ("batch_size", "message"),
  [(7, "multiple of the 3 slots.*take 6 or 9"), (2, "take 3$")],
)
def test_batch_sizes_that_do_not_fit(three_tasks, batch_size, message):
  with pytest.raises(ValueError, match=message):
    stream(three_tasks, batch_size=batch_size)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (dict(mixing="mixed"), "mixing must be one of"),
    (
      dict(batch_size=0),
      "batch_size must be a whole number of at least 1, got 0",
    ),
  ],
)
def test_config_errors(settings, message):
  with pytest.raises(ValueError, match=message):
    MixConfig(**settings)


@pytest.mark.parametrize("name", ["exp[1]", "a*b", "?", "a b ü", "{x,y}"])
def test_a_path_is_no_pattern(three_tasks, tmp_path, name):
  folder = tmp_path / name
  folder.mkdir()
  first = stream(three_tasks)
  take(first, 2)
  first.save(folder / "position")
  expected = take(first, 2)
  second = stream(three_tasks)
  second.restore(folder / "position")
  assert take(second, 2) == expected


def test_rates_of_a_mixture_are_obeyed(three_tasks):
  rates = [7.0, 2.0, 1.0]
  names = [task.name for task in three_tasks]
  # 7 does not have to be divided by the number of slots.
  config = MixConfig(batch_size=250, seed=5)
  seen = [
    example["slot_id"]
    for _, batch in zip(
      range(4), ExampleStream(three_tasks, names, config, rates), strict=False
    )
    for example in batch
  ]
  # 1,000 draws: the standard deviation of a share is at most 1.6 %.
  for slot_id, rate in enumerate(rates):
    assert seen.count(slot_id) / len(seen) == pytest.approx(rate / 10, abs=0.05)
  same = ExampleStream(three_tasks, names, MixConfig(batch_size=6), [3.0] * 3)
  assert sorted(x["slot_id"] for x in next(same)) == [0, 0, 1, 1, 2, 2]
