"""The command `mpt fit`.

One function declares its arguments. The other one runs it, and only that one
imports what the command needs.
"""

import os
import pathlib

from mpt_jax.cli.arguments import count, number
from mpt_jax.io.errors import ExitCode

EXAMPLES = """examples:
  mpt fit train.csv --out runs/trec
  mpt fit train.csv --out runs/trec --text question --label kind
  mpt fit a.jsonl b.jsonl --out runs/two --share
  mpt fit train.csv --out runs/large --backbone path/to/t5-base"""


def add_fit(command):
  sub = command(
    "fit",
    _fit,
    "Train a prompt on your own rows, and print how good it is.",
    epilog=EXAMPLES,
  )
  sub.set_defaults(first_line=lambda a: f"mpt fit: {', '.join(a.files)}")
  sub.add_argument(
    "files",
    nargs="+",
    metavar="FILE",
    help=".csv, .tsv or .jsonl with a text and a target in each row; several"
    " files are several tasks",
  )
  sub.add_argument(
    "--out", required=True, metavar="DIR", help="the folder of the run"
  )
  _add_data(sub)
  _add_training(sub)


def _add_data(sub):
  group = sub.add_argument_group("the data (found out by default)")
  group.add_argument(
    "--text",
    nargs="+",
    action="extend",
    default=[],
    metavar="COLUMN",
    help="the column of the input, or several",
  )
  group.add_argument(
    "--label", metavar="COLUMN", help="the column of the target"
  )
  group.add_argument(
    "--kind",
    choices=("labels", "number", "text"),
    help="what the target is: one of some labels, a number between bounds, or a"
    " text to generate",
  )
  group.add_argument(
    "--template",
    metavar="TEXT",
    help="the input with columns in braces, such as 'review: {text}'",
  )
  group.add_argument(
    "--validation", metavar="FILE", help="rows that choose the best step"
  )
  group.add_argument("--test", metavar="FILE", help="rows for the score")
  group.add_argument(
    "--metric",
    metavar="NAME",
    help="the score and what chooses the best step, such as f1_macro",
  )


def _add_training(sub):
  group = sub.add_argument_group("the training")
  group.add_argument(
    "--backbone",
    default="default",
    metavar="T5",
    help="folder of the T5, or its name on the Hugging Face hub, such as"
    " google/flan-t5-base (default: the small one that comes with mpt)",
  )
  group.add_argument(
    "--from",
    dest="start",
    default="scratch",
    metavar="RUN",
    help="run or prompt file to start from (default: %(default)s)",
  )
  group.add_argument(
    "--share", action="store_true", help="all tasks share one P*"
  )
  group.add_argument(
    "--tune",
    action="store_true",
    help="train with three learning rates side by side, and keep the best",
  )
  for name, text in (
    ("steps", "most steps"),
    ("prompt-length", "length of the prompt"),
    ("inputs-length", "longest input in tokens; longer ones are cut"),
    ("batch-size", "examples of each task in a batch"),
  ):
    group.add_argument(f"--{name}", type=count, metavar="N", help=text)
  group.add_argument(
    "--learning-rate",
    type=number(0, kind=float),
    metavar="RATE",
    help="learning rate of the prompts",
  )
  group.add_argument(
    "--seed",
    type=number(0, 2**31 - 1),
    default=0,
    metavar="N",
    help="seed of everything that is drawn (default: %(default)s)",
  )


def _fit(arguments):
  names = (
    "label kind template metric start share tune backbone steps learning_rate"
    " prompt_length inputs_length batch_size seed"
  ).split()
  settings = {name: getattr(arguments, name) for name in names}
  others = (arguments.validation, arguments.test)
  for path in (*arguments.files, *filter(None, others)):
    if not pathlib.Path(path).exists():
      raise FileNotFoundError(f"no file {path} (looked from {os.getcwd()})")
  from mpt_jax.fitting import run

  run.fit(
    *arguments.files,
    out=arguments.out,
    validation=arguments.validation,
    test=arguments.test,
    text=tuple(arguments.text),
    **settings,
  )
  return ExitCode.DONE
