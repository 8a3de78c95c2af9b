"""What was run, and runs beside each other."""

import dataclasses

from report_pages import Checker, make_results

from mpt_jax.report.material import Curve, Material, Training
from mpt_jax.report.sections import run


def material(name="a", **changes):
  return Material(**{"name": name, "kind": "fit", "title": name, **changes})


def training(**settings):
  return Training(
    name="x",
    metric="accuracy",
    loss=Curve(name="mean", method="", points=((1, 2.0), (2, 0.125))),
    score=Curve(name="mean", method="", points=((1, 0.75), (2, 0.5))),
    steps=2,
    total_steps=4,
    settings=settings,
  )


def test_facts_are_words_and_the_version_comes_first():
  one = material(
    facts=(("T5", "<t5>"), ("prompt_length", 1200), ("version", "mpt 1")),
    data=(("spam", "a <package>: MIT"),),
    config="X = '<x>'",
    commands=("mpt predict --prompts <run>", "mpt eval"),
  )
  made = run.what_was_run(one)
  Checker(made.body)
  assert made.body.index("Version") < made.body.index("T5")
  for text in (
    *("&lt;t5&gt;", "Prompt length", "1,200", "a &lt;package&gt;: MIT"),
    *("X = &#39;&lt;x&gt;&#39;", "mpt predict --prompts &lt;run&gt;\nmpt eval"),
  ):
    assert text in made.body
  assert run.what_was_run(material()) is None


def test_values_in_words():
  assert run.plain({"a_b": [1, 2.5], "c": None, "d": True}) == (
    "a b 1, 2.5, c none, d True"
  )


def test_a_row_for_each_run():
  results = make_results()
  other = dataclasses.replace(results, metric="f1")
  made = run.side_by_side(
    [
      material("one", results=(results,), trainings=(training(rate=0.5, b=1),)),
      material("two", results=(other,), trainings=(training(rate=0.25, b=1),)),
      material("three"),
    ]
  )
  (table,) = Checker(made.body).tables
  one, two, three = (dict(zip(table[0], row, strict=True)) for row in table[1:])
  assert one["run"] == "one" and one["MPT, accuracy"] == "71.5"
  assert two["MPT, accuracy"] == "–" and two["MPT, f1"] == "71.5"
  assert one["steps"] == "2 of 4" and one["last loss"] == "0.125"
  assert one["best score"] == "75.0 (step 1)"
  # Only what differs is shown.
  assert (one["rate"], two["rate"], three["rate"]) == ("0.5", "0.25", "–")
  assert "b" not in one


def test_many_different_settings_are_named():
  runs = [
    material(str(i), trainings=(training(**{f"s{j}": i for j in range(10)}),))
    for i in range(2)
  ]
  made = run.side_by_side(runs)
  (table,) = Checker(made.body).tables
  assert "s7" in table[0] and "s8" not in table[0]
  assert "differ in these settings too: s8, s9." in made.body
