"""Divides examples into batches of few shapes, within a bound on memory.

A batch has one example in each row. Rows of similar length share a batch. There
are few shapes, because each of them is compiled. Everything here runs on the
host.

Axis letters: B rows, L row_length, T target_length, D emb_dim, V vocab_size,
H num_heads, K head_dim.
"""

import collections
import dataclasses

import numpy as np

from mpt_jax.model.plan import DENSE, Dense

MAX_ROW_LENGTHS = 10
# Most positions of a joined row of the encoder, unless one example is longer.
JOINED_ROW = 8192
# Most positions of a decoder row with several candidates. A shorter row takes
# less time, because the attention computes the whole row although a candidate
# only attends to itself. If the candidates of an example do not fit, they are
# scored in several calls.
LONG_TARGETS = 128
# Most bytes for the activations of one call on one device. If the parameters
# take more than this, the activations may take as much as they do.
MAX_BYTES = 2**30
# The cost of compiling another shape, in positions times parameters. It amounts
# to some seconds on a CPU.
COMPILING = 1e11


@dataclasses.dataclass(frozen=True)
class Batch:
  """The examples of a batch and its shape.

  Attributes:
    members: indices of the examples of the first rows, one for each row.
    num_rows: B, including rows of padding.
    row_length: L, encoder positions of a row, prompt included.
    joined: (rows, positions) of the encoder's arrays after `join_rows`, which
      removes the padding between examples; None if the encoder gets plain rows.
    plan: how the network attends in this batch.
  """

  members: list[int]
  num_rows: int
  row_length: int
  joined: tuple[int, int] | None = None
  plan: Dense = DENSE


@dataclasses.dataclass(frozen=True)
class Memory:
  """The bound on memory: computes how many rows fit into a call.

  It counts the memory that grows with the number of rows. The estimates are
  upper bounds for attention over whole rows.

  Attributes:
    config: the `T5Config`.
    max_bytes: bytes for the activations of one call on one device.
  """

  config: object
  max_bytes: int = MAX_BYTES

  def ranking_rows(self, row_length: int, target_length: int) -> int:
    """Returns how many rows of L and T positions can be ranked at once."""
    c = self.config
    keys_values = 2 * c.num_heads * c.head_dim * self._width
    scores = 8 * c.num_heads * (row_length + target_length)
    # The logits, and as much again for the log-probabilities.
    decoder = target_length * (8 * c.vocab_size + scores + self._layer)
    return self._rows(row_length, decoder + 2 * row_length * keys_values)

  def generating_rows(
    self, row_length: int, target_length: int, num_beams: int = 1
  ) -> int:
    """Returns how many rows of L positions can generate T tokens at once."""
    c = self.config
    keys_values = 2 * c.num_heads * c.head_dim * self._width
    # A loop may hold its state twice.
    cache = (
      c.num_decoder_layers * keys_values * (row_length + 2 * target_length)
    )
    logits = 16 * c.vocab_size
    return self._rows(row_length, num_beams * (cache + logits))

  @property
  def _width(self):
    """Bytes of one number."""
    return 2 if self.config.dtype == "bfloat16" else 4

  @property
  def _layer(self):
    """Bytes of one position within a layer."""
    c = self.config
    features = 6 * c.emb_dim + 2 * c.mlp_dim + 4 * c.num_heads * c.head_dim
    return features * self._width

  def _rows(self, row_length, decoder):
    # Packed rows are twice as long; see `packed_batches`.
    attention = 16 * self.config.num_heads * row_length
    encoder = row_length * (self._layer + attention)
    states = row_length * self.config.emb_dim * self._width
    return max(1, int(self.max_bytes // (states + max(encoder, decoder))))


def plain_batches(
  sizes, row_lengths, fitting, worth=0.0, row_multiple=1
) -> list[Batch]:
  """Makes batches of plain rows of similar length.

  Args:
    sizes: encoder positions of each example, prompt included.
    row_lengths: the allowed lengths of rows, see `row_lengths`.
    fitting: function from a row length to the largest number of rows.
    worth: see `choose_lengths`.
    row_multiple: B is a multiple of this.

  Returns:
    Batches that together hold each example once, the longest first. They depend
    only on the arguments, so equal calls give equal results.
  """
  rest, batches = _longest_first(sizes), []
  lengths = choose_lengths(sizes, row_lengths, worth)
  while rest:
    row_length = min(n for n in lengths if n >= sizes[rest[0]])
    most = fitting(row_length)
    # Balance the rows of batches: a small last one would take as much time.
    count = -(-len(rest) // -(-len(rest) // most))
    num_rows = min(most, next_count(count))
    num_rows = -(-num_rows // row_multiple) * row_multiple
    batches.append(Batch(rest[:count], num_rows, row_length))
    rest = rest[count:]
  return batches


def packed_batches(sizes, row_lengths, fitting) -> list[Batch]:
  """Makes batches of one shape whose short examples are packed for the encoder.

  Each batch mixes short and long examples. They fill rows of twice the longest
  length well.

  Args:
    sizes, row_lengths, fitting: see `plain_batches`.
  """
  order = _longest_first(sizes)
  (row_length,) = choose_lengths(sizes, row_lengths, np.inf)
  count = -(-len(order) // fitting(row_length))
  parts = [order[k::count] for k in range(count)]
  width = 2 * row_length
  most = max(_first_fit([sizes[i] for i in part], width)[0] for part in parts)
  num_rows = min(fitting(row_length), next_count(len(parts[0])))
  joined = (next_size(most), width)
  return [Batch(part, num_rows, row_length, joined) for part in parts]


def joined_batches(
  sizes, row_lengths, fitting, worth=0.0, plan=DENSE
) -> list[Batch]:
  """Makes batches of similar length; the encoder gets each batch as one row.

  Args:
    sizes, row_lengths, fitting, worth: see `plain_batches`.
    plan: how the network attends within such rows.
  """
  rest, parts = _longest_first(sizes), []
  lengths = choose_lengths(sizes, row_lengths, worth)
  total, longest = sum(sizes), sizes[rest[0]]
  most = max(JOINED_ROW, longest)
  count = max(-(-total // most), -(-len(sizes) // fitting(max(lengths))))
  # At the end of a batch, up to one example may not fit.
  needed = total if count == 1 else total // count + longest
  positions = min(most, next_size(needed))
  num_rows = collections.Counter()
  while rest:
    row_length = min(n for n in lengths if n >= sizes[rest[0]])
    ends = np.cumsum([sizes[i] for i in rest[: fitting(row_length)]])
    count = int(np.searchsorted(ends, positions, "right"))
    parts.append((rest[:count], row_length))
    # All batches of one row length have one shape.
    rows = min(fitting(row_length), next_size(count))
    num_rows[row_length] = max(num_rows[row_length], rows)
    rest = rest[count:]
  return [
    Batch(part, num_rows[length], length, (1, positions), plan)
    for part, length in parts
  ]


def join_rows(batch, shape):
  """Joins the encoder's plain rows into longer rows without padding between.

  Args:
    batch: encoder_* arrays [B, L] of `batches.make_batch` with pack=False.
    shape: (rows, positions) of the new arrays. Each example goes into the first
      row that has room for it.

  Returns:
    The encoder_* arrays of that shape, in which row b is segment b + 1, and
    places [B, L] int32, the index of each position in the flattened arrays. The
    places of padding are arbitrary valid indices.

  Raises:
    ValueError: the examples do not fit.
  """
  present = batch["encoder_segment_ids"] > 0
  lengths = present.sum(axis=1)
  needed, starts = _first_fit(lengths, shape[1])
  if needed > shape[0]:
    raise ValueError(
      f"the examples need {needed} rows of {shape[1]} positions, got {shape[0]}"
    )
  positions = np.arange(present.shape[1])
  places = np.where(present, np.array(starts)[:, None] + positions, 0)
  numbers = np.arange(1, len(present) + 1, dtype=np.int32)[:, None]
  batch = {**batch, "encoder_segment_ids": np.where(present, numbers, 0)}
  joined = {}
  for name, array in batch.items():
    joined[name] = np.zeros(shape, array.dtype)
    joined[name].reshape(-1)[places[present]] = array[present]
  return joined, places.astype(np.int32)


def _longest_first(sizes):
  return sorted(range(len(sizes)), key=lambda i: -sizes[i])


def _first_fit(lengths, width):
  """Puts lengths into rows; returns the number of rows and each one's start.

  >>> _first_fit([6, 5, 4, 3], 10)
  (2, [0, 10, 6, 15])
  """
  used, starts = [], []
  for length in lengths:
    fits = (row for row, n in enumerate(used) if n + length <= width)
    row = next(fits, len(used))
    if row == len(used):
      used.append(0)
    starts.append(row * width + used[row])
    used[row] += int(length)
  return len(used), starts


def choose_lengths(sizes, row_lengths, worth=0.0) -> list[int]:
  """Chooses the row lengths that a call uses.

  Args:
    sizes: the positions of each example.
    row_lengths: the lengths to choose from.
    worth: positions of padding that each length must save, apart from the
      longest.

  >>> choose_lengths([30, 12, 11, 10], [32, 24, 16, 12], worth=16)
  [12, 32]
  >>> choose_lengths([30, 12, 11, 10], [32, 24, 16, 12], worth=100)
  [32]
  """
  needed = collections.Counter(
    min(n for n in row_lengths if n >= size) for size in sizes
  )

  def padded(lengths):
    return sum(
      count * min(n for n in lengths if n >= need)
      for need, count in needed.items()
    )

  chosen = {max(needed)}
  while len(chosen) < len(needed):
    best = min(set(needed) - chosen, key=lambda n: (padded(chosen | {n}), n))
    if padded(chosen) - padded(chosen | {best}) < worth:
      break
    chosen.add(best)
  return sorted(chosen)


def cut_candidates(candidates, target_length: int) -> list[list]:
  """Divides an example's candidates into parts of at most T tokens, in order.

  >>> cut_candidates(["ab", "cd", "efg"], 5)
  [['ab', 'cd'], ['efg']]
  """
  parts, used = [], target_length
  for candidate in candidates:
    if used + len(candidate) > target_length:
      parts.append([])
      used = 0
    parts[-1].append(candidate)
    used += len(candidate)
  return parts


def target_length(candidates) -> int:
  """Returns the decoder positions of a row for candidates, or a part of them.

  There are few different lengths, so tasks with similar labels share batches.

  >>> target_length([[5, 1], [6, 1], [7, 8, 1]])
  8
  """
  total = next_count(max(4, sum(map(len, candidates))))
  if total <= LONG_TARGETS:
    return total
  return max(LONG_TARGETS, next_count(max(map(len, candidates))))


def row_lengths(prompt_length: int, inputs_length: int) -> list[int]:
  """Returns the allowed lengths of rows, each at least 1.2 times the next.

  Args:
    prompt_length: P.
    inputs_length: longest input in tokens.

  Returns:
    At most MAX_ROW_LENGTHS lengths, prompt included, the longest first. All but
    the longest are multiples of 8.

  >>> row_lengths(100, 512)
  [612, 504, 408, 336, 272, 224, 184, 144, 112]
  """
  longest = prompt_length + inputs_length
  shortest = prompt_length + 8
  ratio = max(1.2, (longest / shortest) ** (1 / (MAX_ROW_LENGTHS - 1)))
  lengths = [longest]
  while len(lengths) < MAX_ROW_LENGTHS:
    length = int(lengths[-1] / ratio) // 8 * 8
    if length <= prompt_length:
      break
    lengths.append(length)
  return lengths


def next_size(n: int) -> int:
  """Rounds n up to one of four sizes per power of two, or to 512s.

  >>> [next_size(n) for n in (1, 4, 9, 100, 5546, 8192)]
  [1, 4, 10, 112, 5632, 8192]
  """
  step = min(512, max(1, (1 << (n.bit_length() - 1)) // 4))
  return -(-n // step) * step


def next_count(n: int) -> int:
  """Rounds n up to a power of two, or to three quarters of one.

  >>> [next_count(n) for n in (1, 2, 3, 4, 5, 7, 13, 33, 64)]
  [1, 2, 3, 4, 6, 8, 16, 48, 64]
  """
  power = 1 << (n - 1).bit_length()
  return power * 3 // 4 if n <= power * 3 // 4 else power
