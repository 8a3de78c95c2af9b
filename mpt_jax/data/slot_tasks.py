"""The seqio task of each slot of a bank."""

import seqio

from mpt_jax.data import shots, text_tasks, vocabularies


def slot_tasks(slots, vocabulary_path: str | None) -> list[seqio.Task]:
  """Returns each slot's task with one vocabulary and its few-shot sample.

  The tasks must be registered. `import mpt_jax.tasks` registers the tasks of
  this library.

  Args:
    slots: `Slot`s.
    vocabulary_path: a vocabulary file, see `vocabularies`; None keeps each
      task's vocabulary.

  Raises:
    ValueError: a slot names an unknown task; the message has near names.
  """
  vocabulary = None
  if vocabulary_path is not None:
    vocabulary = vocabularies.seqio_vocabulary(vocabulary_path)
  made = []
  for slot in slots:
    task = text_tasks.get_task(slot.task)
    if vocabulary is not None:
      task = text_tasks.with_vocabulary(task, vocabulary)
    if slot.shots is not None:
      task = shots.few_shot(task, slot.shots, slot.seed)
    made.append(task)
  return made
