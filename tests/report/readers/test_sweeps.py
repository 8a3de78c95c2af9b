"""Reads the tables that a sweep has written."""

import json

import pytest
from scipy import stats
from sweep_tables import measured_table

from mpt_jax.report.material import MEAN
from mpt_jax.report.readers import sweeps
from mpt_jax.sweeps import report, results


@pytest.fixture
def folder(tmp_path):
  table, planned = measured_table(tmp_path)
  lines = results.table_lines(table, planned)
  report.write_files(table, lines, tmp_path)
  return tmp_path


def test_a_table_has_its_cells_and_the_papers(folder):
  ((path, fields),) = sweeps.find_tables(folder)
  assert path.name == "small.json"
  material = sweeps.read_sweep([(path, fields)], "x")
  (made,) = material.results
  assert material.title == "A small table" and material.notes == ()
  assert made.methods == ("mpt", "prompt_tuning", "ATTEMPT")
  assert made.targets == ("RTE", "CoLA") and made.average == "GLUE"
  # Accuracies of 80 and 90, see test_results.py of the sweeps.
  cell = made.cells["mpt", "RTE", None]
  assert cell.mean == pytest.approx(85.0)
  assert cell.draws == ((0, pytest.approx(80.0)), (1, pytest.approx(90.0)))
  assert made.cells["mpt", MEAN, None].mean == pytest.approx(63.75)
  assert made.published["mpt", MEAN] == 85.6
  assert made.published["ATTEMPT", "CoLA"] == 57.4
  assert made.parameters["mpt"] == 77_668
  assert "Published numbers of MPT: a paper." in made.notes


def table_of(*rows):
  rows = [
    {
      "trained_per_task": 10,
      "here": {"H": {"mean": mean, "std": 1.0, "num_seeds": 4}},
      "draws": {"H": {"0": mean}},
      "metrics": {"H": "balanced_accuracy"},
      "paper": {},
      "source": "",
      "diverged": {},
      "method": method,
      "shots": shots,
    }
    for method, shots, mean in rows
  ]
  return {
    "table": "t",
    "title": "T",
    "split": "test",
    "columns": {"h": "H"},
    "average": "mean",
    "rows": rows,
    "remarks": ["a remark"],
  }


def test_rows_of_several_shots_are_one_method():
  made, missing = sweeps.table_results(
    table_of(("MPT, k = 4", 4, 50.0), ("MPT, k = 16", 16, 60.0))
  )
  assert made.methods == ("mpt",) and made.shots == (4, 16)
  assert made.cells["mpt", "H", 16].mean == 60.0
  expected = stats.t.interval(0.95, 3, loc=60.0, scale=0.5)
  assert made.cells["mpt", "H", 16].interval == pytest.approx(expected)
  assert made.metric == "balanced accuracy" and "a remark" in made.notes
  assert missing == 0


def test_variants_are_ablations():
  made, _ = sweeps.table_results(
    table_of(("MPT", None, 60.0), ("MPT, rank 2", None, 58.0))
  )
  assert made.differences["MPT, rank 2", None].mean == pytest.approx(-2.0)


def test_an_unfinished_table_says_so():
  fields = table_of(("MPT", None, 60.0), ("SPoT", None, 58.0))
  fields["rows"][1]["here"] = {}
  material = sweeps.read_sweep([("t.json", fields)], "x")
  assert material.notes == ("T is not finished; cells without a number: 1.",)
  fields["rows"][0]["here"] = {}
  assert sweeps.read_sweep([("t.json", fields)], "x").results == ()


def test_other_files_are_no_tables(tmp_path):
  (tmp_path / "a.json").write_text("{")
  (tmp_path / "b.json").write_text("{}")
  (tmp_path / "b.md").write_text("")
  assert sweeps.find_tables(tmp_path) == []
  (tmp_path / "a.md").write_text("")
  with pytest.raises(ValueError, match="a.json cannot be read"):
    sweeps.find_tables(tmp_path)
  (tmp_path / "a.json").write_text("[]")
  assert sweeps.find_tables(tmp_path) == []
  fields = table_of(("MPT", None, 60.0))
  del fields["rows"][0]["here"]
  (tmp_path / "a.json").write_text(json.dumps(fields))
  with pytest.raises(ValueError, match="a.json cannot be read.*'here'"):
    sweeps.read_sweep(sweeps.find_tables(tmp_path), "x")
