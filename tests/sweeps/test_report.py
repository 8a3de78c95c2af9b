"""A table on the terminal, in files, and as a plan."""

import dataclasses
import io
import json

import pytest
import rich.console
from sweep_tables import make_table

from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import report, results


def test_the_paper_stands_beside_ours(measured):
  table, planned = measured
  lines = results.table_lines(table, planned)
  text = report.markdown(table, lines).splitlines()
  start = text.index(
    "| MPT | here | 77,668 | 85.0 ± 7.1 | 42.5 ± 3.5 | 63.8 ± 5.3 |"
  )
  assert text[start + 1] == "| MPT | paper | 77.6K | 79.4 | ? | 85.6 |"
  assert "| ATTEMPT | paper | ? | ? | 57.4 | ? |" in text
  assert "- MPT: a paper." in text
  assert not any(line.startswith("| ATTEMPT | here") for line in text)
  console = rich.console.Console(width=80, file=io.StringIO())
  report.print_table(table, lines, console)
  shown = console.file.getvalue()
  for part in ("85.0", "±7.1", "79.4", "77,668", "77.6K", "–: not measured"):
    assert part in shown
  saved = report.as_json(table, lines)
  assert json.loads(json.dumps(saved)) == saved
  assert saved["rows"][0]["paper"] == {"RTE": 79.4, "GLUE": 85.6}


def test_rows_of_which_nothing_is_published_have_no_line_of_the_paper(
  measured,
):
  """As in a table over one's own tasks."""
  table, planned = measured
  lines = results.table_lines(table, planned)
  lines = [
    dataclasses.replace(
      line, row=dataclasses.replace(line.row, paper={}, parameters="")
    )
    for line in lines
  ]
  text = report.markdown(table, lines)
  assert "| MPT | here | 77,668" in text
  assert "paper" not in text and "?" not in text
  console = rich.console.Console(width=80, file=io.StringIO())
  report.print_table(table, lines, console)
  shown = console.file.getvalue()
  assert "77,668" in shown and "–: not measured yet." in shown
  assert "paper" not in shown and "?" not in shown


def test_a_plan_lists_what_waits_with_its_own_size(tmp_path):
  variants = {"small": {"INITIAL_CHECKPOINT_PATH": None}, "base": {}}
  table = make_table(variants=variants, models={"small": "t5_small"})
  lines = ['INITIAL_CHECKPOINT_PATH = "no/such/t5"']
  planned = plans.plan(table, tmp_path, lines, missing=True)
  adapt = plans.find_runs(planned, ["*adapt"])
  assert [run.name for run in adapt] == ["small/adapt", "adapt"]
  output = io.StringIO()
  console = rich.console.Console(file=output, width=200)
  report.print_plan(table, adapt, console)
  small, base = output.getvalue().split("\nadapt ")
  assert "teach" not in small.splitlines()[2]
  assert "t5_small (not here, taken for t5_small), 60,506,624" in small
  assert "no/such/t5 (not here, taken for t5_base), 222,903,552" in base
  # 100 · 512 + 100 + 512 and 100 · 768 + 100 + 768.
  assert "MPT (51,812 trained per task" in small
  assert "MPT (77,668 trained per task" in base
  with pytest.raises(ValueError, match="--only x: no run has such a name"):
    plans.find_runs(planned, ["x"])
