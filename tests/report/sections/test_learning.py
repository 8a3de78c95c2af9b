"""Learning curves with names, and the steps until most of the gain."""

import pytest
from report_pages import Checker, charts, labels, texts

from mpt_jax.report.material import Curve, Training
from mpt_jax.report.sections import learning


def curve(name, *values, method=""):
  points = tuple((10 * (i + 1), v) for i, v in enumerate(values))
  return Curve(name=name, method=method, points=points)


def training(name="run", **changes):
  values = dict(
    name=name,
    metric="accuracy",
    loss=curve("mean", 2.0, 1.0),
    score=curve("mean", 0.5, 0.75),
  )
  return Training(**{**values, **changes})


def test_a_run_has_its_loss_and_its_score():
  made = learning.learning_curves([training()])
  assert labels(made.body) == [
    "Line chart: Training loss by step: mean 2 (step 10) to 1 (step 20).",
    "Line chart: Accuracy by step: mean 50 (step 10) to 75 (step 20).",
  ]
  assert "mean 50 (step 10) to 75 (step 20)." in made.body
  assert "<h3>" not in made.body  # One run needs no name.
  assert (
    "<h3>a</h3>"
    in learning.learning_curves([training("a"), training("b")]).body
  )


def test_a_few_slots_have_names_and_many_are_thin():
  slots = tuple(curve(f"s{i}", 2.0, i / 10) for i in range(3))
  made = learning.learning_curves([training(losses=slots)])
  assert {"s0", "s1", "s2"} <= set(texts(charts(made.body)[0]))
  assert "mean" not in texts(charts(made.body)[0])
  assert "Thin lines" not in made.body
  slots = tuple(curve(f"s{i}", 2.0, i / 10) for i in range(12))
  made = learning.learning_curves([training(losses=slots)])
  found = texts(charts(made.body)[0])
  assert "mean" in found and "s0" not in found
  assert "Thin lines are single prompts." in made.body


def test_methods_are_means_of_their_slots():
  slots = (
    curve("a_mpt", 0.5, 1.0, method="mpt"),
    curve("b_mpt", 0.5, 0.5, method="mpt"),
    curve("a_spot", 0.25, 0.25, method="spot"),
  )
  made = learning.learning_curves([training(scores=slots)])
  assert labels(made.body)[1] == (
    "Line chart: Accuracy by step: MPT 50 (step 10) to 75 (step 20); SPoT 25"
    " (step 10) to 25 (step 20)."
  )
  xml = charts(made.body)[1].toxml()
  assert "var(--c0)" in xml and "var(--c2)" in xml


def test_runs_together():
  made = learning.curves_together([training("one"), training("two <b>")])
  found = texts(charts(made.body)[0])
  assert {"one", "two <b>"} <= set(found)
  empty = training(loss=curve("mean"), score=curve("mean"))
  assert learning.curves_together([empty]) is None
  assert learning.learning_curves([empty]) is None
  assert learning.learning_curves([]) is None


@pytest.mark.parametrize(
  ("values", "step"),
  [
    # 95 % of the gain of .4 is .38, so the score has to be .88.
    ([0.5, 0.87, 0.88, 0.9], 30),
    ([0.5, 0.9, 0.7, 0.9], 20),
    ([0.5, 0.4], None),
    ([0.5, 0.5], None),
    ([0.5], None),
  ],
)
def test_steps_until_95_percent_of_the_gain(values, step):
  assert learning.steps_to_gain(curve("x", *values).points) == step


def test_a_table_of_gains():
  slots = (
    curve("a", 0.1, 0.2, 0.25, method="mpt"),
    curve("b", 0.3, 0.2, 0.1, method="spot"),
  )
  one = training(score=curve("mean", 0.2, 0.2, 0.2), scores=slots)
  made = learning.gains([one])
  (table,) = Checker(made.body).tables
  assert table[1:] == [
    ["MPT", "30", "+15.0", "10.0 (step 10)", "25.0 (step 30)"],
    ["SPoT", "–", "−20.0", "30.0 (step 10)", "10.0 (step 30)"],
  ]
  assert "–: the last score is not above the first one." in made.body
  # Two evaluations say nothing about speed.
  assert learning.gains([training()]) is None
