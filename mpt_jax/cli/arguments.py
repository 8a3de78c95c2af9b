"""The parser of `mpt`, and arguments that several commands share."""

import argparse
import importlib
import math
import os
import re
import sys

from mpt_jax.io import checks
from mpt_jax.io.paths import expand

METHODS = ("auto", "rank", "rank_per_token", "decode")


class Parser(argparse.ArgumentParser):
  """A parser whose errors are one line, and whose paths may begin with `~`."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    # The type of an argument that names none, as all paths do.
    self.register("type", None, expand)

  def error(self, message):
    found = re.fullmatch(
      r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message
    )
    if found:
      known = [word.strip("' ") for word in found[2].split(",")]
      message = f"there is no command {found[1]!r}." + checks.near_misses(
        found[1], known
      )
    print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
    sys.exit(2)


def add_backbone(parser):
  parser.add_argument(
    "--backbone",
    metavar="T5",
    help="folder of the T5, its name on the Hugging Face hub (owner/model or"
    " owner/model@revision), or 'default' (default: the T5 of the run)",
  )


def add_decoding(parser):
  """Adds the arguments of prediction: ranking or decoding, and beams."""
  parser.add_argument(
    "--method",
    choices=METHODS,
    default="auto",
    help="rank the labels, by the sum of their tokens' log-probabilities or by"
    " the mean per token, or decode a text; auto ranks where a task has labels"
    " (default: %(default)s)",
  )
  parser.add_argument(
    "--num-beams",
    type=count,
    default=1,
    metavar="N",
    help="beams of decoding (default: %(default)s)",
  )


def add_devices(parser):
  """Adds the dtype and the number of devices that share the T5."""
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="type of the weights and of the computation (default: the run's)",
  )
  parser.add_argument(
    "--num-model-partitions",
    type=count,
    default=1,
    metavar="N",
    help="number of devices that share one copy of the T5"
    " (default: %(default)s)",
  )


def add_modules(parser):
  """Adds the names of the user's modules; see `import_modules`."""
  parser.add_argument(
    "--module",
    action="append",
    default=[],
    metavar="NAME",
    help="import this Python module first; it registers your own tasks",
  )


def import_modules(names):
  """Imports the user's modules.

  Raises:
    ValueError: there is no such module.
  """
  # Python puts the folder of the command `mpt` first, not the user's.
  sys.path.insert(0, os.getcwd())
  for name in names:
    try:
      importlib.import_module(name)
    except ModuleNotFoundError as error:
      if error.name != name.partition(".")[0]:
        raise
      raise ValueError(
        f"--module {name}: no such Python module in {os.getcwd()} or installed"
      ) from error


def number(low, high=None, kind=int):
  """Returns the parser of an argument that must be a number.

  Args:
    low: its smallest value.
    high: its largest value, or None.
    kind: int for a whole number, float for any finite one.
  """
  noun = "a whole number" if kind is int else "a number"
  limits = f"of at least {low}" if high is None else f"from {low} to {high}"

  def parse(text: str):
    try:
      value = kind(text)
    except ValueError:
      value = math.nan
    if not (low <= value < math.inf and (high is None or value <= high)):
      raise argparse.ArgumentTypeError(
        f"expected {noun} {limits}, got {text!r}"
      )
    return value

  return parse


count = number(1)
