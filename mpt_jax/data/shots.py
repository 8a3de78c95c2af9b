"""Draws a few training examples of a task with a seed."""

import hashlib

import seqio

from mpt_jax.data.text_tasks import ExamplesSource, get_task


def few_shot(
  task: seqio.Task | str, shots: int | None, seed: int = 0
) -> seqio.Task:
  """Returns an unregistered task whose train split is a random sample.

  The sample has `shots` examples of each class, where a class is a target text.
  A class with fewer examples contributes all of them. For a task without label
  names the sample has `shots` examples in total. With the same seed, a smaller
  sample is part of a larger one. The sample depends only on the task's name,
  the seed and the texts, so it is the same on every machine.

  Args:
    task: a task with an `ExamplesSource`, or its name.
    shots: k; None keeps the whole train split and returns the task itself.
    seed: seed of the sample.

  Raises:
    TypeError: the task has another kind of source.
    ValueError: shots is less than one, or the name is unknown.
  """
  task = get_task(task) if isinstance(task, str) else task
  if shots is None:
    return task
  if shots < 1:
    raise ValueError(f"shots must be at least 1, or None, got {shots}")
  base = task.source
  if not isinstance(base, ExamplesSource):
    raise TypeError(
      "few_shot needs a task made by register_file_task, register_dataset or"
      " register_classification_task; the task"
      f" {task.name!r} reads a {type(base).__name__}"
    )
  by_class = hasattr(task.postprocessor, "label_names")

  def rank(example):
    text = "\0".join((task.name, str(seed), *example))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()

  def load(split):
    examples = base.examples(split)
    if split != "train":
      return examples
    drawn, counts = [], {}
    # Duplicates count once.
    for example in dict.fromkeys(sorted(examples, key=rank)):
      label = example[1] if by_class else None
      counts[label] = counts.get(label, 0) + 1
      if counts[label] <= shots:
        drawn.append(example)
    return drawn

  return task.replace(
    name=f"{task.name}_k{shots}_s{seed}",
    source=ExamplesSource(load, tuple(base.splits)),
  )
