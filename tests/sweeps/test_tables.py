"""Inconsistent tables are refused."""

import pytest
from sweep_tables import make_table

from mpt_jax.sweeps import tables

WRONG = {
  "twice": (
    dict(
      runs=[
        tables.Run(name="a", gin_file="x"),
        tables.Run(name="a", gin_file="y"),
      ],
      rows=(),
    ),
    "two runs are called 'a'",
  ),
  "unknown run": (
    dict(rows=(tables.Row(method="m", run="adap"),)),
    "no run 'adap'; there are teach, adapt",
  ),
  "unknown heading": (
    dict(rows=(tables.Row(method="m", paper={"MNLY": 1.0}),)),
    "paper has MNLY, but the headings are RTE, CoLA, GLUE",
  ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_inconsistent_table_is_refused(what):
  changes, expected = WRONG[what]
  with pytest.raises(ValueError, match=expected):
    make_table(**changes)
