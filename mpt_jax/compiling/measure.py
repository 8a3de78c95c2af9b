"""Compiles programs and measures what one device needs for each of them."""

import collections
import dataclasses
import re
import time

import jax

from mpt_jax.compiling import counts
from mpt_jax.compiling.chips import Chip
from mpt_jax.compiling.program_text import ProgramText, one_layer
from mpt_jax.compiling.stages import Program

# Arguments of a step that train, or that the optimizer keeps.
_STATE = "prompts and optimizer"
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
  """What a program needs, each for one device.

  Attributes:
    name: the program.
    shape: its batch in words.
    arguments: {what: bytes} of its arguments.
    largest_arguments: the largest of them, as they are split.
    arguments_bytes: bytes of all arguments, as the compiler lays them out.
    temporary_bytes: bytes that it needs besides arguments and results; None if
      the compiler gave up before it knew.
    output_bytes: bytes of its results that take no argument's place.
    code_bytes: bytes of the program itself.
    flops: floating-point operations.
    bytes_accessed: bytes to and from memory.
    collectives: what it exchanges with other devices.
    largest: the largest arrays that it writes.
    compile_seconds: seconds that the compiler took.
    error: why the compiler gave up, or None.
  """

  name: str
  shape: str
  arguments: dict[str, int]
  largest_arguments: list[counts.Largest]
  arguments_bytes: int
  temporary_bytes: int | None = None
  output_bytes: int = 0
  code_bytes: int = 0
  flops: float | None = None
  bytes_accessed: float | None = None
  collectives: list[counts.Collective] = dataclasses.field(default_factory=list)
  largest: list[counts.Largest] = dataclasses.field(default_factory=list)
  compile_seconds: float = 0.0
  error: str | None = None

  @property
  def total_bytes(self) -> int:
    """Bytes that are in use while it runs, as far as they are known.

    Arguments that a program does not read are in memory all the same.
    """
    return (
      max(self.arguments_bytes, sum(self.arguments.values()))
      + (self.temporary_bytes or 0)
      + self.output_bytes
      + self.code_bytes
    )

  def fits(self, chip: Chip | None) -> bool:
    """Returns whether the program fits into a chip's memory.

    The TPU's compiler decides for a TPU, whose runtime takes a part of the
    memory; for other chips the published size counts.
    """
    if self.error is not None:
      return False
    return (
      chip is None or chip.memory is None or self.total_bytes <= chip.memory
    )

  def times(self, chip: Chip) -> dict[str, float]:
    """Returns {what: seconds} that a chip takes at its published rates.

    "arithmetic" is flops over the peak, "memory" is bytes over the bandwidth,
    and "exchange" is what all collectives send over the chip's links. A step
    takes at least the longest of them, if all else runs beside it.
    """
    sent = sum(collective.sent for collective in self.collectives)
    return {
      "arithmetic": (self.flops or 0) / chip.flops,
      "memory": (self.bytes_accessed or 0) / chip.bandwidth,
      "exchange": sent / chip.link,
    }


def measure(program: Program) -> Measured:
  """Lowers and compiles a program for its devices; runs nothing."""
  arguments, largest = _arguments(program)
  known = dict(
    name=program.name,
    shape=program.shape,
    arguments=arguments,
    largest_arguments=largest,
  )
  total = sum(arguments.values())
  lowered = program.lower()
  start = time.monotonic()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return Measured(
      **known,
      arguments_bytes=total,
      temporary_bytes=_exceeding(str(error), total),
      compile_seconds=time.monotonic() - start,
      error=" ".join(str(error).split())[:300],
    )
  seconds = time.monotonic() - start
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  text = ProgramText(compiled.as_text(), program.rounds)
  flops, moved = counts.in_loops(
    text, cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
  )
  return Measured(
    **known,
    arguments_bytes=memory.argument_size_in_bytes,
    temporary_bytes=memory.temp_size_in_bytes,
    output_bytes=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    code_bytes=memory.generated_code_size_in_bytes,
    flops=flops,
    bytes_accessed=moved,
    collectives=counts.collectives(text),
    largest=counts.largest(text),
    compile_seconds=seconds,
  )


def _exceeding(message: str, arguments: int) -> int | None:
  """Returns the bytes besides the arguments that an error of the compiler says.

  The TPU's compiler speaks of temporaries, but its number is that of arguments,
  results and temporaries together.
  """
  found = re.search(r"temporaries \(([\d.]+)([KMGT])\)", message)
  if found is None:
    return None
  return max(0, int(float(found[1]) * _UNITS[found[2]]) - arguments)


def _arguments(program: Program):
  """Returns {what: bytes} and the largest arguments, on one device."""
  sums, each = {}, collections.Counter()
  for what, tree in program.arguments.items():
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
      num_bytes = device_bytes(x)
      group = _group(what, jax.tree_util.keystr(path))
      sums[group] = sums.get(group, 0) + num_bytes
      name = jax.tree_util.keystr(path, simple=True, separator="/") or what
      shape = f"{x.dtype}[{','.join(map(str, _local_shape(x)))}]"
      each[one_layer(name), shape, num_bytes] += 1
  made = [counts.Largest(*key, count) for key, count in each.items()]
  return sums, sorted(made, key=lambda x: -x.num_bytes)[:5]


def argument_bytes(program: Program) -> int:
  """Returns the bytes of a program's arguments on one device."""
  return sum(_arguments(program)[0].values())


def _group(what: str, path: str) -> str:
  """Returns what an argument is, in the words of the report."""
  if what == "state":
    return _STATE
  if "teacher_prompt" in path or "prompts" in path:
    return "teachers" if "teacher_prompt" in path else "prompts"
  return "batch" if what in ("rows", "key") else what


def _local_shape(x) -> tuple[int, ...]:
  return x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)


def device_bytes(x) -> int:
  """Returns the bytes of an array's part on one device.

  Keys of random numbers, whose dtype has no size, count as two uint32.
  """
  if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    return 8
  size = x.dtype.itemsize
  for n in _local_shape(x):
    size *= n
  return size
