"""The notebook of docs/: its cells run as they stand, with a tiny T5."""

import ast
import json
import pathlib

import pytest
import train_fixtures

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "quick_look.ipynb"


@pytest.fixture(scope="module")
def cells():
  """The code of each cell."""
  notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
  assert notebook["nbformat"] == 4
  code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
  # Outputs would go stale.
  assert not any(cell["outputs"] for cell in code)
  return ["".join(cell["source"]) for cell in code]


def run_cell(text, names):
  """Runs a cell; returns the value of its last line, as a notebook shows it."""
  tree = ast.parse(text)
  shown = None
  if isinstance(tree.body[-1], ast.Expr):
    shown = ast.Expression(tree.body.pop().value)
  exec(compile(tree, NOTEBOOK.name, "exec"), names)
  return shown and eval(compile(shown, NOTEBOOK.name, "eval"), names)


def test_the_cells_run(cells, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  t5 = train_fixtures.save_tiny_backbone(tmp_path / "t5")
  names = {}
  run_cell(cells[0], names)
  names["SETTINGS"] |= {"steps": 10, "backbone": t5}
  run, confusion, answers, taught, distilled, adapted, answer = [
    run_cell(cell, names) for cell in cells[1:]
  ]
  assert answers is None and "person" in capsys.readouterr().out
  assert set(confusion) == {"person", "place"}
  for shown in (run, taught, distilled, adapted):
    assert shown._repr_html_().startswith("<table>")
    assert (tmp_path / shown.folder / "report.html").is_file()
  assert answer in ("bad", "good")
