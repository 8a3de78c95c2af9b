"""Counts what a compiled program does: flops, bytes, collectives, arrays.

XLA's own counts take the body of a loop once, however often it runs. A stack of
layers that is scanned, or a decoder that generates, would look far too cheap.
So the bodies of loops are counted here, times their rounds.
"""

import collections as containers
import json
import math
import re
from typing import NamedTuple

from mpt_jax.compiling.program_text import (
  Array,
  Instruction,
  ProgramText,
  short_name,
)

COLLECTIVES = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
# Instructions that move nothing to or from memory.
_FREE = (
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while"),
  *("conditional", "call", "after-all", "partition-id", "iota"),
)


class Collective(NamedTuple):
  """Collectives of one kind and size in one step of one device.

  Attributes:
    kind: one of `COLLECTIVES`.
    shape: what each gives to a device.
    num_bytes: bytes of one such result.
    group: the devices that take part.
    count: how often it runs.
  """

  kind: str
  shape: str
  num_bytes: int
  group: int
  count: int

  @property
  def sent(self) -> float:
    """Bytes that a device sends for all of them, in a ring.

    A ring of n devices sends (n - 1) / n of the whole array for an all-gather,
    a reduce-scatter and an all-to-all, and twice as much for an all-reduce.
    """
    n = max(1, self.group)
    share = {
      "all-reduce": 2 * (n - 1) / n,
      # Its result is a part of what it sends.
      "reduce-scatter": n - 1,
      "collective-permute": 1,
    }.get(self.kind, (n - 1) / n)
    return share * self.num_bytes * self.count


class Largest(NamedTuple):
  """Arrays of one shape and name that a program writes to memory.

  Attributes:
    name: the operation in the model's code, or the instruction.
    shape: type and shape.
    num_bytes: bytes of one.
    count: different arrays of this kind.
  """

  name: str
  shape: str
  num_bytes: int
  count: int


def in_loops(
  program: ProgramText, flops: float, num_bytes: float
) -> tuple[float, float]:
  """Returns XLA's flops and bytes with each loop's body times its rounds.

  The flops of further rounds are those of products of matrices, two for each
  multiplication and addition. Their bytes are those that the instructions
  read and write, in the proportion of XLA's count for the whole program.

  Args:
    flops: XLA's count of flops.
    num_bytes: XLA's count of bytes to and from memory.
  """
  more, once, further = 0.0, 0.0, 0.0
  fused = program.fused
  for name, count in program.counts.items():
    for instruction in program.computations[name].values():
      if count > 1:
        more += (count - 1) * product_flops(program, name, instruction)
      if name not in fused:
        size = moved(program, name, instruction)
        once += size
        further += (count - 1) * size
  ratio = num_bytes / once if once else 1.0
  return flops + more, num_bytes + ratio * further


def product_flops(program, name: str, instruction: Instruction) -> float:
  """Returns the flops of a product of matrices or a kernel, 0 for others.

  XLA does not see into a kernel, and takes the estimate of its author.
  """
  operands = program.computations[name]
  if instruction.opcode == "dot":
    left = operands[instruction.operands[0]].arrays[0].shape
    axes = instruction.attribute("lhs_contracting_dims")
    inner = math.prod(left[int(i)] for i in axes.split(",") if i)
    return 2.0 * math.prod(instruction.arrays[0].shape) * inner
  if instruction.opcode == "convolution":
    shapes = [operands[x].arrays[0].shape for x in instruction.operands]
    return _convolution_flops(instruction, *shapes)
  return _kernel_cost(instruction).get("flops", 0.0)


def moved(program, name: str, instruction: Instruction) -> float:
  """Returns the bytes that an instruction reads and writes, about."""
  if instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
    return 0.0
  cost = _kernel_cost(instruction)
  if cost:
    return cost["bytes_accessed"]
  arrays = program.computations[name]
  read = [
    arrays[operand].num_bytes
    for operand in instruction.operands
    if operand in arrays
  ]
  written = instruction.num_bytes
  if instruction.opcode == "dynamic-slice":
    return 2.0 * written
  if instruction.opcode == "dynamic-update-slice":
    return 2.0 * read[1]
  if instruction.opcode == "fusion":
    (called,) = (c for k, c in program.called(instruction) if k == "calls")
    read, written = _sliced(program, called, read, written)
  return float(sum(read) + written)


def _sliced(program, called, read, written):
  """Corrects what a fusion reads and writes of larger arrays in slices."""
  inner = program.computations[called]
  users = containers.defaultdict(list)
  for instruction in inner.values():
    for operand in instruction.operands:
      users[operand].append(instruction)
  for parameter in inner.values():
    if parameter.opcode != "parameter":
      continue
    index = int(parameter.operands[0])
    found = users[parameter.name]
    kinds = {user.opcode for user in found}
    if index < len(read) and kinds == {"dynamic-slice"}:
      read[index] = sum(user.num_bytes for user in found)
    elif index < len(read) and kinds == {"dynamic-update-slice"}:
      part = inner[found[0].operands[1]].num_bytes
      written -= read[index] - part
      read[index] = 0
  return read, max(0, written)


def collectives(program: ProgramText) -> list[Collective]:
  """Returns the collectives, those that send most first."""
  seen, found = set(), containers.Counter()
  for name, count in program.counts.items():
    for instruction in program.computations[name].values():
      kind = instruction.opcode.removesuffix("-start")
      if kind not in COLLECTIVES:
        continue
      # An asynchronous one occurs in several places, with one channel.
      channel = instruction.attribute("channel_id") or instruction.name
      if channel in seen:
        continue
      seen.add(channel)
      array = _result(instruction)
      shape = str(max(array, key=lambda x: x.num_bytes))
      if len(array) > 1:
        shape += f" and {len(array) - 1} more"
      num_bytes = sum(x.num_bytes for x in array)
      found[kind, shape, num_bytes, _group(instruction)] += count
  made = [Collective(*key, count) for key, count in found.items()]
  return sorted(made, key=lambda c: -c.sent)


def largest(program: ProgramText, most: int = 8) -> list[Largest]:
  """Returns the largest arrays that the program writes to memory."""
  found = containers.Counter()
  fused = program.fused
  for name in program.counts:
    if name in fused:
      continue
    for instruction in program.computations[name].values():
      if instruction.opcode in _FREE:
        continue
      for array in _result(instruction):
        if array.in_memory:
          where = short_name(instruction.op_name) or instruction.opcode
          found[where, str(array), array.num_bytes] += 1
  made = [Largest(*key, count) for key, count in found.items()]
  return sorted(made, key=lambda x: -x.num_bytes)[:most]


def _result(instruction) -> tuple[Array, ...]:
  """Returns what an instruction gives; a start also returns its operands."""
  arrays = instruction.arrays
  if instruction.opcode.endswith("-start") and len(arrays) > 1:
    return arrays[len(instruction.operands) :][:1] or arrays[-1:]
  return arrays


def _kernel_cost(instruction) -> dict[str, float]:
  """Returns the "flops" and "bytes_accessed" that a kernel's author gave."""
  found = re.search(r'"cost_estimate":(\{[^}]*\})', instruction.text)
  if instruction.opcode != "custom-call" or found is None:
    return {}
  cost = json.loads(found[1])
  names = ("flops", "bytes_accessed")
  return {name: float(cost.get(name, 0)) for name in names}


def _group(instruction) -> int:
  """Returns how many devices take part in a collective."""
  meshed = re.search(
    r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", instruction.text
  )
  if meshed:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", meshed[1]))
    axes = re.findall(r"'(\w+)'", meshed[2])
    return math.prod(int(sizes[axis]) for axis in axes)
  listed = re.search(r"replica_groups=\{\{([\d,]*)\}", instruction.text)
  if listed:
    return len(listed[1].split(","))
  counted = re.search(r"replica_groups=\[(\d+),(\d+)\]", instruction.text)
  return int(counted[2]) if counted else 1


def _convolution_flops(instruction, left, right) -> float:
  """Returns the flops of a convolution, which is a product on a TPU.

  Args:
    instruction: the convolution.
    left: the shape of its input.
    right: the shape of its kernel.
  """
  names = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.text)
  inputs, kernel, output = names.groups()
  shape = instruction.arrays[0].shape
  total = 2.0 * shape[output.index("b")] * shape[output.index("f")]
  total *= right[kernel.index("i")]
  window = dict(re.findall(r"(\w+)=([\dx_\-]+)", _window(instruction.text)))
  digits = sorted(set(output) - {"b", "f"})
  for axis, label in enumerate(digits):
    total *= _positions(
      window,
      axis,
      left[inputs.index(label)],
      right[kernel.index(label)],
      shape[output.index(label)],
    )
  groups = instruction.attribute("batch_group_count")
  return total / int(groups or 1)


def _window(text: str) -> str:
  found = re.search(r"window=\{([^}]*)\}", text)
  return found[1] if found else ""


def _positions(window, axis, size, kernel_size, output_size) -> int:
  """Counts the pairs of positions that meet along an axis of a window."""

  def value(name, default):
    return window[name].split("x")[axis] if name in window else default

  stride, left, right = (
    int(value(name, 1)) for name in ("stride", "lhs_dilate", "rhs_dilate")
  )
  low = int(str(value("pad", "0_0")).split("_")[0])
  last = (size - 1) * left
  return sum(
    0 <= (at := o * stride + k * right - low) <= last and at % left == 0
    for o in range(output_size)
    for k in range(kernel_size)
  )
