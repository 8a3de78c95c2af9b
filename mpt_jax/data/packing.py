"""Assigns the examples of a batch to rows, and chooses the rows' length."""

import dataclasses
import math

# The approximate number of positions of a long row. A step computes one row at
# a time, which bounds its memory. For a batch of 48,000 positions of T5-Base,
# XLA's temporaries took 1.3 GB, against 3.2 GB for the whole batch at once, in
# equal time.
LONG_ROW = 3072


def round_up(n: int, multiple: int) -> int:
  """Returns the smallest multiple of `multiple` that is at least n.

  >>> [round_up(n, 8) for n in (0, 1, 8, 9)]
  [0, 8, 8, 16]
  """
  return -(-n // multiple) * multiple


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchLayout:
  """The shape of the rows of a batch.

  The first eight fields are the user's settings, from `batches.BatchConfig`.
  The other fields follow from the bank, the devices and the plan.

  Attributes:
    inputs_length: longest input in tokens, without the prompt.
    targets_length: longest target in tokens.
    pack: put several examples into a row.
    row_length: encoder positions of a packed row, prompts included;
      inputs_length + prompt_length by default.
    target_row_length: decoder positions of a packed row; by default room for
      twice as many of the longest targets as there are longest inputs in a row.
    row_multiple: the number of rows is rounded up to a multiple of this.
    length_multiple: the length of plain rows is rounded up to a multiple of
      this.
    num_rows: number of rows of every batch; None means as few as needed.
    prompt_length: P, prompt positions before each example; 0 for none.
    num_slots: N, the number of prompts in the bank. Slot ids must be below N.
    usual_rows: number of rows of every batch that does not need more, if
      `num_rows` is None. Almost all batches of a run then have one shape.
    long_rows: pack into rows of about `LONG_ROW` positions that are about
      equally full. Row lengths are rounded up in steps of an eighth of a power
      of two, so there is hardly any padding. This suits a plan that attends
      example by example (`cpu.strategy.BySegments`).

  Raises:
    ValueError: a row cannot hold one example.
  """

  inputs_length: int
  targets_length: int
  pack: bool = True
  row_length: int | None = None
  target_row_length: int | None = None
  row_multiple: int = 1
  length_multiple: int = 16
  num_rows: int | None = None
  prompt_length: int = 0
  num_slots: int = 1
  usual_rows: int | None = None
  long_rows: bool = False

  def __post_init__(self):
    longest = self.inputs_length + self.prompt_length
    if self.row_length is not None and self.row_length < longest:
      raise ValueError(
        f"BatchConfig.row_length={self.row_length} does not hold one example of"
        f" prompt_length + inputs_length = {longest} positions"
      )
    length = self.target_row_length
    if length is not None and length < self.targets_length:
      raise ValueError(
        f"BatchConfig.target_row_length={length} does not hold one target of"
        f" targets_length={self.targets_length}"
      )

  @property
  def packed_lengths(self) -> tuple[int, int]:
    """Returns (L, T) of a packed row."""
    longest = self.inputs_length + self.prompt_length
    length = self.row_length or longest
    target_length = self.target_row_length
    if target_length is None:
      target_length = (
        self.targets_length * round_up(2 * length, longest) // longest
      )
    return length, target_length


@dataclasses.dataclass(frozen=True)
class Rows:
  """The assignment of examples to rows.

  Attributes:
    examples: the indices of the examples of each row, in their order.
    length: L, encoder positions of a row.
    target_length: T, decoder positions of a row.
  """

  examples: list[list[int]]
  length: int
  target_length: int


def assign_rows(sizes, layout: BatchLayout) -> Rows:
  """Puts examples into rows.

  Args:
    sizes: [n, 2], the encoder and decoder positions of each example.
    layout: the shape of rows. A packed row must be able to hold each example.
  """
  if not layout.pack:
    return _plain_rows(sizes, layout)
  if layout.long_rows:
    return _long_rows(sizes)
  length, target_length = layout.packed_lengths
  return Rows(_first_fit(sizes, (length, target_length)), length, target_length)


def count_rows(rows: Rows, layout: BatchLayout, num_rows: int | None) -> int:
  """Returns B, the number of rows of a batch, with and without examples.

  Args:
    rows: the rows with examples.
    layout: its `num_rows` applies if the argument is None.
    num_rows: number of rows, or None.

  Raises:
    ValueError: the examples need more than `num_rows` rows.
  """
  needed = len(rows.examples)
  num_rows = num_rows or layout.num_rows
  if num_rows is None:
    usual = layout.usual_rows or 1
    if 1 < usual < needed:
      # A larger batch is rare, and its shape should be, too.
      usual = max(1, usual // 4)
    multiple = math.lcm(usual, layout.row_multiple)
    return round_up(max(1, needed), multiple)
  if needed > num_rows:
    raise ValueError(
      f"{sum(map(len, rows.examples))} examples need {needed} rows of"
      f" {rows.length} positions, but BatchConfig.num_rows={num_rows}; raise it"
      " or BatchConfig.row_length"
    )
  return num_rows


def settle(layout: BatchLayout, num_rows: int) -> BatchLayout:
  """Returns the layout of a run whose batches have one shape.

  They get a fifth more rows than the first batch has, so hardly any needs more.

  Args:
    layout: the layout of the first batch. If its rows are plain or their number
      is fixed, it is returned as it is.
    num_rows: the rows of the first batch.

  >>> layout = BatchLayout(inputs_length=8, targets_length=2, row_multiple=4)
  >>> settle(layout, 12).usual_rows
  16
  """
  if not layout.pack or layout.num_rows is not None:
    return layout
  usual = round_up(-(-num_rows * 6 // 5), layout.row_multiple)
  return dataclasses.replace(layout, usual_rows=usual)


def _plain_rows(sizes, layout):
  """Puts one example into each row."""
  if layout.num_rows is None:
    longest = [max(s, default=1) for s in zip(*sizes, strict=True)] or [1, 1]
  else:
    # All batches have one shape.
    longest = [
      layout.prompt_length + layout.inputs_length,
      layout.targets_length,
    ]
  multiple = layout.length_multiple
  return Rows(
    [[i] for i in range(len(sizes))],
    round_up(longest[0], multiple),
    round_up(longest[1], max(1, multiple // 2)),
  )


def _long_rows(sizes):
  longest = max((size[0] for size in sizes), default=1)
  rows = _even_rows([size[0] for size in sizes], max(LONG_ROW, longest))
  # A batch without examples has one row of one position.
  length, target_length = (
    max(1, *(sum(sizes[i][k] for i in row) for row in rows)) for k in range(2)
  )
  # Each shape is compiled. There are eight lengths between two powers of two,
  # and fewer below 1024.
  step = max(128, (1 << (length.bit_length() - 1)) // 8)
  return Rows(rows, round_up(length, step), round_up(target_length, 32))


def _longest_first(lengths):
  """Returns indices by falling length; equal lengths keep their order."""
  return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def _first_fit(sizes, capacity):
  """Puts each example, the longest first, into the first row with room for it.

  Args:
    sizes: [n, 2] encoder and decoder positions of each example.
    capacity: the two limits of a row.

  Returns:
    The indices of the examples of each row.
  """
  rows, free = [], []
  for i in _longest_first([size[0] for size in sizes]):
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
  """Distributes lengths over ceil(sum / limit) rows, about equally full.

  Each length, the longest first, goes into the emptiest row. A row may exceed
  the limit a little.

  >>> _even_rows([5, 9, 6, 4], 13)
  [[1, 3], [2, 0]]
  """
  count = max(1, -(-sum(lengths) // limit))
  rows, filled = [[] for _ in range(count)], [0] * count
  for i in _longest_first(lengths):
    emptiest = filled.index(min(filled))
    rows[emptiest].append(i)
    filled[emptiest] += lengths[i]
  return rows
