"""The results of `mpt eval` on the terminal and in a file."""

import io
import json

import pytest
import rich.console

from mpt_jax.cli.printing import results
from mpt_jax.inference.evaluator import EvalConfig


def row(prompt, task, metric, value, num_examples=7):
  return {
    "prompt": prompt,
    "task": task,
    "split": "test",
    "metric": metric,
    "value": value,
    "num_examples": num_examples,
  }


def cells(rows, width=80):
  """The cells of the printed table, line by line."""
  console = rich.console.Console(file=io.StringIO(), width=width)
  console.print(results.table(rows))
  lines = console.file.getvalue().splitlines()
  return [
    [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
    for line in lines
    if line[0] in "┃│"
  ]


def test_table_has_a_line_for_each_prompt():
  rows = [
    row("mood-x", "mood", "accuracy", 0.5),
    row("mood-x", "mood", "f1", 0.25),
    row("say", "say", "exact_match", 1 / 3, num_examples=9),
  ]
  assert cells(rows) == [
    ["prompt", "task", "examples", "accuracy", "f1", "exact_match"],
    ["mood-x", "mood", "7", "0.5000", "0.2500", ""],
    ["say", "say", "9", "", "", "0.3333"],
  ]


def test_a_t5_without_prompts_has_no_column_for_them():
  assert cells([row(None, "mood", "accuracy", 1.0)]) == [
    ["task", "examples", "accuracy"],
    ["mood", "7", "1.0000"],
  ]


def test_a_metric_that_is_no_number_is_null_in_the_file(tmp_path):
  path = tmp_path / "results.json"
  rows = [row(None, "mood", "pearson", float("nan"))]
  results.write_rows(path, rows, EvalConfig())

  def refuse(name):
    pytest.fail(f"{name} is not JSON")

  found = json.loads(path.read_text(), parse_constant=refuse)
  assert found["rows"][0]["value"] is None


def test_file_has_the_rows_and_the_settings(tmp_path):
  path = tmp_path / "new" / "results.json"
  rows = [row("mood-x", "mood", "accuracy", 1 / 3)]
  results.write_rows(path, rows, EvalConfig(split="validation", num_beams=2))
  found = json.loads(path.read_text())
  assert found["rows"] == rows
  assert found["eval"]["split"] == "validation"
  assert found["eval"]["num_beams"] == 2
  assert [p.name for p in path.parent.iterdir()] == ["results.json"]
