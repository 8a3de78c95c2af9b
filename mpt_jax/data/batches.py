"""Makes the arrays of a batch from tokenised examples, on the host in NumPy.

Each example has P prompt positions before its tokens. Plain rows hold one
example, packed rows hold several with different segment ids; the network
treats both alike. This batch packs two examples, of slots 1 and 0, into one row
of 10 encoder positions, with P = 2:

  inputs [7, 8, 1] and [9, 1]; targets [5, 1] and [6, 1]

  encoder_input_tokens     0 0 7 8 1 0 0 9 1 0
  encoder_prompt_positions 1 2 0 0 0 1 2 0 0 0
  encoder_slot_ids         1 1 1 1 1 0 0 0 0 0
  encoder_segment_ids      1 1 1 1 1 2 2 2 2 0
  decoder_input_tokens     0 5 0 6
  decoder_target_tokens    5 1 6 1
  decoder_loss_weights     1 1 1 1
  decoder_segment_ids      1 1 2 2
  decoder_slot_ids         1 1 0 0

Nothing here imports TensorFlow or seqio, so prediction works without them.
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from mpt_jax.data import packing
from mpt_jax.data.packing import BatchLayout
from mpt_jax.io import checks

EOS_ID = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchConfig:
  """The user's settings for the lengths and packing of a batch.

  Attributes:
    inputs_length: longest input in tokens, with the end of sequence but without
      the prompt. Longer inputs are cut and counted, and keep their end token.
      None leaves the choice to the `Experiment`.
    targets_length: longest target in tokens, with the end of sequence; or None.
    pack: put several examples into a row.
    row_length: encoder positions of a packed row, prompts included;
      inputs_length + prompt_length by default.
    target_row_length: decoder positions of a packed row; by default room for
      twice as many of the longest targets as there are longest inputs in a row.
    row_multiple: the number of rows is rounded up to a multiple of this.
    length_multiple: plain rows are as long as the longest example of the batch,
      rounded up to a multiple of this to limit the number of compiled shapes.
    num_rows: number of rows of every batch. All batches then have one shape,
      and plain rows are as long as the longest possible example. With None,
      each batch has as few and as short rows as it needs.
  """

  inputs_length: int | None = None
  targets_length: int | None = None
  pack: bool = True
  row_length: int | None = None
  target_row_length: int | None = None
  row_multiple: int = 1
  length_multiple: int = 16
  num_rows: int | None = None

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    lengths = ("inputs_length", "targets_length")
    check(checks.whole, "row_multiple", "length_multiple", low=1)
    check(
      checks.whole,
      *(*lengths, "row_length", "target_row_length", "num_rows"),
      low=1,
      optional=True,
    )
    check(checks.flag, "pack")
    if None not in (self.inputs_length, self.targets_length):
      self.layout()  # A row must hold an example.

  def layout(self, **derived) -> BatchLayout:
    """Returns the layout of batches with these settings.

    Args:
      **derived: fields of `BatchLayout` to add or to replace.

    Raises:
      ValueError: a row cannot hold one example.
    """
    return BatchLayout(**{**dataclasses.asdict(self), **derived})


def batch_config(task_feature_lengths=None, **options) -> BatchConfig:
  """Makes a `BatchConfig` from lengths as t5x and seqio name them.

  Args:
    task_feature_lengths: {"inputs": tokens, "targets": tokens}; None leaves the
      choice to the `Experiment`.
    **options: other fields of `BatchConfig`.

  Raises:
    ValueError: the features are not exactly "inputs" and "targets".
  """
  if task_feature_lengths is None:
    return BatchConfig(**options)
  name = "batch_config.task_feature_lengths"
  lengths = checks.mapping(name, task_feature_lengths, of=checks.whole, low=1)
  if set(lengths) != {"inputs", "targets"}:
    raise ValueError(
      f"{name} must be a dict with the keys 'inputs' and 'targets', got"
      f" {lengths}"
    )
  return BatchConfig(
    inputs_length=lengths["inputs"],
    targets_length=lengths["targets"],
    **options,
  )


@dataclasses.dataclass
class BatchStats:
  """Counts of a batch: examples, tokens, padding and cuts.

  Attributes:
    num_examples: examples in the batch.
    num_tokens: encoder and decoder positions that carry an example, prompt
      positions included.
    num_positions: all positions of the arrays, padding included.
    num_truncated_inputs: inputs that were cut to inputs_length.
    num_truncated_targets: targets that were cut to targets_length.
  """

  num_examples: int = 0
  num_tokens: int = 0
  num_positions: int = 0
  num_truncated_inputs: int = 0
  num_truncated_targets: int = 0

  def __add__(self, other):
    return BatchStats(
      *(
        getattr(self, f.name) + getattr(other, f.name)
        for f in dataclasses.fields(self)
      )
    )

  @property
  def padding_fraction(self) -> float:
    return 1.0 - self.num_tokens / max(1, self.num_positions)


def truncate(ids, length):
  """Returns ids cut to `length`, with their end token, and 1 if it cut."""
  if len(ids) <= length:
    return ids, 0
  kept = np.array(ids[:length])
  if ids[-1] == EOS_ID:
    kept[-1] = EOS_ID
  return kept, 1


def _checked_targets(example, index):
  """Returns the example's targets as a list of candidates, none empty."""
  targets = example["targets"]
  candidates = targets if isinstance(targets, list | tuple) else [targets]
  for candidate in candidates:
    if not np.any(np.asarray(candidate) != EOS_ID):
      name = f", {example['name']!r}" if "name" in example else ""
      raise ValueError(
        f"the targets of example {index} of the batch (slot_id"
        f" {example.get('slot_id', 0)}{name}) have no token but the end of"
        " sequence: an empty label or summary, or text that the vocabulary"
        " drops"
      )
  return candidates


class _Item(NamedTuple):
  """A checked and cut example: the ids of its input and its candidates."""

  inputs: np.ndarray
  targets: list[np.ndarray]
  slot_id: int


def _read_example(index, example, layout, stats) -> _Item:
  """Checks an example, cuts it to the layout's lengths and counts the cuts."""
  slot_id = int(example.get("slot_id", 0))
  if not 0 <= slot_id < layout.num_slots:
    raise ValueError(
      f"slot_id of example {index} must be in [0,"
      f" num_slots={layout.num_slots}), got {slot_id}"
    )
  inputs, cut = truncate(example["inputs"], layout.inputs_length)
  stats.num_truncated_inputs += cut
  targets = []
  for candidate in _checked_targets(example, index):
    candidate, cut = truncate(candidate, layout.targets_length)
    stats.num_truncated_targets += cut
    targets.append(np.asarray(candidate))
  size = sum(map(len, targets))
  if layout.pack and not layout.long_rows:
    target_length = layout.packed_lengths[1]
    if size > target_length:
      raise ValueError(
        f"the {len(targets)} candidates of example {index} have {size} tokens,"
        f" more than target_row_length={target_length}"
      )
  return _Item(np.asarray(inputs), targets, slot_id)


def make_batch(examples, layout: BatchLayout, num_rows: int | None = None):
  """Builds the arrays of a batch.

  Args:
    examples: list of {"inputs": ids, "targets": ids, "slot_id": int}. The ids
      are 1-D ints and end in the end-of-sequence token. `targets` may be a list
      of ids: candidates, which are all scored for the same input. `slot_id`
      defaults to 0. Errors show the optional "name", the name of the task.
    layout: lengths and packing.
    num_rows: number of rows, which overrides `layout.num_rows`. If both are
      None, the batch has as few rows as it needs, rounded up to
      `layout.row_multiple`.

  Returns:
    (batch, stats). The batch maps names to arrays [B, L] (encoder_*) and [B, T]
    (decoder_*). They are int32, except for the float32 `decoder_loss_weights`.
    The module's docstring shows them. With candidates there are two more:
    `decoder_cross_segment_ids` is the segment of the example, because each
    candidate has its own `decoder_segment_ids`. `decoder_candidate_ids` numbers
    the candidates of the whole batch from 1, in order; it is 0 at padding.

  Raises:
    ValueError: a slot id is outside the bank, a target has no tokens, the
      candidates of an example do not fit into a row, or `num_rows` is too
      small.
  """
  stats = BatchStats(num_examples=len(examples))
  items = [
    _read_example(index, example, layout, stats)
    for index, example in enumerate(examples)
  ]
  sizes = [
    (layout.prompt_length + len(item.inputs), sum(map(len, item.targets)))
    for item in items
  ]
  rows = packing.assign_rows(sizes, layout)
  num_rows = packing.count_rows(rows, layout, num_rows)
  stats.num_tokens = sum(map(sum, sizes))
  stats.num_positions = num_rows * (rows.length + rows.target_length)

  encoder = _encoder_arrays(items, rows, num_rows, layout.prompt_length)
  decoder = _decoder_arrays(items, rows, num_rows)
  if not any(isinstance(x["targets"], list | tuple) for x in examples):
    del decoder["cross_segment_ids"], decoder["candidate_ids"]
  if not layout.prompt_length:
    del encoder["prompt_positions"]
  batch = {f"encoder_{k}": v for k, v in encoder.items()}
  batch |= {f"decoder_{k}": v for k, v in decoder.items()}
  present = batch["decoder_segment_ids"] > 0
  batch["decoder_loss_weights"] = present.astype(np.float32)
  return batch, stats


def _encoder_arrays(items, rows: packing.Rows, num_rows, prompt_length):
  """Makes the encoder's arrays, int32 [B, L], named without the prefix."""
  arrays = {
    name: np.zeros((num_rows, rows.length), np.int32)
    for name in ("input_tokens", "prompt_positions", "slot_ids", "segment_ids")
  }
  for r, row in enumerate(rows.examples):
    start = 0
    for segment, i in enumerate(row, start=1):
      after_prompt = start + prompt_length
      end = after_prompt + len(items[i].inputs)
      positions = np.arange(1, prompt_length + 1)
      arrays["prompt_positions"][r, start:after_prompt] = positions
      arrays["input_tokens"][r, after_prompt:end] = items[i].inputs
      arrays["segment_ids"][r, start:end] = segment
      arrays["slot_ids"][r, start:end] = items[i].slot_id
      start = end
  return arrays


def _decoder_arrays(items, rows: packing.Rows, num_rows):
  """Makes the decoder's arrays, int32 [B, T], named without the prefix."""
  arrays = {
    name: np.zeros((num_rows, rows.target_length), np.int32)
    for name in (
      "input_tokens",
      "target_tokens",
      "segment_ids",
      "slot_ids",
      "cross_segment_ids",
      "candidate_ids",
    )
  }
  first_candidate = np.cumsum([1] + [len(item.targets) for item in items])
  for r, row in enumerate(rows.examples):
    start = target_segment = 0
    for segment, i in enumerate(row, start=1):
      for candidate, target in enumerate(items[i].targets, first_candidate[i]):
        target_segment += 1
        end = start + len(target)
        arrays["target_tokens"][r, start:end] = target
        arrays["input_tokens"][r, start + 1 : end] = target[:-1]
        arrays["segment_ids"][r, start:end] = target_segment
        arrays["cross_segment_ids"][r, start:end] = segment
        arrays["candidate_ids"][r, start:end] = candidate
        arrays["slot_ids"][r, start:end] = items[i].slot_id
        start = end
  return arrays
