"""Summaries, paired differences, verdicts and tables of the quickstart."""

import io

import pytest
import rich.console
from result_rows import row, source_rows, target_rows

from mpt_jax.quickstart import statistics
from mpt_jax.quickstart.statistics import (
  print_tables,
  summarize,
)


def printed(rows):
  console = rich.console.Console(file=io.StringIO(), width=140)
  print_tables(rows, console)
  return console.file.getvalue()


def test_summarize_by_hand():
  rows = [row("mpt", v, seed=s) for s, v in enumerate((0.6, 0.7, 0.8))]
  rows += [row("spot", 0.6), row("mpt", 0.1, metric="accuracy")]
  summary = summarize(rows)["adapt", "a", 16]
  # Deviations -0.1, 0, 0.1: variance 0.02 / (3 - 1) = 0.01.
  assert summary["mpt"].mean == pytest.approx(0.7)
  assert summary["mpt"].std == pytest.approx(0.1)
  assert summary["mpt"].num_seeds == 3
  assert summary["mpt"].num_examples == 100
  assert summary["spot"].std is None


def test_summarize_refuses_the_same_run_twice():
  with pytest.raises(ValueError, match="two rows"):
    summarize([row("mpt", 0.5), row("mpt", 0.6)])


def test_paired_difference_by_hand():
  # By pair 0.1, 0.3; seed 2 of MPT has no partner.
  rows = target_rows(mpt=(0.8, 0.9, 0.1), tasks=("a",))
  found = statistics.paired_difference(rows, "mpt", "prompt_tuning")
  assert found.mean == pytest.approx(0.2)
  # Sample standard deviation sqrt(0.02), over sqrt(2): 0.1.
  assert found.standard_error == pytest.approx(0.1)
  assert (found.num_pairs, found.ahead, found.total) == (2, 1, 1)
  # The 97.5 % quantile of Student's t with one degree of freedom is 12.706.
  assert found.interval == pytest.approx((0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)


@pytest.mark.parametrize(
  "mpt, tuning, expected",
  [
    ((0.8, 0.81, 0.82), (0.7, 0.7, 0.7), "MPT is better here"),
    ((0.7, 0.7, 0.7), (0.8, 0.81, 0.82), "does not win, prompt tuning is"),
    ((0.7, 0.9, 0.7), (0.8, 0.7, 0.8), "does not win, the two are not"),
    ((0.7,), (), "nothing to compare"),
  ],
)
def test_verdict_claims_no_more_than_the_numbers_bear(mpt, tuning, expected):
  assert expected in statistics.verdict(target_rows(mpt, tuning))


def test_verdict_of_one_pair_concludes_nothing():
  assert "no conclusion" in statistics.verdict(
    [
      row("mpt", 0.9),
      row("prompt_tuning", 0.1),
    ]
  )


def test_bold_only_where_ahead_by_more_than_the_standard_error():
  def bold(table):
    return [[t for t, b in line if b] for line in table.rows]

  # Differences 0.1, 0.3: mean 0.2, standard error 0.1.
  assert bold(statistics.target_table(target_rows())) == [["85.0 ± 7.1"]] * 3
  # Differences 0.4, -0.2: mean 0.1, standard error 0.3.
  close = target_rows(mpt=(0.9, 0.7), tuning=(0.5, 0.9), tasks=("a",))
  assert bold(statistics.target_table(close)) == [[]]
  # SPoT is level with MPT, so no method is ahead of all others.
  level = target_rows(tasks=("a",))
  level += [row("spot", 0.8), row("spot", 0.9, seed=1)]
  assert bold(statistics.target_table(level)) == [[]]


def test_target_table_repeats_values_that_use_no_examples():
  rows = target_rows(tasks=("a",)) + [row("mpt", 0.9, shots=64)]
  table = statistics.target_table(rows)
  assert table.headers[2:4] == ["majority", "no prompt"]
  texts = [[text for text, _ in line] for line in table.rows]
  assert [line[:4] for line in texts] == [
    ["a", "16", "50.0", "40.0"],
    ["a", "64", "50.0", "40.0"],
  ]
  assert texts[1][4:] == ["–", "90.0 ± –", "100"]


def test_source_table_states_the_recovered_share():
  table = statistics.source_table(source_rows())
  # (0.8 - 0.5) / 0.4 and (0.7 - 0.5) / 0.4.
  assert "teachers recover 75% and students 50%" in table.notes[0]


def test_tables_of_partial_results_print():
  assert "no results" in printed([])
  assert "student" in printed(source_rows())
  assert "90.0±–" in printed([row("mpt", 0.9)])
  assert "[bold]" in printed([row("mpt", 0.5, task="[bold]")])
  assert "MPT does not win" in printed(target_rows((0.1, 0.2)))


def test_tables_fit_in_a_terminal():
  rows = target_rows(tasks=("wordnet_category", "vader_amazon"))
  for task in ("wordnet_category", "vader_amazon"):
    for method in ("spot", "tfidf_lr"):
      rows += [row(method, 0.5 + 0.1 * s, task, seed=s) for s in (0, 1)]
  console = rich.console.Console(file=io.StringIO(), width=80)
  print_tables(rows, console)
  text = console.file.getvalue()
  assert "wordnet_category" in text and "85.0±7.1" in text
  assert "…" not in text and "majority" not in text
