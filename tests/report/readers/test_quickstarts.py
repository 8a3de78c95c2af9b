"""Reads the results of a quickstart."""

import json

import pytest
from result_rows import row, source_rows, target_rows

from mpt_jax.report.readers import quickstarts


def write(folder, rows, **fields):
  (folder / "results.json").write_text(
    json.dumps({"rows": rows, "meta": {"title": "Q", "rank": 1}, **fields})
  )
  return quickstarts.read_results(folder)


def test_targets_come_before_sources(tmp_path):
  fields = write(
    tmp_path, source_rows() + target_rows(), verdicts=["MPT is better."]
  )
  material = quickstarts.read_quickstart(tmp_path, fields, "q")
  assert [r.title for r in material.results] == ["Target tasks", "Source tasks"]
  targets, sources = material.results
  # Draws of 0.8 and 0.9.
  cell = targets.cells["mpt", "a", 16]
  assert cell.draws == ((0, 80.0), (1, 90.0)) and cell.mean == 85.0
  assert targets.cells["majority", "a", 16].mean == 50.0
  assert targets.verdicts[0].sentences == ("MPT is better.",)
  assert sources.cells["student", "s", None].mean == pytest.approx(70.0)
  assert sources.main == "teacher" and sources.verdicts == ()
  assert material.title == "Q" and dict(material.facts) == {"rank": 1}


def test_parameters_and_data(tmp_path):
  meta = {"methods": {"mpt": {"parameters": 9}}, "data": {"a": "MIT"}}
  fields = write(tmp_path, target_rows(), meta=meta)
  material = quickstarts.read_quickstart(tmp_path, fields, "q")
  assert material.results[0].parameters == {"mpt": 9}
  assert material.data == (("a", "MIT"),) and material.facts == ()


def test_other_folders(tmp_path):
  assert quickstarts.read_results(tmp_path) is None
  (tmp_path / "results.json").write_text('{"rows": []}')
  assert quickstarts.read_results(tmp_path) is None
  fields = write(tmp_path, [])
  assert quickstarts.read_quickstart(tmp_path, fields, "q").results == ()


@pytest.mark.parametrize(
  "rows", [[{"stage": "adapt"}], [row("mpt", "x")], target_rows() * 2, 3]
)
def test_damage_is_one_line(tmp_path, rows):
  fields = write(tmp_path, rows)
  with pytest.raises(ValueError, match="results.json cannot be read"):
    quickstarts.read_quickstart(tmp_path, fields, "q")
