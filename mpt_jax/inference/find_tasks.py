"""Finds the tasks of a bank's slots: rows in memory, or seqio's registry."""

from collections.abc import Mapping

from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.io import checks


def find_tasks(
  slots, vocabulary_path: str, tasks: Mapping[str, RowTask] | None = None
) -> list:
  """Returns the task of each slot, with the T5's vocabulary.

  Args:
    slots: `Slot`s.
    vocabulary_path: the T5's vocabulary.
    tasks: {name: task} over rows in memory. None looks the slots' tasks up in
      seqio's registry, which imports seqio and TensorFlow.

  Raises:
    ValueError: a slot names an unknown task, or draws shots of rows in memory.
  """
  if tasks is None:
    import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before TensorFlow.
    from mpt_jax.data.slot_tasks import slot_tasks

    return slot_tasks(slots, vocabulary_path)
  for slot in slots:
    checks.choice("Slot.task", slot.task, choices=tuple(tasks))
    if slot.shots is not None:
      raise ValueError(
        f"slot {slot.name!r}: shots={slot.shots} needs a task of seqio; draw"
        " the rows in memory yourself"
      )
  made = {k: t.with_vocabulary(vocabulary_path) for k, t in tasks.items()}
  return [made[slot.task] for slot in slots]
