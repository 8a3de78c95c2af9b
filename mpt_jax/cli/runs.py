"""The `mpt` commands that train: quickstart, train and sweep.

Each command has a function that declares its arguments and, below it, the
function that runs it. Only the latter imports what the command needs.
"""

import dataclasses
import os
import sys

from mpt_jax.cli.arguments import add_backbone
from mpt_jax.io.errors import ExitCode


def add_quickstart(command):
  sub = command(
    "quickstart",
    _quickstart,
    "Run all three stages on real text in a few minutes.",
  )
  sub.add_argument(
    "--out",
    default="mpt_quickstart",
    metavar="DIR",
    help="folder of the runs and the results (default: %(default)s)",
  )
  sub.add_argument(
    "--short",
    action="store_true",
    help="train a few steps only, to see that it works",
  )
  add_backbone(sub)


def _quickstart(arguments):
  from mpt_jax.quickstart import config as configs
  from mpt_jax.quickstart import run as quickstart

  config = configs.SHORT if arguments.short else configs.QuickstartConfig()
  if arguments.backbone is not None:
    config = dataclasses.replace(config, backbone=arguments.backbone)
  quickstart.main(arguments.out, config)


def add_train(command):
  command(
    "train",
    _train,
    "Train an experiment: --gin_file=FILE [--gin.NAME=VALUE ...].",
    # The gin launcher reads its own command line.
    add_help=False,
  )


def _train(arguments):
  from mpt_jax.launchers import gin_config as gin_main

  # The modules of the user's own tasks are in the working folder.
  sys.path.insert(0, os.getcwd())
  sys.exit(gin_main.main(arguments.rest))


def add_sweep(command):
  sub = command(
    "sweep",
    _sweep,
    "Run all experiments of a table, --gin_file=gin/tables/FILE"
    " [--gin.NAME=VALUE ...], and print it beside the paper's numbers.",
  )
  sub.add_argument(
    "--list",
    action="store_true",
    help="print each run and the parameters that it trains, and run nothing",
  )
  sub.add_argument(
    "--commands",
    action="store_true",
    help="with --list, print the command that trains each run alone",
  )
  sub.add_argument(
    "--only",
    nargs="+",
    action="extend",
    default=[],
    metavar="NAME",
    help="run only these, by name or pattern (glue/*)",
  )


def _sweep(arguments):
  import rich.console

  from mpt_jax.launchers import gin_config as gin_main

  if arguments.commands and not arguments.list:
    raise ValueError("--commands goes with --list, which runs nothing")
  files, bindings, paths, _ = gin_main.parse_args(arguments.rest)
  from mpt_jax.sweeps import checks, report, standings
  from mpt_jax.sweeps import plan as plans
  from mpt_jax.sweeps.run import sweep

  # The modules of the user's own tasks are in the working folder.
  sys.path.insert(0, os.getcwd())
  table, model_dir = plans.load_table(files, bindings, paths)
  run_files = dict.fromkeys(run.gin_file for run in table.runs)
  groups = [files, *([file] for file in run_files)]
  gin_main.check_macros(bindings, groups, paths)
  console = rich.console.Console()
  if arguments.list:
    planned = plans.plan(table, model_dir, bindings, paths, missing=True)
    runs = plans.find_runs(planned, arguments.only)
    checks.check_plan(table, runs, planned)

    def command(run):
      return run.command(files, paths)

    report.print_plan(
      table, runs, console, command if arguments.commands else None
    )
    report.print_missing(checks.find_data(runs, fetch=False), console)
    return ExitCode.DONE
  lines, *faults = sweep(table, model_dir, bindings, paths, arguments.only)
  if table.contest is None:
    report.print_table(table, lines, console)
  else:
    print(standings.read(table.name, model_dir))
  _write_report(table, model_dir)
  return ExitCode.DIVERGED if any(faults) else ExitCode.DONE


def _write_report(table, model_dir):
  """Writes the page of a table, in the folder of its contest if it has one."""
  from mpt_jax.report import writing
  from mpt_jax.report.readers.comparison import has_answers
  from mpt_jax.tasks.licences import licence

  folder = os.path.join(model_dir, table.name)
  path = writing.write_report(
    [folder if has_answers(folder) else model_dir], licences=licence
  )
  print(f"report: {path}", file=sys.stderr)
