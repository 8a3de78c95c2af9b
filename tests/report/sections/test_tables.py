"""The table has the numbers of the data, and marks what they hide."""

import dataclasses

from report_pages import Checker, make_results, scores

from mpt_jax.report import estimates
from mpt_jax.report.material import MEAN, Cell
from mpt_jax.report.sections import tables


def rows_of(results):
  section = tables.score_table(results)
  (table,) = Checker(section.body).tables
  return table, section.body


def test_the_numbers_are_those_of_the_data():
  results = make_results(parameters={"mpt": 77_668})
  table, _ = rows_of(results)
  assert table[0] == ["method", "mean", "a", "b"]
  # Four methods for each number of shots, below a heading.
  assert [row[0] for row in table[1:]] == [
    *("k = 4 per class", "MPT|77,668 trained", "MPT, x", "SPoT", "majority"),
    *("k = 16 per class", "MPT|77,668 trained", "MPT, x", "SPoT", "majority"),
  ]
  row = table[7]
  for text, target in zip(row[1:], (MEAN, "a", "b"), strict=True):
    cell = results.cells["mpt", target, 16]
    low, high = cell.interval
    assert text == f"{cell.mean:.1f}|{low:.1f} to {high:.1f}"
  assert table[10] == ["majority", "50.0", "50.0", "50.0"]


def test_mpt_is_the_first_row_and_stands_out():
  section = tables.score_table(make_results())
  assert section.body.count('<tr class="main">') == 2
  assert section.body.index("MPT") < section.body.index("SPoT")
  # The best mean of each column is bold.
  assert "<b>71.5</b>" in section.body and "<b>66.5</b>" in section.body
  assert "<b>69.5</b>" not in section.body


def test_the_score_of_the_majority_is_marked():
  found = scores("mpt", [50.0, 50.0]) + scores("spot", [50.0, 51.0])
  found += scores("majority", [50.0, 50.0])
  results = estimates.from_scores(found, title="x", metric="m")
  table, body = rows_of(results)
  assert [row[1] for row in table[2:]] == ["50.0=", "50.5", "50.0"]
  assert "=: the score of the majority" in body


def test_draws_that_give_one_label_are_marked():
  results = make_results()
  cells = dict(results.cells)
  cells["spot", "a", 16] = Cell(mean=55.0, constant=1)
  table, body = rows_of(dataclasses.replace(results, cells=cells))
  assert table[9][2] == "55.0!"
  assert "!: some draws give one label to every example." in body


def test_missing_and_published_numbers():
  results = make_results()
  cells = {k: v for k, v in results.cells.items() if k != ("spot", "a", 16)}
  results = dataclasses.replace(
    results,
    cells=cells,
    published={("mpt", "a"): 79.4, ("mpt", MEAN): 85.6},
    examples={"a": 1200},
    related=frozenset({"a"}),
    average="GLUE",
  )
  table, body = rows_of(results)
  assert table[0] == ["method", "GLUE", "a|1,200 tested, has a relative", "b"]
  assert ["SPoT", "–"] == [table[10][0], table[10][2]]
  assert table[8] == ["MPT|published", "85.6", "79.4", "–"]
  assert body.count("published") == 2


def test_texts_of_users_are_escaped():
  found = scores("<b>x</b>", [1.0], target="<i>_t</i>")
  results = estimates.from_scores(found, title="<u>", metric="m")
  table, body = rows_of(results)
  assert table[0][1] == "<i>_t</i>" and table[2][0] == "<b>x</b>"
  assert "<i>" not in body and "<u>" not in body


def test_other_units():
  results = estimates.from_scores(
    scores("mpt", [0.5]), title="x", metric="pearson", digits=3
  )
  table, body = rows_of(results)
  assert table[2][1] == "0.500" and "percent" not in body
