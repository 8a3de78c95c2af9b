"""Whole pages: which sections they have, and where they are written."""

import json
import pathlib

import pytest
from report_pages import Checker, charts, make_outcomes, write_run

from mpt_jax.judgement import texts as example_texts
from mpt_jax.report import writing


def headings(page, level="h2"):
  return [part.split(f"</{level}>")[0] for part in page.split(f"<{level}>")[1:]]


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
  """Answers with texts and parameters, and a run of training."""
  folder = tmp_path_factory.mktemp("arena")
  make_outcomes().save(folder)
  texts = {"near": [f"<b>{i}</b>" for i in range(20)]}
  example_texts.write(folder, texts)
  make_outcomes(shots=(16,)).save(folder / "views" / "decode")
  about = {
    "title": "The <arena>",
    "methods": {
      m: {"parameters": 5 + i} for i, m in enumerate(("mpt", "spot"))
    },
    "data": {"near": "a <package>: MIT"},
  }
  (folder / "about.json").write_text(json.dumps(about))
  write_run(folder / "adapt")
  return folder


@pytest.fixture(scope="module")
def page(arena):
  path = writing.write_report([arena], num_samples=50)
  assert path == arena / "report.html"
  return path.read_text(encoding="utf-8")


def test_every_section_has_its_place(page):
  assert headings(page) == [
    "Result",
    "Is it better?",
    "Table",
    "More examples",
    "Trained parameters",
    "Ablations",
    "Other views",
    "Learning curves",
    "Speed of learning",
    "Answers, right and wrong",
    "Confusion by class",
    "What was run",
  ]
  assert headings(page, "h1") == ["The &lt;arena&gt;"]


def test_the_page_is_sound(page):
  checker = Checker(page)
  assert len(checker.ids) == len(set(checker.ids))
  inner = {link[1:] for link in checker.links}
  assert all(link.startswith("#") for link in checker.links)
  assert inner <= set(checker.ids)
  assert len(charts(page)) > 10
  for text in ("&lt;b&gt;0&lt;/b&gt;", "&lt;i&gt;no&lt;/i&gt;", "&lt;package"):
    assert text in page
  assert "<b>0</b>" not in page and "<i>no" not in page


def test_the_same_files_make_the_same_page(arena, page, tmp_path):
  path = writing.write_report([arena], tmp_path / "p.html", num_samples=50)
  assert path.read_text(encoding="utf-8") == page


def test_the_table_has_the_scores_of_the_answers(arena, page):
  outcomes = make_outcomes()
  rows = [r for r in outcomes.rows() if (r["method"], r["k"]) == ("spot", 16)]
  table = next(t for t in Checker(page).tables if t[0][0] == "method")
  assert [head.partition("|")[0] for head in table[0]] == [
    *("method", "mean", "near", "far")
  ]
  (found,) = (
    r
    for r in table[table.index(["k = 16 per class"]) :]
    if r[0].startswith("SPoT")
  )
  for column, target in ((2, "near"), (3, "far")):
    values = [100 * r["score"] for r in rows if r["target"] == target]
    assert found[column].startswith(f"{sum(values) / 3:.1f}|")


def test_several_runs_stand_beside_each_other(arena, tmp_path, monkeypatch):
  one = write_run(tmp_path / "one", optimizer={"learning_rate": 0.5})
  two = write_run(tmp_path / "two", [])
  monkeypatch.chdir(tmp_path)
  path = writing.write_report([one, two])
  assert path == pathlib.Path("report.html")
  page = path.read_text()
  Checker(page)
  found = headings(page)
  assert found[:2] == ["Side by side", "Learning curves together"]
  assert '<h2 class="run">one</h2>' in page
  assert "two has no measurements yet." in page
  assert "<h1>2 runs</h1>" in page


def test_several_kinds_of_results_name_their_sections(tmp_path):
  from result_rows import source_rows, target_rows

  fields = {"rows": target_rows() + source_rows(), "meta": {}}
  (tmp_path / "results.json").write_text(json.dumps(fields))
  page = writing.write_report([tmp_path]).read_text()
  assert headings(page)[:2] == ["Target tasks: result", "Target tasks: table"]
  assert "Source tasks: table" in headings(page)


def test_shots_that_nobody_has_are_refused(arena):
  with pytest.raises(ValueError, match="scores of 8 shots; there are 4, 16"):
    writing.write_report([arena], shots=8, num_samples=10)


def test_an_empty_run_has_a_page(tmp_path):
  page = writing.write_report([write_run(tmp_path, [])]).read_text()
  assert headings(page) == ["What was run"] and "<nav" not in page
