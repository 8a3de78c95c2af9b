"""Checks of label words after tokenising; the token ids decide, not the words.

Nothing here imports TensorFlow.
"""

from collections.abc import Sequence

import numpy as np

from mpt_jax.data.batches import EOS_ID, truncate


def check_labels(
  name: str,
  labels: Sequence[str],
  ids: Sequence[Sequence[int]],
  targets_length: int | None = None,
):
  """Refuses labels that no model can tell apart.

  Args:
    name: the task or prompt, for the error.
    labels: the label words.
    ids: the token ids of each, with the end of sequence.
    targets_length: the length that targets are cut to in training; None if they
      are not cut.

  Raises:
    ValueError: a label has no tokens or occurs twice, or two labels have the
      same ids.
  """
  twice = [label for label in labels if list(labels).count(label) > 1]
  if twice:
    raise ValueError(f"{name}: the label {twice[0]!r} occurs twice")
  found, cut = {}, {}
  for label, label_ids in zip(labels, ids, strict=True):
    label_ids = tuple(int(i) for i in label_ids)
    if not set(label_ids) - {EOS_ID}:
      raise ValueError(
        f"{name}: the label {label!r} has no tokens in the T5's vocabulary;"
        " choose another word"
      )
    other = found.setdefault(label_ids, label)
    if other != label:
      raise ValueError(
        f"{name}: the labels {other!r} and {label!r} have the same token ids"
        f" {list(label_ids)} in the T5's vocabulary, so the first would always"
        " win; choose other words"
      )
    if targets_length is None:
      continue
    kept = tuple(int(i) for i in truncate(label_ids, targets_length)[0])
    other = cut.setdefault(kept, label)
    if other != label:
      raise ValueError(
        f"{name}: the labels {other!r} and {label!r} have the same token ids"
        f" when they are cut to BatchConfig.targets_length={targets_length};"
        f" raise it to {max(map(len, ids))} (in gin:"
        " TASK_FEATURE_LENGTHS['targets'])"
      )


def check_targets(name: str, labels: Sequence[str] | None, targets):
  """Refuses targets that are none of the labels.

  Predictions that are no labels have the same id, -1, so they would count as
  right.

  Args:
    name: the task, for the error.
    labels: the label words; None for no check.
    targets: what the task's postprocessor made of each target.

  Raises:
    ValueError: a target is none of the labels.
  """
  ids = [t[-1] if isinstance(t, tuple) and t else t for t in targets]
  wrong = sum(isinstance(i, int) and i == -1 for i in ids)
  if labels and wrong:
    raise ValueError(
      f"{name}: {wrong} of {len(ids)} targets are none of its labels"
      f" {', '.join(labels):.200}; the targets' texts must be these words"
    )


def per_token(scores, candidates) -> np.ndarray:
  """Returns the mean log-probability per token of each candidate.

  A longer label has a lower sum, because each token adds a negative number. The
  mean takes that away; Brown et al. (2020), section 2.4.

  Args:
    scores: [candidates] float, the sums over each candidate's tokens.
    candidates: the token ids of each, with the end of sequence, which counts.

  Returns:
    [candidates] float32.

  >>> per_token([-2.0, -2.4], [[5, 1], [5, 6, 1]]).tolist()
  [-1.0, -0.800000011920929]
  """
  lengths = [len(candidate) for candidate in candidates]
  return np.asarray(scores, np.float32) / np.asarray(lengths, np.float32)


def label_names(task) -> tuple[str, ...] | None:
  """Returns the label strings of a task's postprocessor, or None."""
  return getattr(task.postprocessor, "label_names", None)


def label_tokens(task) -> list[np.ndarray]:
  """Returns the token ids of each label of a task, with the end of sequence."""
  vocabulary = task.output_features["targets"].vocabulary
  return [
    np.array([*vocabulary.encode(name), EOS_ID], np.int32)
    for name in label_names(task)
  ]
