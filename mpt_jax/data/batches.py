"""From tokenised examples to the arrays of a batch, on the host, in NumPy.

Every example brings its prompt with it as P positions before its tokens, so
plain rows (one example each) and packed rows (several, told apart by segment
ids) are the same thing to the network. A worked batch: two examples of tasks 1
and 0, P = 2, packed into one row of 10 encoder positions,

  inputs [7, 8, 1] and [9, 1], targets [5, 1] and [6, 1]

  encoder_input_tokens     0 0 7 8 1 0 0 9 1 0
  encoder_prompt_positions 1 2 0 0 0 1 2 0 0 0
  encoder_task_ids         1 1 1 1 1 0 0 0 0 0
  encoder_segment_ids      1 1 1 1 1 2 2 2 2 0
  decoder_input_tokens     0 5 0 6
  decoder_target_tokens    5 1 6 1
  decoder_loss_weights     1 1 1 1
  decoder_segment_ids      1 1 2 2
  decoder_task_ids         1 1 0 0

Nothing here imports TensorFlow or seqio, so prediction works without them.
"""

import dataclasses

import numpy as np

EOS_ID = 1
# How long rows may be. A step takes one row at a time, which bounds its memory:
# XLA's temporaries were 1.3 GB where a batch of 48,000 positions of T5-Base, all
# of it at once, took 3.2, in the same time.
LONG_ROW = 3072


@dataclasses.dataclass(frozen=True)
class BatchConfig:
  """Lengths and packing of a batch.

  Attributes:
    inputs_length: longest input in tokens, end of sequence included, prompt
      prompts not. Longer ones are cut (and counted), keeping the end token.
    targets_length: longest target in tokens, end of sequence included.
    prompt_length: P prompt positions before each example, 0 for none.
    num_tasks: N, prompts in the bank; task ids are checked against it.
    pack: put several examples into a row.
    long_rows: pack into rows of about 3072 positions, equally full and as long
      as the examples need, in steps of an eighth of that. Hardly any padding,
      for a plan that attends example by example (`model.plan.Dense.rows`).
    row_length: encoder positions of a packed row, prompts included;
      inputs_length + prompt_length by default.
    target_row_length: decoder positions of a packed row; by default room for
      twice as many of the longest targets as there are longest inputs in a row.
    row_multiple: the number of rows is rounded up to a multiple of this, which
      must itself be a multiple of the devices that share a batch.
    length_multiple: plain rows are as long as the batch's longest, rounded up
      to a multiple of this, so that few shapes are compiled.
    num_rows: rows of every batch, which then all have one shape: plain rows
      are as long as the longest that there may be. None: as few and as short
      as a batch needs.
  """

  inputs_length: int
  targets_length: int
  prompt_length: int = 0
  num_tasks: int = 1
  pack: bool = True
  long_rows: bool = False
  row_length: int | None = None
  target_row_length: int | None = None
  row_multiple: int = 1
  length_multiple: int = 16
  num_rows: int | None = None

  def __post_init__(self):
    longest = self.inputs_length + self.prompt_length
    if self.row_length is not None and self.row_length < longest:
      raise ValueError(
        f"row_length={self.row_length} does not hold one example of"
        f" prompt_length + inputs_length = {longest} positions"
      )
    target_row_length = self.target_row_length
    if target_row_length is not None and (
      target_row_length < self.targets_length
    ):
      raise ValueError(
        f"target_row_length={target_row_length} does not hold one target of"
        f" targets_length={self.targets_length}"
      )

  @property
  def packed_lengths(self) -> tuple[int, int]:
    """(L, T) of a packed row."""
    longest = self.inputs_length + self.prompt_length
    length = self.row_length or longest
    target_length = self.target_row_length
    if target_length is None:
      target_length = (
        self.targets_length * _round_up(2 * length, longest) // (longest)
      )
    return length, target_length


def batch_config(task_feature_lengths, **options) -> BatchConfig:
  """A `BatchConfig` from lengths as t5x and seqio name them.

  Args:
    task_feature_lengths: {"inputs": tokens, "targets": tokens}.
    **options: other fields of `BatchConfig`.

  Raises:
    ValueError: another set of features.
  """
  if set(task_feature_lengths) != {"inputs", "targets"}:
    raise ValueError(
      "task_feature_lengths must be a dict with the keys 'inputs' and"
      f" 'targets', got {dict(task_feature_lengths)}"
    )
  return BatchConfig(
    task_feature_lengths["inputs"], task_feature_lengths["targets"], **options
  )


@dataclasses.dataclass
class BatchStats:
  """What became of the examples: counted, never silent.

  Attributes:
    num_examples: examples in the batch.
    num_tokens: encoder and decoder positions that carry an example, prompt
      prompts included.
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


def _truncate(ids, length):
  """Cuts to `length` and keeps a final end-of-sequence token."""
  if len(ids) <= length:
    return ids, 0
  kept = np.array(ids[:length])
  if ids[-1] == EOS_ID:
    kept[-1] = EOS_ID
  return kept, 1


def _checked_targets(example, index):
  """The example's targets as a list of candidates, none of them empty."""
  targets = example["targets"]
  candidates = targets if isinstance(targets, list | tuple) else [targets]
  for candidate in candidates:
    if not np.any(np.asarray(candidate) != EOS_ID):
      name = f", {example['name']!r}" if "name" in example else ""
      raise ValueError(
        f"the targets of example {index} of the batch (task_id"
        f" {example.get('task_id', 0)}{name}) have no token but the end of sequence:"
        " an empty label or summary, or text that the vocabulary drops"
      )
  return candidates


def _round_up(n, multiple):
  return -(-n // multiple) * multiple


def _first_fit(sizes, capacity):
  """Rows of indices, the longest example first, each into the first row.

  Args:
    sizes: [n, 2] encoder and decoder positions of each example.
    capacity: the two limits of a row.

  Returns:
    A list of lists of indices.
  """
  rows, free = [], []
  for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], i)):
    for row, space in zip(rows, free, strict=True):  # noqa: B007  Used below.
      if sizes[i][0] <= space[0] and sizes[i][1] <= space[1]:
        break
    else:
      row, space = [], list(capacity)
      rows.append(row)
      free.append(space)
    row.append(i)
    space[0] -= sizes[i][0]
    space[1] -= sizes[i][1]
  return rows


def _even_rows(lengths, limit):
  """As few rows as hold the lengths at `limit` each, about equally full.

  The longest first, each into the emptiest row, which may so pass the limit a
  little.

  >>> _even_rows([5, 9, 6, 4], 13)
  [[1, 3], [2, 0]]
  """
  count = max(1, -(-sum(lengths) // limit))
  rows, filled = [[] for _ in range(count)], [0] * count
  for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
    emptiest = filled.index(min(filled))
    rows[emptiest].append(i)
    filled[emptiest] += lengths[i]
  return rows


def make_batch(examples, config: BatchConfig, num_rows: int | None = None):
  """Builds the arrays of a batch.

  Args:
    examples: list of {"inputs": ids, "targets": ids, "task_id": int}, ids
      being 1-D ints that end in the end-of-sequence token. `targets` may be a
      list of such ids: candidates, each scored for the same input.
      `task_id` is 0 where it is missing; "name" is the task's, for errors.
    config: lengths and packing.
    num_rows: number of rows, instead of `config.num_rows`; where neither is
      given as few as are needed, rounded up to `config.row_multiple`.

  Returns:
    (batch, stats). The batch maps names to arrays of [B, L] (encoder_*) and
    [B, T] (decoder_*), int32 but for the float32 `decoder_loss_weights`:
    those of the module's worked example and, where there are candidates,
    `decoder_cross_segment_ids` (the example's segment, while
    decoder_segment_ids tells candidates apart) and `decoder_candidate_ids` (1
    + the candidate's number, counted over the examples in order; 0 at
    padding).

  Raises:
    ValueError: a task id outside the bank, targets without tokens, or more
      rows than `num_rows`.
  """
  c = config
  stats = BatchStats(num_examples=len(examples))
  items = []
  any_candidates = False
  for index, example in enumerate(examples):
    task_id = int(example.get("task_id", 0))
    if not 0 <= task_id < c.num_tasks:
      raise ValueError(
        f"task_id of example {index} must be in [0, num_tasks={c.num_tasks}),"
        f" got {task_id}"
      )
    any_candidates |= isinstance(example["targets"], list | tuple)
    inputs, cut = _truncate(example["inputs"], c.inputs_length)
    stats.num_truncated_inputs += cut
    targets = []
    for candidate in _checked_targets(example, index):
      candidate, cut = _truncate(candidate, c.targets_length)
      stats.num_truncated_targets += cut
      targets.append(np.asarray(candidate))
    items.append((np.asarray(inputs), targets, task_id))

  sizes = [
    (c.prompt_length + len(inputs), sum(map(len, targets)))
    for inputs, targets, _ in items
  ]
  if c.pack and c.long_rows:
    longest = max((size[0] for size in sizes), default=1)
    rows = _even_rows([size[0] for size in sizes], max(LONG_ROW, longest))
    # A batch of no examples has positions too.
    length, target_length = (
      max(1, *(sum(sizes[i][k] for i in row) for row in rows)) for k in range(2)
    )
    # Each shape is compiled: eight of them from one power of two to the next,
    # fewer of rows below 1024.
    length = _round_up(length, max(128, (1 << (length.bit_length() - 1)) // 8))
    target_length = _round_up(target_length, 32)
  elif c.pack:
    length, target_length = c.packed_lengths
    for index, (_, size) in enumerate(sizes):
      if size > target_length:
        raise ValueError(
          f"the {len(items[index][1])} candidates of example {index} have"
          f" {size} tokens, more than target_row_length={target_length}"
        )
    rows = _first_fit(sizes, (length, target_length))
  else:
    longest = [max(s, default=1) for s in zip(*sizes, strict=True)] or [1, 1]
    if c.num_rows is not None:
      longest = [c.prompt_length + c.inputs_length, c.targets_length]
    length = _round_up(longest[0], c.length_multiple)
    target_length = _round_up(longest[1], max(1, c.length_multiple // 2))
    rows = [[i] for i in range(len(items))]
  num_rows = num_rows or c.num_rows
  if num_rows is None:
    num_rows = _round_up(max(1, len(rows)), c.row_multiple)
  elif len(rows) > num_rows:
    raise ValueError(
      f"{len(items)} examples need {len(rows)} rows of {length} positions, but"
      f" num_rows={num_rows}; raise it or row_length"
    )

  encoder = {
    name: np.zeros((num_rows, length), np.int32)
    for name in ("input_tokens", "prompt_positions", "task_ids", "segment_ids")
  }
  decoder = {
    name: np.zeros((num_rows, target_length), np.int32)
    for name in (
      "input_tokens",
      "target_tokens",
      "segment_ids",
      "task_ids",
      "cross_segment_ids",
      "candidate_ids",
    )
  }
  first_candidate = np.cumsum([0] + [len(t) for _, t, _ in items])
  for r, row in enumerate(rows):
    start = target_start = 0
    target_segment = 0
    for segment, i in enumerate(row, start=1):
      inputs, targets, task_id = items[i]
      end = start + c.prompt_length + len(inputs)
      encoder["prompt_positions"][r, start : start + c.prompt_length] = (
        np.arange(1, c.prompt_length + 1)
      )
      encoder["input_tokens"][r, start + c.prompt_length : end] = inputs
      encoder["segment_ids"][r, start:end] = segment
      encoder["task_ids"][r, start:end] = task_id
      start = end
      for j, target in enumerate(targets):
        target_segment += 1
        span = slice(target_start, target_start + len(target))
        decoder["target_tokens"][r, span] = target
        decoder["input_tokens"][r, target_start + 1 : span.stop] = target[:-1]
        decoder["segment_ids"][r, span] = target_segment
        decoder["cross_segment_ids"][r, span] = segment
        decoder["candidate_ids"][r, span] = 1 + first_candidate[i] + j
        decoder["task_ids"][r, span] = task_id
        target_start = span.stop
    stats.num_tokens += start + target_start
  stats.num_positions = num_rows * (length + target_length)
  if not any_candidates:
    del decoder["cross_segment_ids"], decoder["candidate_ids"]
  if not c.prompt_length:
    del encoder["prompt_positions"]
  batch = {f"encoder_{k}": v for k, v in encoder.items()}
  batch |= {f"decoder_{k}": v for k, v in decoder.items()}
  batch["decoder_loss_weights"] = (batch["decoder_segment_ids"] > 0).astype(
    np.float32
  )
  return batch, stats
