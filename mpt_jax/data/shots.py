"""A few training examples of a task, drawn by a seed."""

import hashlib

import seqio

from mpt_jax.data.text_tasks import ExamplesSource, get_task


def few_shot(
  task: seqio.Task | str, shots: int | None, seed: int = 0
) -> seqio.Task:
  """Returns a task whose train split is a seeded sample, not registered.

  The sample has `shots` examples of each class, classes being told apart by
  their target text; a task without label names gives `shots` examples in
  all. A class with fewer examples gives all that it has. For one seed a
  smaller sample is part of a larger one. Which examples are drawn depends on
  the task's name, the seed and the texts alone, on every machine alike.

  Args:
    task: a task of this module, or its name.
    shots: k; None keeps the whole train split and returns the task itself.
    seed: of the sample.

  Raises:
    TypeError: the task has another kind of source.
    ValueError: shots is less than one.
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
    # An example that is there twice is one example.
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
