"""The seqio tasks of a bank's slots, from the names of tasks and mixtures."""

import math
from collections.abc import Sequence

import seqio
import tensorflow as tf

from mpt_jax.data import shots, text_tasks
from mpt_jax.io.errors import calling
from mpt_jax.text import vocabularies


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
        f" {', '.join(task.output_features)}; a T5 with prompts needs inputs"
        " and targets"
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


def task_rates(
  mixture_or_task_name: str | Sequence[str],
) -> tuple[str | tuple[str, float], ...]:
  """Returns the tasks in a task, a mixture, or several of them.

  Args:
    mixture_or_task_name: a name in seqio's registries, or a sequence of them.

  Returns:
    The tasks without duplicates, in the order of the names and within a mixture
    in its own: names, or (name, rate) pairs if the rates of a mixture differ.

  Raises:
    TypeError: there is no name.
    ValueError: no task or mixture has this name, a mixture with different rates
      stands beside other names, or a rate is no positive number.
  """
  if not mixture_or_task_name:
    raise TypeError(
      "MIXTURE_OR_TASK_NAME must be the name of a task or mixture, or several,"
      f" got {mixture_or_task_name!r}"
    )
  if isinstance(mixture_or_task_name, str):
    mixture_or_task_name = (mixture_or_task_name,)
  found = {}
  for name in mixture_or_task_name:
    if name not in seqio.MixtureRegistry.names():
      found[text_tasks.get_task(name).name] = 1.0
      continue
    mixture = seqio.MixtureRegistry.get(name)
    with calling(f"the rates of the mixture {name!r}"):
      rates = {t.name: mixture.get_rate(t) for t in _in_order(mixture)}
    for task, rate in rates.items():
      if not 0 < rate < math.inf:
        raise ValueError(
          f"the mixture {name!r} has the rate {rate:g} for {task!r}; rates must"
          " be positive numbers"
        )
    if len(set(rates.values())) > 1:
      if len(mixture_or_task_name) == 1:
        return tuple(rates.items())
      shown = ", ".join(f"{task} {rate:g}" for task, rate in rates.items())
      raise ValueError(
        f"the mixture {name!r} has rates ({shown}), so it cannot stand beside"
        f" other names ({', '.join(mixture_or_task_name)}); register one"
        " mixture of them all, or name the tasks"
      )
    found |= dict.fromkeys(rates, 1.0)
  return tuple(found)


def _in_order(mixture: seqio.Mixture) -> list[seqio.Task]:
  """Returns a mixture's tasks in its own order; `Mixture.tasks` sorts them."""
  tasks = {task.name: task for task in mixture.tasks}
  found = []
  for name in mixture.rate_per_task_name:
    if name in tasks:
      found.append(tasks[name])
    else:
      found += _in_order(seqio.MixtureRegistry.get(name))
  return list({task.name: task for task in found}.values())


def task_names(mixture_or_task_name: str | Sequence[str]) -> tuple[str, ...]:
  """Returns the names of the tasks of `task_rates`.

  Raises:
    ValueError: see `task_rates`; or the tasks of a mixture have different
      rates.
  """
  found = task_rates(mixture_or_task_name)
  if not all(isinstance(name, str) for name in found):
    shown = ", ".join(f"{task} {rate:g}" for task, rate in found)
    raise ValueError(
      f"the mixture {mixture_or_task_name!r} has rates ({shown}), which"
      " task_names cannot return; use task_rates, whose result make_slots takes"
    )
  return found
