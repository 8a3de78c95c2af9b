"""Streams batches of tokenised examples from seqio tasks; resumes exactly."""

import functools
import tempfile

import numpy as np
import seqio
import tensorflow as tf
from etils import epath

from mpt_jax.data import mixing, sampling
from mpt_jax.data.mixing import MixConfig
from mpt_jax.io.errors import calling
from mpt_jax.process import stderr

# Suffix of the file that stores the number of batches if tf.data cannot save
# the position of its iterator.
COUNT = ".batches"


def _mixing_rates(tasks, own_rates, config):
  if config.mixing in ("all", "rates"):
    rates = config.rates or own_rates
    if len(rates) != len(tasks):
      raise ValueError(
        f"MixConfig.rates needs one rate per task ({len(tasks)}), got"
        f" {len(rates)}"
      )
    return rates
  rate = functools.partial(
    seqio.mixing_rate_num_examples, maximum=config.max_examples
  )
  if config.mixing == "temperature":
    rate = functools.partial(rate, temperature=config.temperature)
  with calling(f"MixConfig.mixing={config.mixing!r}"):
    return [rate(task) for task in tasks]


def _batches(tasks, names, rates, config):
  """Makes the dataset of padded batches of a bank's slots."""
  datasets = []
  for task, name in zip(tasks, names, strict=True):
    ds = task.get_dataset(
      sequence_length=None,
      split="train",
      shuffle=True,
      seed=mixing.stream_seed(config.seed, name),
      num_epochs=None,
    )
    datasets.append(
      ds.map(lambda ex: {k: ex[k] for k in ("inputs", "targets")})
    )
  by_rate = config.mixing == "all" and not mixing.is_equal(rates)
  if config.mixing in ("sampled", "all") and not by_rate:
    num = len(tasks)
    ds = sampling.sample_tasks(
      datasets,
      config.seed,
      batch_size=config.batch_size,
      min_tasks=num if config.mixing == "all" else config.min_tasks,
      max_tasks=num if config.mixing == "all" else config.max_tasks,
    )
  else:
    rates = _mixing_rates(tasks, rates, config)
    ds = sampling.sample_by_rate(datasets, rates, config.seed)
  return ds.padded_batch(config.batch_size).prefetch(2)


class ExampleStream:
  """An endless stream of batches of tokenised examples, with a position.

  Every process of a run draws each whole batch, and its devices take their
  rows. A run is therefore the same on any number of processes.

  Args:
    tasks: the seqio task of each slot of the bank, in the bank's order.
    names: the slots' names, which seed the order of their examples.
    config: batch size, mixing and seed.
    rates: the rate of each slot; equal by default.

  Raises:
    ValueError: mixing is "all", the rates are equal and the number of tasks
      does not divide batch_size; or the mixing settings do not fit the tasks.
  """

  def __init__(self, tasks, names, config: MixConfig, rates=None):
    self._rates = list(rates or [1.0] * len(tasks))
    mixing.check_shares(config, self._rates)
    self._tasks, self._names, self._config = list(tasks), list(names), config
    self._start(0)

  def _start(self, num_batches):
    """Starts after this many batches, by skipping them."""
    self._num_batches, self._peeked = num_batches, None
    # Make a new dataset: a second iteration of one has another order.
    ds = _batches(self._tasks, self._names, self._rates, self._config)
    self._iterator = iter(ds.skip(num_batches))
    self._checkpoint = tf.train.Checkpoint(iterator=self._iterator)

  def __iter__(self):
    return self

  def peek(self):
    """Returns the next batch without taking it.

    Take the batch before saving the stream.
    """
    if self._peeked is None:
      self._peeked = next(self)
    return self._peeked

  def __next__(self):
    """Returns the next batch: dicts of inputs, targets, slot_id and name."""
    if self._peeked is not None:
      batch, self._peeked = self._peeked, None
      return batch
    block = {k: v.numpy() for k, v in next(self._iterator).items()}
    self._num_batches += 1
    examples = []
    for inputs, targets, slot_id in zip(
      block["inputs"], block["targets"], block["slot_ids"], strict=True
    ):
      if slot_id != sampling.BLANK_SLOT_ID:
        examples.append(
          {
            "inputs": inputs[: np.count_nonzero(inputs)],
            "targets": targets[: np.count_nonzero(targets)],
            "slot_id": int(slot_id),
            "name": self._names[slot_id],
          }
        )
    return examples

  def save(self, path):
    """Writes the position to files that start with `path`.

    Raises:
      OSError: the files cannot be written.
    """
    assert self._peeked is None, "the batch that was peeked at is not taken"
    if self._checkpoint is not None:
      try:
        # TensorFlow prints an error before it raises it.
        with stderr.silenced():
          self._write(epath.Path(path))
        return
      except tf.errors.FailedPreconditionError:
        # tf.data cannot save the position of a Python generator. Do not try
        # again: each attempt prints a warning.
        self._checkpoint = None
      except tf.errors.OpError as error:
        # "{{node}} FILE; No space left on device [Op:SaveV2]"
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(f"cannot write {path}: {reason}") from error
    epath.Path(f"{path}{COUNT}").write_text(str(self._num_batches))

  def restore(self, path):
    """Moves to a position that `save` wrote."""
    self._peeked = None
    count = epath.Path(f"{path}{COUNT}")
    if count.is_file():
      self._start(int(count.read_text()))
    else:
      self._read(epath.Path(path))

  def _write(self, path):
    # TensorFlow takes a path for a pattern when it reads, so that it does not
    # find "exp[1]". It gets a folder whose name has no special characters.
    with tempfile.TemporaryDirectory() as folder:
      self._checkpoint.write(f"{folder}/{path.name}")
      for file in epath.Path(folder).iterdir():
        file.copy(path.parent / file.name, overwrite=True)

  def _read(self, path):
    with tempfile.TemporaryDirectory() as folder:
      for file in path.parent.iterdir():
        if file.name.startswith(f"{path.name}."):
          file.copy(epath.Path(folder) / file.name)
      self._checkpoint.read(f"{folder}/{path.name}").assert_consumed()
