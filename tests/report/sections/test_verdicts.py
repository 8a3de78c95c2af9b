"""Charts and sentences about pairs of methods."""

import dataclasses

from report_pages import Checker, labels, make_outcomes, make_results

from mpt_jax.report import judging
from mpt_jax.report.material import Verdicts
from mpt_jax.report.sections import verdicts


def test_a_chart_for_each_set_and_a_sentence_for_each_pair():
  results = judging.from_outcomes(
    make_outcomes(shots=(16,)), title="x", num_samples=100
  )
  made = verdicts.verdict_list(results)
  Checker(made.body)
  told = labels(made.body)
  # All targets, those with a relative, those without.
  assert len(told) == 3
  comparison = results.verdicts[0].comparisons[0]
  mean = f"{comparison.mean:+.1f}"
  assert f"MPT less SPoT {mean}" in told[0]
  assert "targets without a relative" in told[2]
  # Sentences are about all targets alone.
  assert made.body.count("<li>") == 2
  for sentence in results.verdicts[0].sentences:
    assert sentence in made.body
  assert "Holm" in made.body


def test_sentences_alone():
  one = Verdicts(title="", sentences=("a <b> is better.",))
  results = dataclasses.replace(make_results(), verdicts=(one,))
  made = verdicts.verdict_list(results)
  assert "a &lt;b&gt; is better." in made.body
  assert "<svg" not in made.body and "Holm" not in made.body


def test_nothing_was_compared():
  assert verdicts.verdict_list(make_results()) is None
