"""The parser, and the arguments that several commands share."""

import argparse

import pytest
from commands import fails

from mpt_jax.cli import arguments


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("64", 64)])
def test_a_count(text, number):
  assert arguments.count(text) == number


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "2e3", "a", ""])
def test_no_count(text):
  with pytest.raises(argparse.ArgumentTypeError) as error:
    arguments.count(text)
  expected = f"expected a whole number of at least 1, got {text!r}"
  assert str(error.value) == expected


@pytest.fixture
def parser():
  parser = arguments.Parser(prog="mpt predict")
  arguments.add_backbone(parser)
  arguments.add_decoding(parser)
  arguments.add_devices(parser)
  return parser


def test_defaults(parser):
  assert vars(parser.parse_args([])) == {
    "backbone": None,
    "method": "auto",
    "num_beams": 1,
    "dtype": None,
    "num_model_partitions": 1,
  }


def test_values(parser):
  given = "--backbone t5 --method decode --num-beams 4 --dtype bfloat16"
  given += " --num-model-partitions 2"
  assert vars(parser.parse_args(given.split())) == {
    "backbone": "t5",
    "method": "decode",
    "num_beams": 4,
    "dtype": "bfloat16",
    "num_model_partitions": 2,
  }


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("--num-beams 0", "--num-beams: expected a whole number of at least 1"),
    ("--method beam", "invalid choice: 'beam'"),
    ("--dtype float16", "invalid choice: 'float16'"),
    ("--num-model-partitions x", "whole number of at least 1, got 'x'"),
  ],
)
def test_an_error_is_one_line_that_says_where_help_is(
  parser, capsys, given, message
):
  with pytest.raises(SystemExit) as exit_:
    parser.parse_args(given.split())
  assert exit_.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ") and message in line
  assert line.endswith("; see mpt predict --help")


@pytest.mark.parametrize(
  ("size", "message"), [("0", "at least 1"), ("a", "whole number")]
)
def test_commands_count(capsys, size, message):
  command = ("predict", "--prompts", "x", "--batch-size", size)
  fails(capsys, message, *command)
