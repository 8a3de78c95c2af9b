"""The shapes that the engine gives to examples, on the host.

Each depends on the example and the settings alone, or changes no bit of an
answer: the number of joined positions, and the number of rows that the encoder
gets.

Axis letters: L length, T target_length, P prompt_length.
"""

import dataclasses
import functools

import jax

from mpt_jax.inference.engine import memory as memories
from mpt_jax.model import choice
from mpt_jax.model.cpu import segment_attention
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.plan import DENSE, Dense

# XLA rounds in another order on a CPU if a product has fewer rows than this, or
# a sum over an axis has fewer elements in all. Above, the bits of a row do not
# depend on the number of rows; `tests/inference/engine` checks it.
FEWEST_ROWS = 64
FEWEST_ELEMENTS = 4096
# Decoder positions of a row with candidates; see `target_length`.
TARGET_LENGTHS = (8, 32, memories.LONG_TARGETS)
# Rows on each device for which candidates are scored at once, on a CPU.
SCORE_ROWS = 16
# Rows on each device that the encoder gets, unless they are joined.
ENCODE_ROWS = (8, 32)
# Joined positions of the encoder, if a caller asks for few shapes.
FEW_POSITIONS = (512, 1024, 2048, 4096)


def target_length(candidates) -> int:
  """Returns T for candidates, or for a part of them.

  >>> target_length([[5, 1], [6, 1], [7, 8, 1]])
  8
  >>> target_length([[5, 1]] * 100)
  128
  """
  total = sum(map(len, candidates))
  fitting = [n for n in TARGET_LENGTHS if n >= total]
  longest = memories.next_count(max(map(len, candidates)))
  return fitting[0] if fitting else max(TARGET_LENGTHS[-1], longest)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
  """The shapes of one engine.

  Attributes:
    prompt_length: P.
    inputs_length: longest input in tokens.
    targets_length: longest output in tokens.
    batch_size: most rows of a table of decoding.
    num_beams: beams of decoding.
    devices: devices that the rows are divided over.
    joined: whether the encoder gets examples without padding between them.
    memory: the bound on memory.
    on_cpu: whether the devices are CPUs, which gain nothing by more rows.
  """

  prompt_length: int
  inputs_length: int
  targets_length: int
  batch_size: int
  num_beams: int
  devices: int
  joined: bool
  memory: memories.Memory
  on_cpu: bool = True

  @classmethod
  def of_engine(cls, config, params, mesh, *, joins: bool, **sizes) -> "Shapes":
    """Returns the shapes of an engine.

    Args:
      config: the `T5Config`.
      params: the T5's parameters, or their shapes.
      mesh: the devices.
      joins: whether long rows are joined for the encoder.
      **sizes: the attributes from `prompt_length` to `num_beams`.
    """
    leaves = jax.tree.leaves(params)
    taken = sum(x.size * x.dtype.itemsize for x in leaves)
    taken //= mesh.shape["model"]
    longest = sizes["prompt_length"] + sizes["inputs_length"]
    return cls(
      **sizes,
      devices=mesh.shape["data"],
      joined=joins and longest > choice.SHORT_ROW,
      memory=memories.Memory(config, max(memories.MAX_BYTES, taken)),
      on_cpu=mesh.devices.flat[0].platform == "cpu",
    )

  @functools.cached_property
  def plan(self) -> Dense:
    """How the network attends: by segments if rows are joined."""
    if not self.joined:
      return DENSE
    # Every example has at least its prompt and the end of sequence.
    shortest = self.prompt_length + 1
    return BySegments(self.prompt_length + self.inputs_length, shortest)

  @functools.cached_property
  def _squares(self):
    """Sizes of the squares of attention, see `segment_attention`."""
    longest = self.prompt_length + self.inputs_length
    return segment_attention.square_sizes(
      longest, longest + 8, self.prompt_length + 1
    )

  @functools.cached_property
  def lengths(self) -> tuple[int, ...]:
    """The allowed lengths L of rows, at most four, the shortest first."""
    longest = self.prompt_length + self.inputs_length
    return tuple(dict.fromkeys(min(longest, n) for n in self._squares))

  def size(self, example) -> int:
    """Encoder positions of an example, prompt included."""
    return self.prompt_length + min(len(example.inputs), self.inputs_length)

  def most_prompts(self, shape) -> int:
    """The most prompts that (rows, positions) of the encoder hold."""
    rows, length = shape
    return length // (self.prompt_length + 1) if self.joined else rows

  def row_length(self, size: int) -> int:
    """Returns L for an example with so many positions, prompt included."""
    return next(n for n in self.lengths if n >= size)

  def num_rows(self, length: int) -> int:
    """Rows of a table of decoding for rows of this length."""
    fitting = self.memory.generating_rows(
      length, self.targets_length, self.num_beams
    )
    return self._within(self.batch_size, fitting)

  def score_rows(self, length: int, targets: int) -> int:
    """Rows for which candidates of T positions are scored at once."""
    wanted = self.devices * SCORE_ROWS
    if not self.on_cpu:
      wanted = max(wanted, self.batch_size)
    return self._within(wanted, self.memory.ranking_rows(length, targets))

  @property
  def admit_rows(self) -> int:
    """Rows that enter a table of decoding at once."""
    return self.devices * SCORE_ROWS

  def _within(self, wanted, fitting):
    """Rows as wanted, as far as they fit, a multiple of the devices."""
    devices = self.devices
    return -(-min(wanted, devices * fitting) // devices) * devices

  @functools.cached_property
  def _fewest_positions(self):
    """The fewest positions on a device that the encoder may get."""
    width = self.memory.config.emb_dim
    return max(FEWEST_ROWS, -(-FEWEST_ELEMENTS // width))

  def take_batch(self, sizes, few: bool = False):
    """Chooses the first examples that the encoder may get at once.

    Args:
      sizes: positions of the waiting examples, in the order of service.
      few: use few shapes, for a server.

    Returns:
      (indices of the chosen examples, the shape (rows, positions)).
    """
    if not self.joined:
      return self._take_plain(sizes)
    most = FEW_POSITIONS[-1] if few else memories.JOINED_ROW
    most = max(most, self._squares[-1])
    chosen, start, needed = [], 0, self._fewest_positions
    for i, size in enumerate(sizes):
      # The window of an example must not be moved at the end of the row.
      end = start + next(n for n in self._squares if n >= size)
      if end <= most:
        chosen.append(i)
        start, needed = start + size, max(needed, end)
    shapes = [n for n in FEW_POSITIONS if n >= needed] if few else []
    return chosen, (1, shapes[0] if shapes else memories.next_size(needed))

  @property
  def _encode_rows(self):
    """The numbers of rows that the encoder gets, unless they are joined."""
    rows = [self.devices * n for n in ENCODE_ROWS]
    return rows if self.on_cpu else [*rows, max(rows[-1], self.batch_size)]

  def _take_plain(self, sizes):
    length = self.row_length(sizes[0])
    chosen = [i for i, n in enumerate(sizes) if self.row_length(n) == length]
    fitting = self.memory.ranking_rows(length, 1)
    fewest = -(-self._fewest_positions // length)
    heads = self.memory.config.num_heads
    fewest = max(fewest, -(-FEWEST_ELEMENTS // (heads * length**2)))
    counts = sorted(
      {
        self._within(max(n, self.devices * fewest), fitting)
        for n in self._encode_rows
      }
    )
    chosen = chosen[: counts[-1]]
    return chosen, (next(n for n in counts if n >= len(chosen)), length)
