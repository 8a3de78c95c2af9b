"""The progress bar, as a terminal of some width shows it."""

import io
import re

import pytest
import rich.console
import rich.text

from mpt_jax.process.progress import Progress

VALUES = ("loss 1.234", "kl 0.0123", "hidden 0.33", "padding_fraction 0.1")
LONG = "T5-Base/few_shot/adapt_boolq-k4-s1"


def drawn(width, description="train", **kwargs):
  """The last line that a terminal of this width gets, without colours."""
  console = rich.console.Console(
    file=io.StringIO(), width=width, force_terminal=True
  )
  with Progress(description, 30000, console=console, **kwargs) as bar:
    bar.update(25000, values=VALUES)
  text = console.file.getvalue()
  text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
  lines = [line for line in re.split(r"[\r\n]", text) if line.strip()]
  assert all(rich.text.Text(line).cell_len <= width for line in lines)
  return lines[-1]


# At 60 columns: 5 of "train", a bar of 10, 11 of the count, 7 of the time and
# 4 spaces are 37, so 23 are left for values. "loss 1.234  kl 0.0123" has 21,
# and with "  hidden 0.33" it has 34.
@pytest.mark.parametrize(
  "width, bar, values",
  [(40, 6, 0), (60, 10, 2), (80, 13, 3), (120, 20, 4)],
)
def test_the_last_values_go_first(width, bar, values):
  line = drawn(width)
  assert line.startswith("train ") and " 25000/30000 -:--:--" in line
  assert len(re.search("[━╸╺]+", line)[0]) == bar
  shown = line.partition("-:--:--")[2].strip()
  assert shown == "  ".join(VALUES[:values])


def test_bar_count_and_time_stay_beside_a_long_description():
  line = drawn(60, LONG)
  # A third of the line.
  assert line.startswith("T5-Base/few_shot/ad… ━")
  assert " 25000/30000 -:--:--" in line
  assert drawn(120, LONG).startswith(f"{LONG} ━")


def test_bytes():
  assert " 25.0/30.0 kB " in drawn(60, in_bytes=True)


def test_markup_is_text():
  assert drawn(80, "[bold]x[/]").startswith("[bold]x[/] ━")


@pytest.mark.parametrize("terminal, show", [(False, True), (True, False)])
def test_silent_without_a_terminal(terminal, show):
  console = rich.console.Console(
    file=io.StringIO(), width=20, force_terminal=terminal
  )
  with Progress("train", 10, console=console, show=show) as bar:
    bar.advance()
    bar.update(5, 20, VALUES)
    bar.print("a line [of] any length :smile: is left as it is")
  expected = "a line [of] any length :smile: is left as it is\n"
  assert console.file.getvalue() == expected


def test_a_transient_bar_leaves_only_what_was_printed():
  console = rich.console.Console(
    file=io.StringIO(), width=60, force_terminal=True
  )
  with Progress("evaluate", transient=True, console=console) as bar:
    bar.update(0, 7)
    bar.print("a note")
  text = console.file.getvalue()
  assert "a note\n" in text
  # The last thing is to erase the line.
  assert text.endswith("\x1b[2K") or "\x1b[2K" in text.rpartition("evaluate")[2]
