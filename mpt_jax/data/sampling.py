"""How the tasks of a mixture share a batch.

Each function turns the datasets of a mixture into one stream of examples with
the feature `task_ids`: the dataset's place in the mixture. `sample_tasks` emits
blocks of exactly `batch_size` examples, so that consecutive blocks are batches.
Both are made of tf.data operations whose random numbers depend on the seed
alone, so the stream is the same on every host and resumes from an iterator's
checkpoint.
"""

import functools

import tensorflow as tf

# The task of an example that fills up a block and carries no tokens.
BLANK_TASK_ID = -1


def task_choices(block, num_tasks, seed, batch_size, min_tasks, max_tasks):
  """Which task each example of a block comes from.

  K ~ U[min_tasks, max_tasks], then K of the tasks without replacement, each
  with batch_size // K examples; Wang et al. (2023), section 3.2.

  Args:
    block: [] int64, the block's number.
    num_tasks: tasks of the mixture.
    seed: int.
    batch_size: examples of a block.
    min_tasks: least K.
    max_tasks: κ, most K.

  Returns:
    [batch_size] int64 task ids; the batch_size - K · (batch_size // K) examples
    that K does not divide are `num_tasks`: blank.
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
  """The paper's sampling: each block draws how many tasks, then which.

  Args:
    datasets: one dataset a task, each repeated without end.
    seed: int.
    batch_size: examples of a block.
    min_tasks: least number of tasks in a block. Equal to the number of tasks,
      every block holds all of them in equal shares.
    max_tasks: κ; all tasks by default.

  Returns:
    A dataset of their examples with the feature `task_ids`.

  Raises:
    ValueError: numbers of tasks that do not fit the mixture or the batch.
  """
  num_tasks = len(datasets)
  max_tasks = num_tasks if max_tasks is None else max_tasks
  min_tasks = min(min_tasks, num_tasks)
  if not 1 <= min_tasks <= max_tasks <= num_tasks:
    raise ValueError(
      f"1 <= min_tasks <= max_tasks <= {num_tasks} (the tasks of the mixture)"
      f" must hold, got min_tasks={min_tasks}, max_tasks={max_tasks}"
    )
  if batch_size < max_tasks:
    raise ValueError(
      f"batch_size={batch_size} leaves no example for each of"
      f" max_tasks={max_tasks} tasks; raise it to at least {max_tasks}"
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
    [*_with_task_ids(datasets), _blanks(datasets[0])], choices
  )


def sample_by_rate(datasets, rates, seed):
  """Ordinary mixing: each example's task is drawn by the mixing rates.

  The rates come from the mixture, for instance `seqio.mixing_rate_num_examples`
  with a maximum (proportional with a cap) or a temperature.

  Args:
    datasets: one dataset a task.
    rates: a rate a task; they need not sum to one.
    seed: int.

  Returns:
    A dataset of their examples with the feature `task_ids`.
  """
  total = sum(rates)
  return tf.data.Dataset.sample_from_datasets(
    _with_task_ids(datasets),
    [rate / total for rate in rates],
    seed=seed,
    stop_on_empty_dataset=True,
  )


def _with_task_ids(datasets):
  def add(example, task_id):
    return {**example, "task_ids": tf.constant(task_id, tf.int32)}

  return [
    ds.map(functools.partial(add, task_id=i)) for i, ds in enumerate(datasets)
  ]


def _blanks(dataset):
  """Endless examples of the dataset's features without any tokens."""
  blank = {
    name: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
    for name, spec in dataset.element_spec.items()
  }
  blank["task_ids"] = tf.constant(BLANK_TASK_ID, tf.int32)
  return tf.data.Dataset.from_tensors(blank).repeat()
