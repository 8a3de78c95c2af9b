"""What `mpt fit` prints in terminals of several widths."""

import dataclasses
import io
import shlex

import pytest
import rich.console
from fit_scores import SCORES

from mpt_jax.fitting import showing
from mpt_jax.fitting.showing import Printer


def shown(width, scores=SCORES):
  console = rich.console.Console(file=io.StringIO(), width=width)
  showing.show_scores(Printer(console), scores)
  return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80])
def test_scores_fit_the_terminal(width):
  text = shown(width)
  assert all(len(line.rstrip()) <= width for line in text.splitlines())
  assert ("taken for" in text) == (width >= 70)
  for part in ("75.0 %", "70.0 % to 80.0 % (Wilson)", "tf-idf", "majority"):
    assert part in text
  assert "cannot be told apart" in text and "(90%), in truth z" in text


def test_verdicts():
  def verdict(low, high):
    return showing.verdict(dataclasses.replace(SCORES, interval=(low, high)))

  # tf-idf has 0.7.
  assert verdict(0.71, 0.9) == (
    "The prompt is better than tf-idf, the better baseline."
  )
  assert verdict(0.5, 0.69).startswith("The prompt is worse than tf-idf")
  assert "cannot be told apart" in verdict(0.6, 0.8)


def test_validation_rows_are_named_as_such():
  scores = dataclasses.replace(SCORES, split="validation")
  assert "a little too good" in " ".join(shown(60, scores).split())


def test_commands_can_be_pasted():
  made = showing.next_commands("my run", ["a'b"], ["x", "y z"], "test")
  words = [shlex.split(command) for command in made]
  assert words[0][:2] == ["echo", '{"a\'b": "..."}']
  assert words[1] == ["mpt", "eval", "--run", "my run", "--split", "test"]
  assert "my run_peft" in words[2]
