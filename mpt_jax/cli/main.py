"""The `mpt` command. Each subcommand imports what it needs when it runs.

Each command has a function that declares its arguments and, below it, the
function that runs it.
"""

import argparse
import os
import pathlib
import sys

import mpt_jax
from mpt_jax.cli import (
  comparing,
  exchange,
  fit,
  reporting,
  runs,
  serving,
  tasks,
)
from mpt_jax.cli import compile as compiling
from mpt_jax.cli.arguments import (
  Parser,
  add_backbone,
  add_decoding,
  add_devices,
  add_modules,
  count,
  import_modules,
  number,
)
from mpt_jax.io.compilation_cache import use_compilation_cache
from mpt_jax.io.errors import ExitCode, run_and_report


def make_parser() -> Parser:
  """Makes the parser of all commands, in the order of the help."""
  parser = Parser(
    prog="mpt",
    description="Multitask Prompt Tuning for T5 in JAX.",
    epilog="mpt COMMAND --help says more about a command.",
  )
  parser.add_argument(
    "--version", action="version", version=f"mpt_jax {mpt_jax.__version__}"
  )
  commands = parser.add_subparsers(dest="command", metavar="COMMAND")

  def command(name, function, text, **kwargs):
    """Adds a command; returns its parser."""
    added = commands.add_parser(
      name,
      help=text,
      description=text,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      **kwargs,
    )
    added.set_defaults(function=function)
    added.add_argument(
      "--traceback",
      action="store_true",
      help="print where an error comes from",
    )
    return added

  fit.add_fit(command)
  runs.add_quickstart(command)
  runs.add_train(command)
  runs.add_sweep(command)
  compiling.add_compile(command)
  _add_eval(command)
  _add_predict(command)
  serving.add_serve(command)
  exchange.add_commands(command)
  _add_inspect(command)
  _add_verify(command)
  comparing.add_compare(command)
  reporting.add_report(command)
  tasks.add_tasks(command)
  return parser


def main(argv=None) -> int:
  """Runs a command; returns its exit code."""
  argv = list(sys.argv[1:] if argv is None else argv)
  parser = make_parser()
  if not argv:
    parser.print_help()
    return ExitCode.DONE
  arguments, rest = parser.parse_known_args(argv)
  if arguments.command == "train":
    # The gin launcher reads its own command line.
    arguments.rest = argv[1:]
  elif arguments.command in ("sweep", "compile"):
    arguments.rest = rest
  elif arguments.command is None:
    parser.error("name a COMMAND")
  elif rest:
    parser.error(f"unrecognized arguments: {' '.join(rest)}")
  # Otherwise TensorFlow prints the features of the CPU when it is imported.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  if hasattr(arguments, "first_line"):
    # Before the imports, which take a second or more.
    print(arguments.first_line(arguments), file=sys.stderr, flush=True)
  if arguments.command != "compile":  # It measures how long compiling takes.
    use_compilation_cache()
  return run_and_report(arguments.function, arguments, show=arguments.traceback)


def _add_eval(command):
  sub = command(
    "eval", _evaluate, "Evaluate every prompt of a bank on its task."
  )
  where = sub.add_mutually_exclusive_group()
  where.add_argument("--run", metavar="DIR", help="a run folder")
  where.add_argument("--prompts", metavar="FILE", help="a prompt file")
  add_backbone(sub)
  sub.add_argument(
    "--task",
    nargs="+",
    action="extend",
    metavar="NAME",
    help="evaluate only these prompts or tasks; for a T5 without prompts, the"
    " tasks to evaluate",
  )
  sub.add_argument(
    "--split",
    default="test",
    help="split of the tasks' data (default: %(default)s)",
  )
  sub.add_argument(
    "--max-examples",
    type=count,
    metavar="N",
    help="evaluate the first N examples of each task (default: all)",
  )
  add_decoding(sub)
  add_devices(sub)
  add_modules(sub)
  sub.add_argument("--out", metavar="FILE", help="write the results as JSON")


def _evaluate(arguments):
  prompts = arguments.run or arguments.prompts
  if prompts is None and not (arguments.backbone and arguments.task):
    raise ValueError(
      "give --run DIR or --prompts FILE, or --backbone and --task for a T5"
      " without prompts"
    )
  import_modules(arguments.module)
  import rich.console

  from mpt_jax.cli.printing import results
  from mpt_jax.data.in_memory.task_files import has_tasks
  from mpt_jax.inference.evaluator import EvalConfig, evaluate
  from mpt_jax.process.progress import Progress

  if prompts is None or not has_tasks(prompts):
    from mpt_jax.tasks import registry  # noqa: F401  Registers the tasks.

  config = EvalConfig(
    split=arguments.split,
    max_examples=arguments.max_examples,
    method=arguments.method,
    num_beams=arguments.num_beams,
  )
  with Progress("evaluate", transient=True) as bar:
    rows = evaluate(
      prompts,
      arguments.task,
      config,
      backbone=arguments.backbone,
      progress=bar.update,
      dtype=arguments.dtype,
      num_model_partitions=arguments.num_model_partitions,
    )
  rich.console.Console().print(results.table(rows))
  if arguments.out:
    results.write_rows(arguments.out, rows, config)


def _add_predict(command):
  sub = command(
    "predict",
    _predict,
    "Predict outputs for a file of texts, which may mix tasks.",
  )
  sub.add_argument(
    "--prompts",
    required=True,
    metavar="FILE|DIR",
    help="a prompt file or run folder",
  )
  add_backbone(sub)
  sub.add_argument(
    "--task",
    metavar="NAME",
    help="prompt or task of the lines that do not name one",
  )
  sub.add_argument(
    "file", nargs="?", metavar="FILE", help="the same as --input"
  )
  sub.add_argument(
    "--input",
    metavar="FILE",
    help='a .jsonl file with lines of {"text": ..., "task": ...}, a .csv or'
    " .tsv file with a header, or lines of plain text; - is standard input"
    " (default: -)",
  )
  sub.add_argument(
    "--output",
    "--out",
    default="-",
    metavar="FILE",
    help="JSON lines; - is standard output (default: -). If the command was"
    " interrupted, the same command continues FILE.partial",
  )
  sub.add_argument(
    "--overwrite", action="store_true", help="replace the output file"
  )
  sub.add_argument(
    "--batch-size",
    type=count,
    default=64,
    metavar="N",
    help="examples in a batch (default: %(default)s)",
  )
  add_decoding(sub)
  sub.add_argument(
    "--max-target-length",
    type=count,
    metavar="N",
    help="longest generated text in tokens (default: the run's, or 64)",
  )
  add_devices(sub)
  sub.add_argument(
    "--temperature",
    type=number(0, kind=float),
    default=0.0,
    metavar="T",
    help="temperature of sampling; 0 takes the most probable token"
    " (default: 0)",
  )
  sub.add_argument(
    "--top-k",
    type=number(0),
    default=0,
    metavar="K",
    help="sample from the K most probable tokens (default: all)",
  )
  sub.add_argument(
    "--seed",
    type=number(-(2**31), 2**31 - 1),
    metavar="N",
    help="seed of sampling (default: 0)",
  )
  sub.add_argument(
    "--raw",
    action="store_true",
    help='take "text" as the whole input, without the task\'s template',
  )


def _predict(arguments):
  from mpt_jax.inference import prediction_files

  if None not in (arguments.file, arguments.input):
    raise ValueError(
      f"both {arguments.file} and --input {arguments.input} are given; a call"
      " reads one file"
    )
  ranks = arguments.method.startswith("rank")
  if arguments.max_target_length and ranks:
    raise ValueError(
      "--max-target-length belongs to generated texts, and --method"
      f" {arguments.method} generates none"
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
    targets_length=arguments.max_target_length,
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
  for note in predictor.notes():
    print(note, file=sys.stderr)


def _add_inspect(command):
  sub = command(
    "inspect",
    _inspect,
    "Print the contents and the size of prompts or of a T5.",
  )
  sub.add_argument(
    "path",
    nargs="?",
    help="a prompt file, a run folder, or the folder of a T5 ('default')",
  )
  add_backbone(sub)
  sub.add_argument(
    "--config",
    metavar="PRESET",
    help="count the parameters for a size such as t5_base",
  )
  sub.add_argument(
    "--kind",
    default="multitask",
    help="with --config: the kind of prompt (default: %(default)s)",
  )
  for name, low, default, shown in (
    ("prompt-length", 1, None, "the kind's"),
    ("rank", 0, None, "the kind's"),
    ("num-slots", 1, 1, "1"),
    ("inputs-length", 1, None, "that of an experiment"),
  ):
    sub.add_argument(
      f"--{name}",
      type=number(low),
      default=default,
      metavar="N",
      help=f"with --config (default: {shown})",
    )


def _inspect(arguments):
  if (arguments.path is None) == (arguments.config is None):
    raise ValueError(
      "give either a path, or --config with a size such as t5_base"
    )
  import rich.console

  from mpt_jax.cli.printing import inspect as describe

  console = rich.console.Console()
  if arguments.path is not None:
    describe.describe_path(arguments.path, arguments.backbone, console)
  else:
    describe.describe_preset(
      arguments.config,
      arguments.kind,
      arguments.prompt_length,
      arguments.rank,
      arguments.num_slots,
      arguments.inputs_length,
      console,
    )


def _add_verify(command):
  sub = command(
    "verify",
    _verify,
    "Compare a run, prompts, a T5, an export or a sweep with what was written.",
  )
  sub.add_argument(
    "path",
    help="a run folder, a prompt file, the folder of a T5 ('default'), of an"
    " export or of a sweep",
  )


def _verify(arguments):
  import rich.console

  from mpt_jax.cli.printing import verify

  good = verify.verify(arguments.path, rich.console.Console())
  return ExitCode.DONE if good else ExitCode.DAMAGED
