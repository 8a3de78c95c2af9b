"""Reads the text of a compiled program: its instructions and its loops."""

import collections
import dataclasses
import functools
import math
import re
from typing import NamedTuple

# Bytes of one element.
WIDTHS = {
  "pred": 1,
  **dict.fromkeys(("s4", "u4", "f4e2m1fn"), 0.5),
  **dict.fromkeys(("s8", "u8", "f8e4m3fn", "f8e5m2", "f8e4m3"), 1),
  **dict.fromkeys(("s16", "u16", "f16", "bf16"), 2),
  **dict.fromkeys(("s32", "u32", "f32"), 4),
  **dict.fromkeys(("s64", "u64", "f64", "c64"), 8),
  "c128": 16,
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_LINE = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*)")
_CALLED = re.compile(
  r"(calls|body|condition|to_apply|branch_computations)="
  r"(\{[^}]*\}|%?[\w.\-]+)"
)


class Array(NamedTuple):
  """An array of a program: its type, its shape and whether it is in HBM."""

  dtype: str
  shape: tuple[int, ...]
  in_memory: bool

  @property
  def num_bytes(self) -> int:
    return int(math.prod(self.shape) * WIDTHS.get(self.dtype, 0))

  def __str__(self):
    return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of a program.

  Attributes:
    name: its name within its computation.
    opcode: "dot", "fusion", "all-reduce-start" and others.
    arrays: what it returns.
    operands: the names of its operands.
    text: the rest of the line.
    is_root: whether its computation returns it.
  """

  name: str
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  text: str
  is_root: bool

  def attribute(self, name: str) -> str | None:
    """Returns the value of `name={...}` or `name=word`, without the braces."""
    found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|([^,\s]+))", self.text)
    return found and (found[1] if found[1] is not None else found[2])

  @property
  def op_name(self) -> str:
    """The name of the operation in the model's code, or ""."""
    found = re.search(r'op_name="([^"]*)"', self.text)
    return found[1] if found else ""

  @property
  def num_bytes(self) -> int:
    return sum(array.num_bytes for array in self.arrays)


def _arrays(text: str) -> tuple[Array, ...]:
  found = []
  for dtype, shape, layout in _ARRAY.findall(text):
    if dtype in WIDTHS:
      sizes = tuple(int(n) for n in shape.split(",") if n)
      # S(1) and above are memories on the chip.
      space = re.search(r"S\((\d+)\)", layout)
      found.append(Array(dtype, sizes, space is None or space[1] == "0"))
  return tuple(found)


def _closing(text: str, start: int) -> int:
  """Returns the index of the bracket that closes the one at `start`."""
  depth = 0
  for i in range(start, len(text)):
    depth += (text[i] == "(") - (text[i] == ")")
    if not depth:
      return i
  return len(text) - 1


def _instruction(line: str) -> Instruction | None:
  match = _LINE.match(line)
  if match is None:
    return None
  name, rest = match.groups()
  end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
  shape, rest = rest[:end], rest[end:].lstrip()
  opens = rest.find("(")
  closes = _closing(rest, opens)
  operands = re.findall(r"%([\w.\-]+)", rest[opens : closes + 1])
  if not operands:
    # Constants and parameters hold a value or a number in their brackets.
    operands = [rest[opens + 1 : closes]]
  return Instruction(
    name,
    rest[:opens],
    _arrays(shape),
    tuple(operands),
    rest[closes + 1 :],
    line.lstrip().startswith("ROOT"),
  )


class ProgramText:
  """A compiled program.

  Args:
    text: `jax.stages.Compiled.as_text()`.
    rounds: the rounds of a loop that the text does not tell.
  """

  def __init__(self, text: str, rounds: int = 1):
    self._rounds = rounds
    self.computations: dict[str, dict[str, Instruction]] = {}
    self.entry = None
    current = None
    for line in text.splitlines():
      if line.endswith("{") and " = " not in line.partition("(")[0]:
        words = line.split()
        if words[0] == "HloModule":
          continue
        name = words[1] if words[0] == "ENTRY" else words[0]
        name = name.lstrip("%")
        current = self.computations[name] = {}
        if words[0] == "ENTRY":
          self.entry = name
      elif line.startswith("}"):
        current = None
      elif current is not None:
        made = _instruction(line)
        if made is not None:
          current[made.name] = made

  @functools.cached_property
  def counts(self) -> dict[str, int]:
    """How often each computation runs in one call of the program."""
    counts = collections.Counter()
    self._count(self.entry, 1, counts)
    return dict(counts)

  def _count(self, name, times, counts):
    counts[name] += times
    for instruction in self.computations[name].values():
      for kind, called in self.called(instruction):
        rounds = 1
        if kind in ("body", "condition"):
          rounds = self.rounds(name, instruction)
        self._count(called, times * rounds, counts)

  def called(self, instruction) -> list[tuple[str, str]]:
    """Returns (attribute, computation) of what an instruction calls."""
    return [
      (kind, name)
      for kind, names in _CALLED.findall(instruction.text)
      for name in re.findall(r"[\w.\-]+", names)
      if name in self.computations
    ]

  def rounds(self, name: str, loop: Instruction) -> int:
    """Returns how often the body of a `while` runs.

    Args:
      name: the computation that holds the loop.
      loop: the loop.
    """
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.text)
    if known:
      return int(known[1])
    condition = self.computations[loop.attribute("condition").lstrip("%")]
    limits = {
      value
      for instruction in condition.values()
      if instruction.opcode in ("compare", "fusion")
      for operand in instruction.operands
      if (value := self._limit(condition[operand], name, loop)) is not None
    }
    # The counter begins at 0 and is compared with one number.
    limits.discard(0)
    return limits.pop() if len(limits) == 1 else self._rounds

  def _limit(self, found, name, loop) -> int | None:
    """Returns the constant that an instruction of a condition stands for."""
    if found.opcode == "get-tuple-element":
      start = self.computations[name].get(loop.operands[0])
      while start is not None and start.opcode in (
        "copy",
        "optimization-barrier",
      ):
        start = self.computations[name].get(start.operands[0])
      if start is None or start.opcode != "tuple":
        return None
      element = start.operands[int(found.attribute("index"))]
      found = self.computations[name].get(element)
      while found is not None and found.opcode in ("copy", "bitcast"):
        found = self.computations[name].get(found.operands[0])
    if found is None or found.opcode != "constant":
      return None
    value = found.operands[0]
    return int(value) if re.fullmatch(r"-?\d+", value) else None

  @functools.cached_property
  def fused(self) -> set[str]:
    """Returns the computations that run within one instruction."""
    return {
      called
      for computation in self.computations.values()
      for instruction in computation.values()
      for kind, called in self.called(instruction)
      if kind in ("calls", "to_apply") and instruction.opcode != "call"
    }


def short_name(op_name: str) -> str:
  """Returns the end of an operation's name that tells where it belongs.

  Layers have one name, because they have equal arrays.

  >>> short_name("jit(train_step)/transpose(jvp(T5))/encoder/layers_3/mlp/dot")
  'encoder/layers_*/mlp/dot'
  >>> short_name("jit(f)/while/body/closed_call/dot_general")
  'dot_general'
  """
  drop = ("while", "body", "closed_call", "checkpoint", "remat", "cond")
  parts = [p for p in op_name.split("/") if "(" not in p and p not in drop]
  return one_layer("/".join(parts[-4:]))


def one_layer(name: str) -> str:
  """Returns a name that all layers of a stack share.

  >>> one_layer("encoder/layers_11/mlp/wi/kernel")
  'encoder/layers_*/mlp/wi/kernel'
  """
  return re.sub(r"layers_\d+", "layers_*", name)
