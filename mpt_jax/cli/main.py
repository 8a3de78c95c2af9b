"""The `mpt` command. Each subcommand imports what it needs when it runs."""

import argparse
import dataclasses
import os
import pathlib
import sys

from mpt_jax.cli import exchange
from mpt_jax.io.compilation_cache import use_compilation_cache
from mpt_jax.io.errors import run_and_report

METHODS = ("auto", "rank", "decode")


class _Parser(argparse.ArgumentParser):
  """A parser whose errors are one line."""

  def error(self, message):
    print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
    sys.exit(2)


def make_parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog="mpt",
    description="Multitask Prompt Tuning for T5 in JAX.",
    epilog="mpt COMMAND --help says more about a command.",
  )
  commands = parser.add_subparsers(
    dest="command", metavar="COMMAND", required=True
  )

  def command(name, function, text, **kwargs):
    added = commands.add_parser(name, help=text, description=text, **kwargs)
    added.set_defaults(function=function)
    added.add_argument(
      "--traceback",
      action="store_true",
      help="show where an error comes from",
    )
    return added

  sub = command(
    "quickstart", _quickstart, "All three stages on real text, in minutes."
  )
  sub.add_argument(
    "--out",
    default="mpt_quickstart",
    metavar="DIR",
    help="folder of the runs and results (default: %(default)s)",
  )
  sub.add_argument(
    "--short", action="store_true", help="few steps: only shows that it works"
  )
  _add_backbone(sub)

  command(
    "train",
    _train,
    "Trains an experiment: --gin_file=FILE [--gin.NAME=VALUE ...].",
    add_help=False,
  )

  sub = command(
    "sweep",
    _sweep,
    "Runs a table's experiments, --gin_file=gin/tables/FILE"
    " [--gin.NAME=VALUE ...], and prints it beside the paper's numbers.",
  )
  sub.add_argument(
    "--list",
    action="store_true",
    help="say what each run is and what it trains; run nothing",
  )
  sub.add_argument(
    "--commands",
    action="store_true",
    help="with --list: the command that trains each run alone",
  )
  sub.add_argument(
    "--only",
    nargs="+",
    action="extend",
    default=[],
    metavar="NAME",
    help="only these runs, by name or pattern (glue/*)",
  )

  sub = command(
    "eval", _evaluate, "Evaluates every prompt of a bank on its task."
  )
  where = sub.add_mutually_exclusive_group()
  where.add_argument("--run", metavar="DIR", help="a run folder")
  where.add_argument("--prompts", metavar="FILE", help="a prompt file")
  _add_backbone(sub)
  sub.add_argument(
    "--task",
    nargs="+",
    action="extend",
    metavar="NAME",
    help="only these prompts or tasks; without prompts, tasks for the T5 alone",
  )
  sub.add_argument("--split", default="test", help="default: %(default)s")
  sub.add_argument(
    "--max-examples", type=_count, metavar="N", help="of each task, the first"
  )
  _add_method(sub)
  _add_devices(sub)
  sub.add_argument(
    "--num-beams", type=_count, default=1, metavar="N", help="of decoding"
  )
  sub.add_argument(
    "--module",
    action="append",
    default=[],
    metavar="NAME",
    help="import this first: a Python module that registers tasks",
  )
  sub.add_argument("--out", metavar="FILE", help="write the results as JSON")

  sub = command(
    "predict", _predict, "Text in, text out; tasks may be mixed in a file."
  )
  sub.add_argument(
    "--prompts",
    required=True,
    metavar="FILE|DIR",
    help="a prompt file or run folder",
  )
  _add_backbone(sub)
  sub.add_argument(
    "--task", metavar="NAME", help="prompt or task of lines that name none"
  )
  sub.add_argument(
    "file", nargs="?", metavar="FILE", help="the same as --input"
  )
  sub.add_argument(
    "--input",
    metavar="FILE",
    help='lines of {"text": ..., "task": ...}, or of plain text; default: -',
  )
  sub.add_argument(
    "--output",
    "--out",
    default="-",
    metavar="FILE",
    help="JSON lines; default: -. After a stop the same command goes on where"
    " FILE.partial ends",
  )
  sub.add_argument(
    "--overwrite", action="store_true", help="replace the output file"
  )
  sub.add_argument(
    "--batch-size", type=_count, default=64, metavar="N", help="default: 64"
  )
  _add_method(sub)
  _add_devices(sub)
  sub.add_argument(
    "--num-beams", type=_count, default=1, metavar="N", help="of decoding"
  )
  sub.add_argument(
    "--temperature",
    type=float,
    default=0.0,
    metavar="T",
    help="above 0 samples the tokens; 0 takes the likeliest (default)",
  )
  sub.add_argument(
    "--top-k",
    type=int,
    default=0,
    metavar="K",
    help="sample from the K likeliest tokens only; default: all",
  )
  sub.add_argument(
    "--seed", type=int, metavar="N", help="of sampling; default: 0"
  )
  sub.add_argument(
    "--raw",
    action="store_true",
    help='take "text" as the finished input, past the template',
  )

  exchange.add_commands(command)

  sub = command(
    "inspect", _inspect, "What prompts or a T5 hold, and what they cost."
  )
  sub.add_argument(
    "path",
    nargs="?",
    help="prompt file, run folder, or folder of a T5 ('default')",
  )
  _add_backbone(sub)
  sub.add_argument(
    "--config", metavar="PRESET", help="count for a size such as t5_base"
  )
  for name, default in (("prompt-length", 100), ("rank", 1), ("num-tasks", 1)):
    sub.add_argument(
      f"--{name}",
      type=int,
      default=default,
      metavar="N",
      help=f"with --config (default: {default})",
    )
  return parser


def _add_backbone(parser):
  parser.add_argument(
    "--backbone",
    metavar="DIR",
    help="the T5's folder, or 'default'; by default what the run used",
  )


def _add_method(parser):
  parser.add_argument(
    "--method",
    choices=METHODS,
    default="auto",
    help="rank label strings, or decode; auto ranks where there are labels",
  )


def _add_devices(parser):
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="of the T5 and of the computation; by default the run's",
  )
  parser.add_argument(
    "--num-model-partitions",
    type=_count,
    default=1,
    metavar="N",
    help="devices that share one copy of the T5; default: 1",
  )


def _count(text):
  try:
    value = int(text)
  except ValueError:
    value = 0
  if value < 1:
    raise argparse.ArgumentTypeError(
      f"expected a whole number of at least 1, got {text!r}"
    )
  return value


def main(argv=None) -> int:
  """Runs a command; returns its exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = make_parser()
  arguments, rest = parser.parse_known_args(argv)
  if arguments.command == "train":
    # The gin launcher reads its own command line.
    arguments.rest = argv[1:]
  elif arguments.command == "sweep":
    arguments.rest = rest
  elif rest:
    parser.error(f"unrecognized arguments: {' '.join(rest)}")
  # TensorFlow tells of the CPU's instructions on import.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  use_compilation_cache()
  return run_and_report(arguments.function, arguments, show=arguments.traceback)


def _quickstart(arguments):
  from mpt_jax.quickstart import run as quickstart

  config = (
    quickstart.SHORT if arguments.short else quickstart.QuickstartConfig()
  )
  if arguments.backbone is not None:
    config = dataclasses.replace(config, backbone=arguments.backbone)
  quickstart.main(arguments.out, config)


def _train(arguments):
  from mpt_jax.training import gin_config as gin_main

  # Modules of the user's own tasks lie where the command is given.
  sys.path.insert(0, os.getcwd())
  sys.exit(gin_main.main(arguments.rest))


def _sweep(arguments):
  import rich.console

  from mpt_jax.training import gin_config as gin_main

  files, bindings, paths, _ = gin_main.parse_args(arguments.rest)
  from mpt_jax.sweeps import report
  from mpt_jax.sweeps import run as sweep

  # Modules of the user's own tasks lie where the command is given.
  sys.path.insert(0, os.getcwd())
  table, model_dir = sweep.load_table(files, bindings, paths)
  run_files = dict.fromkeys(run.gin_file for run in table.runs)
  groups = [files, *([file] for file in run_files)]
  gin_main.check_macros(bindings, groups, paths)
  console = rich.console.Console()
  if arguments.list:
    planned = sweep.plan(table, model_dir, bindings, paths, missing=True)
    planned = sweep.find_runs(planned, arguments.only)
    command = lambda run: run.command(files, paths)
    report.print_plan(
      table, planned, console, command if arguments.commands else None
    )
    return
  lines = sweep.sweep(table, model_dir, bindings, paths, arguments.only)
  report.print_table(table, lines, console)


def _evaluate(arguments):
  import importlib

  prompts = arguments.run or arguments.prompts
  if prompts is None and not (arguments.backbone and arguments.task):
    raise ValueError(
      "give --run DIR or --prompts FILE, or --backbone and --task for a T5"
      " without prompts"
    )
  # The command's own folder is what Python puts first.
  sys.path.insert(0, os.getcwd())
  for name in arguments.module:
    try:
      importlib.import_module(name)
    except ModuleNotFoundError as error:
      if error.name != name.partition(".")[0]:
        raise
      raise ValueError(
        f"--module {name}: no such Python module in {os.getcwd()} or installed"
      ) from error
  import rich.console
  import rich.progress

  from mpt_jax.inference import evaluate_bank
  from mpt_jax.inference.evaluator import EvalConfig
  from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.

  config = EvalConfig(
    split=arguments.split,
    max_examples=arguments.max_examples,
    method=arguments.method,
    num_beams=arguments.num_beams,
  )
  console = rich.console.Console(stderr=True)
  with rich.progress.Progress(
    console=console, transient=True, disable=not console.is_terminal
  ) as bar:
    task = bar.add_task("evaluate", total=None)
    rows = evaluate_bank.evaluate(
      prompts,
      arguments.task,
      config,
      arguments.backbone,
      lambda done, total: bar.update(task, completed=done, total=total),
      dtype=arguments.dtype,
      num_model_partitions=arguments.num_model_partitions,
    )
  rich.console.Console().print(evaluate_bank.table(rows))
  if arguments.out:
    evaluate_bank.write_rows(arguments.out, rows, config)


def _predict(arguments):
  from mpt_jax.inference import prediction_files

  if None not in (arguments.file, arguments.input):
    raise ValueError(
      f"both {arguments.file} and --input {arguments.input} are given; a call"
      " reads one file"
    )
  source = arguments.file or arguments.input or "-"
  target = arguments.output
  if target != "-":
    prediction_files.check_target(target, arguments.overwrite)
  if source != "-" and not pathlib.Path(source).is_file():
    raise FileNotFoundError(f"no file {source} to predict for")

  from mpt_jax.inference import predictor as predict

  predictor = predict.Predictor(
    arguments.prompts,
    arguments.backbone,
    method=arguments.method,
    batch_size=arguments.batch_size,
    raw=arguments.raw,
    num_beams=arguments.num_beams,
    temperature=arguments.temperature,
    top_k=arguments.top_k,
    seed=arguments.seed,
    dtype=arguments.dtype,
    num_model_partitions=arguments.num_model_partitions,
  )
  throughput = prediction_files.predict_file(
    predictor,
    source,
    target,
    task=arguments.task,
    overwrite=arguments.overwrite,
  )
  print(throughput, file=sys.stderr)
  if predictor.num_truncated:
    inputs = "input was" if predictor.num_truncated == 1 else "inputs were"
    print(
      f"{predictor.num_truncated} {inputs} longer than"
      f" {predictor.inputs_length} tokens and cut",
      file=sys.stderr,
    )


def _inspect(arguments):
  if (arguments.path is None) == (arguments.config is None):
    raise ValueError(
      "give either a path, or --config with a size such as t5_base"
    )
  import rich.console

  from mpt_jax.cli import inspect as describe

  console = rich.console.Console()
  if arguments.path is not None:
    describe.describe_path(arguments.path, arguments.backbone, console)
  else:
    describe.describe_preset(
      arguments.config,
      arguments.prompt_length,
      arguments.rank,
      arguments.num_tasks,
      console,
    )
