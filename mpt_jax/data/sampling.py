"""How the tasks of a mixture share a batch.

`sample_tasks` and `sample_by_rate` turn the datasets of a mixture into one
stream of examples. The feature `slot_ids` is the dataset's index in the
mixture. `sample_tasks` emits blocks of exactly `batch_size` examples: batches.
Both consist of tf.data operations whose random numbers depend on the seed only.
The stream is thus the same on every host and resumes from an iterator's
checkpoint.
"""

import functools

import tensorflow as tf

from mpt_jax.data import mixing

# The slot id of an example without tokens, which fills up a block.
BLANK_SLOT_ID = -1


def task_choices(block, num_tasks, seed, batch_size, min_tasks, max_tasks):
  """Draws the task of each example of a block.

  It draws K ~ U[min_tasks, max_tasks], and then K tasks without replacement.
  Each of them gets batch_size // K examples; Wang et al. (2023), section 3.2.

  Args:
    block: [] int64, the number of the block.
    num_tasks: number of tasks in the mixture.
    seed: int.
    batch_size: number of examples in a block.
    min_tasks: smallest K.
    max_tasks: κ, the largest K.

  Returns:
    [batch_size] int64 slot ids. The last batch_size - K · (batch_size // K) of
    them are `num_tasks`, which stands for a blank example.
  """
  block = tf.cast(block, tf.int64)
  seed = tf.stack([tf.constant(seed, tf.int64), block])
  count_seed, order_seed = tf.unstack(
    tf.random.experimental.stateless_split(seed, 2)
  )
  count = tf.random.stateless_uniform(
    [], count_seed, min_tasks, max_tasks + 1, tf.int32
  )
  order = tf.argsort(tf.random.stateless_uniform([num_tasks], order_seed))
  position = tf.range(batch_size)
  per_task = batch_size // count
  chosen = tf.gather(order, tf.minimum(position // per_task, count - 1))
  blank = position >= count * per_task
  return tf.cast(tf.where(blank, num_tasks, chosen), tf.int64)


def sample_tasks(datasets, seed, *, batch_size, min_tasks=2, max_tasks=None):
  """Samples as in the paper: each block draws a number of tasks, then tasks.

  Args:
    datasets: one dataset per task, each of them endless.
    seed: int.
    batch_size: number of examples in a block.
    min_tasks: smallest number of tasks in a block. If it equals the number of
      tasks, every block holds all of them in equal shares.
    max_tasks: κ, the largest number; all tasks by default.

  Returns:
    A dataset of the examples with the feature `slot_ids`.

  Raises:
    ValueError: min_tasks or max_tasks does not fit the mixture or the batch.
  """
  num_tasks = len(datasets)
  min_tasks, max_tasks = mixing.num_sampled(
    num_tasks, batch_size, min_tasks, max_tasks
  )
  choose = functools.partial(
    task_choices,
    num_tasks=num_tasks,
    seed=seed,
    batch_size=batch_size,
    min_tasks=min_tasks,
    max_tasks=max_tasks,
  )
  choices = tf.data.Dataset.counter().map(choose).unbatch()
  return tf.data.Dataset.choose_from_datasets(
    [*_with_slot_ids(datasets), _blanks(datasets[0])], choices
  )


def sample_by_rate(datasets, rates, seed):
  """Draws the task of each example in proportion to the mixing rates.

  The rates may come from `seqio.mixing_rate_num_examples`, for instance, with a
  maximum (proportional with a cap) or a temperature.

  Args:
    datasets: one dataset per task.
    rates: one rate per task; they need not sum to one.
    seed: int.

  Returns:
    A dataset of the examples with the feature `slot_ids`.
  """
  total = sum(rates)
  return tf.data.Dataset.sample_from_datasets(
    _with_slot_ids(datasets),
    [rate / total for rate in rates],
    seed=seed,
    stop_on_empty_dataset=True,
  )


def _with_slot_ids(datasets):
  def add(example, slot_id):
    return {**example, "slot_ids": tf.constant(slot_id, tf.int32)}

  return [
    ds.map(functools.partial(add, slot_id=i)) for i, ds in enumerate(datasets)
  ]


def _blanks(dataset):
  """Returns endless examples with the dataset's features but no tokens."""
  blank = {
    name: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
    for name, spec in dataset.element_spec.items()
  }
  blank["slot_ids"] = tf.constant(BLANK_SLOT_ID, tf.int32)
  return tf.data.Dataset.from_tensors(blank).repeat()
