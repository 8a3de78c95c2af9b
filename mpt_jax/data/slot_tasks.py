"""The seqio task of each slot of a bank."""

import seqio
import tensorflow as tf

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
    ValueError: a slot names an unknown task (the message has near names), or
      one without token ids of inputs and targets.
  """
  vocabulary = None
  if vocabulary_path is not None:
    vocabulary = vocabularies.seqio_vocabulary(vocabulary_path)
  made = []
  for slot in slots:
    task = text_tasks.get_task(slot.task)
    check_features(task)
    if vocabulary is not None:
      task = text_tasks.with_vocabulary(task, vocabulary)
    if slot.shots is not None:
      task = shots.few_shot(task, slot.shots, slot.seed)
    made.append(task)
  return made


def check_features(task: seqio.Task):
  """Refuses a task that does not have the features of an encoder-decoder.

  Other features than inputs and targets are allowed and not used.

  Raises:
    ValueError: a feature is missing, or is no vector of token ids that ends in
      the end of sequence.
  """
  for name in ("inputs", "targets"):
    feature = task.output_features.get(name)
    if feature is None:
      raise ValueError(
        f"the task {task.name!r} has no feature {name!r}, only"
        f" {', '.join(task.output_features)}; a T5 with prompts needs inputs and"
        " targets"
      )
    whole = tf.as_dtype(feature.dtype).is_integer
    if feature.rank != 1 or not whole:
      raise ValueError(
        f"the feature {name!r} of the task {task.name!r} must be token ids"
        f" (rank=1 and a whole dtype), got rank={feature.rank} and"
        f" dtype={tf.as_dtype(feature.dtype).name}"
      )
    if not getattr(feature, "add_eos", False):
      raise ValueError(
        f"the feature {name!r} of the task {task.name!r} has add_eos=False;"
        " inputs and targets must end in the end of sequence, which prediction"
        " adds"
      )
