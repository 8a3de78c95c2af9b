"""What `mpt compile` prints and writes."""

import contextlib

import rich.console
import rich.progress
import rich.table
from rich.text import Text

from mpt_jax.compiling.advice import Tried
from mpt_jax.compiling.chips import Chip
from mpt_jax.compiling.measure import Measured
from mpt_jax.compiling.topologies import Topology


def amount(n: float | None, unit: str = "B") -> str:
  """Returns a number with a prefix: bytes in powers of 1024, others of 1000.

  >>> amount(1536), amount(2.97e12, "flop")
  ('1.50 KiB', '2.97 Tflop')
  """
  if n is None:
    return "not known"
  base, tail = (1024, "i") if unit == "B" else (1000, "")
  for prefix in ("", "K", "M", "G", "T", "P"):
    if n < base or prefix == "P":
      break
    n /= base
  prefix = prefix + tail if prefix else ""
  return f"{n:.3g} {unit}" if not prefix else f"{n:.2f} {prefix}{unit}"


def seconds(s: float) -> str:
  """Returns a time in the unit that suits it.

  >>> seconds(0.0459), seconds(12.3)
  ('45.9 ms', '12.3 s')
  """
  return f"{s:.1f} s" if s >= 1 else f"{1000 * s:.3g} ms"


@contextlib.contextmanager
def working(text: str, console: rich.console.Console):
  """Says what is being done: a line in a pipe, a clock in a terminal."""
  if not console.is_terminal:
    console.print(Text(f"{text} ..."))
    yield
    return
  column = rich.table.Column(overflow="ellipsis", no_wrap=True)
  with rich.progress.Progress(
    rich.progress.SpinnerColumn(),
    rich.progress.TextColumn(
      "{task.description}", markup=False, table_column=column
    ),
    rich.progress.TimeElapsedColumn(),
    console=console,
    transient=True,
  ) as progress:
    progress.add_task(text, total=None)
    yield


def as_json(
  topology: Topology,
  num_model_partitions: int,
  stage: str,
  found: list[Measured],
  tried: list[Tried],
) -> dict:
  """Returns everything as JSON values; all numbers are of one device.

  `arguments_bytes` and `temporary_bytes` are those of the program that needs
  most in all; the other numbers are sums over the stage's programs.
  """
  chip = topology.chip
  most = max(found, key=lambda one: one.total_bytes)
  times = _sums(chip, found)
  return {
    "topology": topology.name,
    "device_kind": topology.devices[0].device_kind,
    "num_devices": len(topology.devices),
    "num_hosts": topology.num_hosts,
    "num_model_partitions": num_model_partitions,
    "stage": stage,
    "fits": fits(topology, found),
    "memory_bytes": chip and chip.memory,
    "arguments_bytes": most.arguments_bytes,
    "temporary_bytes": most.temporary_bytes,
    "total_bytes": most.total_bytes,
    "flops": _sum(one.flops for one in found),
    "bytes_accessed": _sum(one.bytes_accessed for one in found),
    "collectives": [
      {**c._asdict(), "sent_bytes": c.sent}
      for one in found
      for c in one.collectives
    ],
    "compile_seconds": sum(one.compile_seconds for one in found),
    "estimate_seconds": times and max(times.values()),
    "bound_by": times and max(times, key=times.get),
    "times_seconds": times,
    "programs": [_program_json(one, chip) for one in found],
    "tried": [one._asdict() for one in tried],
  }


def _program_json(one: Measured, chip):
  values = {
    key: value
    for key, value in vars(one).items()
    if key not in ("collectives", "largest", "largest_arguments")
  }
  return {
    **values,
    "fits": one.fits(chip),
    "largest": [x._asdict() for x in one.largest],
    "largest_arguments": [x._asdict() for x in one.largest_arguments],
  }


def fits(topology: Topology, found: list[Measured]) -> bool:
  """Returns whether all programs fit."""
  return all(one.fits(topology.chip) for one in found)


def _sum(values):
  values = list(values)
  return None if None in values else sum(values)


def _sums(chip: Chip | None, found) -> dict[str, float] | None:
  """Returns the times of all programs together, or None."""
  if chip is None or any(one.flops is None for one in found):
    return None
  each = [one.times(chip) for one in found]
  return {name: sum(one[name] for one in each) for name in each[0]}


def print_program(one: Measured, topology: Topology, console):
  """Prints what one program needs."""
  chip = topology.chip
  console.print(Text(f"\n{one.name}: {one.shape}", style="bold"))
  table = rich.table.Table(box=None, show_header=False, pad_edge=False)
  table.add_column(no_wrap=True)
  table.add_column(justify="right", no_wrap=True)
  table.add_column(overflow="fold", style="dim")
  for name, size in sorted(one.arguments.items(), key=lambda item: -item[1]):
    table.add_row(name, amount(size), "")
  table.add_row("temporaries", amount(one.temporary_bytes), "")
  if one.output_bytes + one.code_bytes >= 2**20:
    size = one.output_bytes + one.code_bytes
    table.add_row("results and program", amount(size), "")
  limit = f"of {amount(chip.memory)}" if chip and chip.memory else ""
  table.add_row("in all", amount(one.total_bytes), limit)
  if one.error is None:
    _add_work(one, chip, table)
  console.print(table)
  if one.error is not None:
    console.print(Text(f"the compiler gave up: {one.error}"))
  _print_arrays(one, console)


def _add_work(one: Measured, chip, table):
  """Adds flops, bytes, collectives and the estimate of the time."""
  table.add_row("flops", amount(one.flops, "flop"), "")
  intensity = one.flops / one.bytes_accessed if one.bytes_accessed else 0.0
  table.add_row(
    "to and from memory",
    amount(one.bytes_accessed),
    f"{intensity:.0f} flops a byte",
  )
  for kind in dict.fromkeys(c.kind for c in one.collectives):
    own = [c for c in one.collectives if c.kind == kind]
    count = sum(c.count for c in own)
    size = sum(c.num_bytes * c.count for c in own)
    biggest = max(own, key=lambda c: c.num_bytes)
    table.add_row(
      f"{count} {kind}", amount(size), f"largest {amount(biggest.num_bytes)}"
    )
  table.add_row("compiled in", seconds(one.compile_seconds), "")
  if chip is None:
    return
  times = one.times(chip)
  bound = max(times, key=times.get)
  for name, value in times.items():
    table.add_row(name, seconds(value), "")
  table.add_row(
    "estimate", f"≥ {seconds(times[bound])}", f"bound by {bound} ({chip.name})"
  )


def _print_arrays(one: Measured, console):
  """Prints the largest arguments and the largest arrays that it writes."""
  table = rich.table.Table(box=None, pad_edge=False)
  table.add_column("largest arrays", overflow="fold", ratio=1)
  table.add_column("shape", overflow="fold")
  table.add_column("size", justify="right", no_wrap=True)
  for x in (*one.largest_arguments[:3], *one.largest[:5]):
    times = f"{x.count} × " if x.count > 1 else ""
    table.add_row(Text(x.name), Text(x.shape), times + amount(x.num_bytes))
  console.print(table)


def print_verdict(topology, found, tried: list[Tried], console):
  """Prints whether the stage fits, and what was tried where it does not."""
  chip = topology.chip
  if chip is None or chip.memory is None:
    console.print("\nThe memory of these devices is not known here.")
    return
  if fits(topology, found):
    console.print(Text("\nIt fits.", style="bold"))
    return
  console.print(Text("\nIt does not fit.", style="bold"))
  for one in tried:
    how = "compiled" if one.is_compiled else "arguments alone"
    verdict = "fits" if one.fits else "does not fit"
    console.print(
      Text(f"  {' '.join(one.changes)}"),
      Text(f"    {verdict}: {amount(one.total_bytes)} ({how})"),
      sep="\n",
    )
  if tried and not tried[-1].fits:
    console.print(
      "None of these fits. Take more devices, a smaller T5 or shorter inputs."
    )
