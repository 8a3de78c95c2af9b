"""A look at some training examples of each slot, before the first step.

It finds what would otherwise train in silence: tasks without examples, token
ids that no T5 has, and inputs and targets that are cut.
"""

import itertools

import numpy as np

from mpt_jax.data import labels
from mpt_jax.data.batches import EOS_ID
from mpt_jax.data.in_memory.row_task import RowTask, read_examples
from mpt_jax.io.errors import calling

# Most examples of a slot to look at.
SAMPLE = 128
# A larger share of cut inputs or targets is a warning.
SHARE = 0.05
# A bank of many draws would repeat itself.
MOST_WARNINGS = 10


def look(tasks, names, inputs_length: int, targets_length: int) -> list[str]:
  """Checks a sample of the training split of each task.

  Args:
    tasks: the task of each slot, see `row_task.Task`, with the T5's vocabulary.
    names: the slots' names, for the messages.
    inputs_length: longest input in tokens.
    targets_length: longest target in tokens.

  Returns:
    A warning for each slot that has many cut inputs or targets; after
    `MOST_WARNINGS` of them, their number.

  Raises:
    ValueError: a task has no training examples, its examples are no token ids
      of the T5's vocabulary, all its targets are cut, or two of its labels are
      equal after cutting.
  """
  warnings = []
  # Tasks of one name have the same examples.
  first = {}
  for name, task in zip(names, tasks, strict=True):
    first.setdefault(task.name, (name, task))
  for name, task in first.values():
    where = f"slot {name!r}"
    examples = sample(task, where)
    words = getattr(task.postprocessor, "label_names", None)
    if words:
      encode = task.output_features["targets"].vocabulary.encode
      ids = [[*encode(word), EOS_ID] for word in words]
      labels.check_labels(where, words, ids, targets_length)
    for feature, length in (
      ("inputs", inputs_length),
      ("targets", targets_length),
    ):
      size = task.output_features[feature].vocabulary.vocab_size
      for example in examples:
        _check_ids(example[feature], size, f"{where}: {feature} of its task")
      share = np.mean([len(example[feature]) > length for example in examples])
      setting = (
        f"{feature}_length={length} (in gin: TASK_FEATURE_LENGTHS[{feature!r}])"
      )
      if feature == "targets" and share == 1:
        raise ValueError(
          f"{where}: all targets of {len(examples)} examples are longer than"
          f" BatchConfig.{setting}, so none would be learnt whole; raise it"
        )
      if share > SHARE:
        warnings.append(
          f"{where}: {share:.0%} of the {feature} are longer than"
          f" BatchConfig.{setting} and are cut ({len(examples)} examples seen)"
        )
  rest = len(warnings) - MOST_WARNINGS
  if rest > 0:
    warnings[MOST_WARNINGS:] = [f"and {rest} more of this kind"]
  return warnings


def sample(task, where: str) -> list[dict]:
  """Returns token ids of up to SAMPLE training examples, from everywhere.

  Args:
    task: see `row_task.Task`.
    where: the beginning of an error's message.

  Raises:
    ValueError: the task has no training examples.
  """
  if "train" not in task.splits:
    raise ValueError(
      f"{where}: its task {task.name!r} has no split 'train'; it has"
      f" {', '.join(task.splits)}"
    )
  with calling(f"{where}: its task {task.name!r}"):
    if isinstance(task, RowTask):
      examples = read_examples(task, "train", SAMPLE, spread=True)
    else:
      examples = _sample_seqio(task)
  if not examples:
    raise ValueError(
      f"{where}: the split 'train' of its task {task.name!r} is empty"
    )
  return examples


def _sample_seqio(task) -> list[dict]:
  from mpt_jax.data.text_tasks import PREPROCESSORS, ExamplesSource

  if tuple(task.preprocessors) == PREPROCESSORS and isinstance(
    task.source, ExamplesSource
  ):
    return _encode_some(task)
  ds = task.get_dataset(sequence_length=None, split="train", shuffle=False)
  names = ("inputs", "targets")
  ds = ds.map(lambda example: {name: example[name] for name in names})
  return list(itertools.islice(ds.as_numpy_iterator(), SAMPLE))


def _encode_some(task) -> list[dict]:
  """Does in Python, from texts in memory, what a dataset takes longer for."""
  texts = task.source.examples("train")
  # Rows may be sorted, so take them from everywhere.
  chosen = texts[:: -(-len(texts) // SAMPLE)]
  features = task.output_features
  return [
    {
      name: [*features[name].vocabulary.encode(text), EOS_ID]
      for name, text in zip(("inputs", "targets"), example, strict=True)
    }
    for example in chosen
  ]


def _check_ids(ids, vocab_size, what):
  """Raises ValueError if an example's feature is no list of token ids."""
  ids = np.asarray(ids)
  if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
      f"{what} must be token ids, a vector of whole numbers, got"
      f" {ids.dtype} of the shape {ids.shape}"
    )
  if len(ids) and not 0 < ids.min() <= ids.max() < vocab_size:
    raise ValueError(
      f"{what} have token ids from {ids.min()} to {ids.max()}; those of the"
      f" T5's vocabulary are 1 to {vocab_size - 1}, and 0 is padding"
    )
  if not len(ids) or ids[-1] != EOS_ID:
    raise ValueError(
      f"{what} do not end in the end of sequence ({EOS_ID}), which prediction"
      " adds; give the task seqio.preprocessors.append_eos"
    )
  if len(ids) > 1 and ids[-2] == EOS_ID:
    raise ValueError(
      f"{what} end in the end of sequence ({EOS_ID}) twice, and prediction adds"
      " one; give the task one seqio.preprocessors.append_eos"
    )
