"""Measures mpt_jax against PEFT and against itself; see benchmarks/README.md.

Prints a table, then one line `ratio ROW MEDIAN` for each row. Above 1 we are
better.
"""

import argparse
import json
import os
import sys
from importlib import metadata

# Set this before JAX starts: both sides share one device.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One GPU for both sides.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")

import jax
from banks import sweep_row, teachers_row
from bench import Bench
from inference import predict_row, predict_sorted_row, rank_row
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from steps import padded_row, step_row
from whole import first_step_row, memory_row, pipeline_row, probe
from workload import PROMPT_LENGTH, SOURCES

SMALL, BASE = "t5_small", "t5_base"
# Each row's function, and its T5s without --model. If there are several T5s,
# the ratio of a row is that of the last one.
ROWS = {
  "teach": (step_row, (SMALL, BASE)),
  "distill": (step_row, (SMALL, BASE)),
  "adapt": (step_row, (SMALL, BASE)),
  "predict": (predict_row, (SMALL,)),
  "predict_sorted": (predict_sorted_row, (SMALL,)),
  "rank": (rank_row, (SMALL,)),
  "padded": (padded_row, (SMALL,)),
  "teachers_bank": (teachers_row, (SMALL,)),
  "sweep_bank": (sweep_row, (SMALL,)),
  "pipeline": (pipeline_row, (SMALL,)),
  "first_step": (first_step_row, (BASE,)),
  "memory": (memory_row, (BASE,)),
}


# The rows whose batches draw K of the sources.
DRAW_TASKS = {
  *("distill", "padded", "predict", "predict_sorted", "rank"),
  *("pipeline", "first_step", "memory"),
}


def parse(argv):
  names = [source.name for source in SOURCES]
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--quick", action="store_true", help="a few minutes: T5-Small, less work")
  add("--only", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
  add("--seed", type=int, default=0, help="of the workload and the weights")
  add("--model", nargs="+", help="t5_small, t5_base, ...; by default the row's")
  add("--batch_size", type=int, help="examples of a step")
  add("--dtype", choices=("float32", "bfloat16"), help="of activations")
  add("--pairs", type=int, default=5, help="paired runs; quote at least 5")
  add("--steps", type=int, help="steps of one run of a pair")
  add("--sources", nargs="+", default=names, choices=names, metavar="TASK")
  add("--row_length", type=int, help="of our packed rows; the library chooses")
  add("--prompt_length", type=int, default=PROMPT_LENGTH)
  add("--scale", type=float, default=1.0, help="factor on the inputs' lengths")
  add("--slots", type=int, default=60, help="of sweep_bank")
  add(
    "--slot_examples", type=int, default=4, help="of a slot in a bank's batch"
  )
  add("--bank_steps", type=int, help="steps of teachers_bank and sweep_bank")
  add(
    "--predict_rows",
    type=int,
    help="rows of a run of predict, predict_sorted, rank",
  )
  add(
    "--predict_batch_size",
    type=int,
    help="batch size of both sides in these; else ours is the default, the"
    " peer's the fastest",
  )
  add("--pipeline_batches", type=int, default=20, help="of a run of pipeline")
  add(
    "--clock",
    choices=("wall", "cpu"),
    default="wall",
    help="cpu: CPU seconds, for a machine that others use at the same time",
  )
  add("--compile", action="store_true", help="torch.compile for the peer")
  add("--probe", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args(argv)
  on_cpu = jax.default_backend() == "cpu"
  args.argv = list(argv)
  # The paper's 32, unless it takes hours.
  args.batch_size = args.batch_size or (8 if on_cpu else 32)
  args.predict_rows = args.predict_rows or (64 if on_cpu else 1024)
  args.dtype = args.dtype or ("float32" if on_cpu else "bfloat16")
  args.steps = args.steps or (1 if on_cpu else 20)
  args.bank_steps = args.bank_steps or (2 if on_cpu else 100)
  if args.clock == "cpu" and not on_cpu:
    parser.error("--clock cpu does not measure the work of a GPU")
  rows = set(args.only or ROWS)
  if rows & DRAW_TASKS and args.batch_size < len(args.sources):
    parser.error(
      f"--batch_size {args.batch_size} leaves no example for each of the"
      f" {len(args.sources)} sources; raise it, or give fewer --sources"
    )
  args.labelled = any(s.labels for s in SOURCES if s.name in args.sources)
  if "rank" in (args.only or ()) and not args.labelled:
    parser.error("rank needs one of the sources that have labels")
  return args


def chosen(args):
  """(model, row) in the order of the models, then of the rows."""
  found = []
  for name in args.only or ROWS:
    if name == "rank" and not args.labelled:
      continue
    models = args.model or ((SMALL,) if args.quick else ROWS[name][1])
    found += [(model, name) for model in models]
  order = {SMALL: 0, BASE: 1}
  return sorted(found, key=lambda pair: order.get(pair[0], 2))


def describe(args):
  """Describes the machine and the settings, to be printed with the figures."""
  names = ("jax", "jaxlib", "flax", "torch", "transformers", "peft")
  versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
  return (
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load"
    f" {os.getloadavg()[0]:.1f}; Python {sys.version.split()[0]}, {versions}\n"
    f"seed {args.seed}, batch_size {args.batch_size}, prompt_length"
    f" {args.prompt_length}, {args.dtype}, {args.pairs} pairs of {args.steps}"
    f" steps, {args.clock} clock"
  )


def make_table(rows):
  table = Table("row", "model", "ours", "other", "unit", "ratio", "notes")
  for row in rows:
    ratio = f"{row.median:.2f} ({min(row.ratios):.2f}-{max(row.ratios):.2f})"
    numbers = f"{row.ours:.4g}", f"{row.other:.4g}"
    table.add_row(row.name, row.model, *numbers, row.unit, ratio, row.notes)
  return table


def main(argv=None):
  args = parse(sys.argv[1:] if argv is None else argv)
  if args.probe:
    jax.config.update("jax_compilation_cache_dir", None)
    print(json.dumps(probe(*args.probe, args)))
    return
  console = Console(width=None if sys.stdout.isatty() else 150)
  # Measure compilation instead of reading programs from the disk.
  cache = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  try:
    _print_rows(args, console)
  finally:
    jax.config.update("jax_compilation_cache_dir", cache)


def _print_rows(args, console):
  console.print(describe(args), highlight=False)
  rows, bench = [], None
  with Progress(console=Console(stderr=True), transient=True) as progress:
    for model, name in chosen(args):
      if bench is None or bench.model != model:
        bench = Bench(args, model, progress)
      row = ROWS[name][0](bench, name)
      rows.append(row)
      progress.console.print(
        f"{model} {name}: ratio {row.median:.2f}, {row.ours:.3g} {row.unit};"
        f" {row.notes}",
        highlight=False,
      )
  console.print(make_table(rows))
  for name, row in {row.name: row for row in rows}.items():
    print(f"ratio {name} {row.median:.3f}")


if __name__ == "__main__":
  main()
