"""The tables of a contest, by hand."""

from mpt_jax.judgement.outcomes import Outcomes, Target, Trial
from mpt_jax.sweeps import standings


def make_outcomes():
  outcomes = Outcomes(
    {
      "near": Target(labels=("a", "b"), answers=[0, 0, 1, 1], related=True),
      "far": Target(labels=("a", "b", "c"), answers=[0, 1, 2]),
    }
  )
  for target, answers in (("near", [0] * 4), ("far", [1] * 3)):
    outcomes.add(Trial("majority", target, None, None), answers)
  # Three of four, and all four.
  outcomes.add(Trial("mpt", "near", 4, 0), [0, 0, 1, 0])
  outcomes.add(Trial("mpt", "near", 4, 1), [0, 0, 1, 1])
  # One of three.
  outcomes.add(Trial("mpt", "far", 4, 0), [0, 2, 1])
  outcomes.add(Trial("spot", "near", 4, 0), [0, 1, 1, 0])
  outcomes.add(Trial("mpt", "near", None, 0), [1, 0, 1, 1])
  return outcomes


def test_means_by_hand():
  text = standings.markdown(make_outcomes()).splitlines()
  few = text.index("## k = 4")
  assert text[few + 2 : few + 7] == [
    "| method | near | far | related | others |",
    "| --- | ---: | ---: | ---: | ---: |",
    # Always the same answer: one of two classes, one of three.
    "| majority | 50.0! | 33.3! | 50.0 | 33.3 |",
    # 75 and 100 differ by 25 from each other: 25 / 1.41421 = 17.68.
    "| mpt | 87.5 ± 17.7 | 33.3! | 87.5 | 33.3 |",
    # SPoT has no score on "far", so no mean over the others.
    "| spot | 50.0! | – | 50.0 | – |",
  ]
  everything = text.index("## all examples")
  assert text[everything + 5] == "| mpt | 75.0 | – | 75.0 | – |"
  assert not any("spot" in line for line in text[everything:])


def test_rows_are_a_json_list(tmp_path):
  import json

  outcomes = make_outcomes()
  text = standings.as_lines(outcomes.rows())
  assert json.loads(text) == outcomes.rows()
  assert len(text.splitlines()) == len(outcomes.predictions) + 2
