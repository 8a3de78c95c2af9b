"""The file of answers: what it takes, what it refuses, what it is read from."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from mpt_jax.judgement.outcomes import FILE, Outcomes, Target, Trial


def make_outcomes():
  outcomes = Outcomes(
    {
      "spam": Target(labels=("ham", "spam"), answers=[0, 0, 0, 1]),
      "kind": Target(labels=("a", "b", "c"), answers=[0, 1, 2], related=True),
    }
  )
  outcomes.add(Trial("mpt", "spam", 16, 0), [0, 1, 0, 1])
  outcomes.add(Trial("mpt", "kind", 16, 0), [0, 1, -1])
  outcomes.add(Trial("majority", "spam", None, None), [0, 0, 0, 0])
  return outcomes


def test_scores_by_hand():
  outcomes = make_outcomes()
  # Two of three hams and the one spam are right: (2/3 + 1) / 2.
  assert outcomes.score(Trial("mpt", "spam", 16, 0)) == pytest.approx(5 / 6)
  # An answer without a label is wrong: (1 + 1 + 0) / 3.
  assert outcomes.score(Trial("mpt", "kind", 16, 0)) == pytest.approx(2 / 3)
  assert outcomes.rows()[1] == {
    "method": "mpt",
    "k": 16,
    "target": "kind",
    "related": True,
    "seed": 0,
    "score": pytest.approx(2 / 3),
    "examples": 3,
  }


def test_scores_are_those_of_scikit_learn():
  rng = np.random.default_rng(0)
  answers = rng.integers(4, size=200)
  outcomes = Outcomes({"t": Target(labels="abcd", answers=answers)})
  trial = Trial("m", "t", None, None)
  outcomes.add(trial, rng.integers(4, size=200))
  expected = balanced_accuracy_score(answers, outcomes.predictions[trial])
  assert outcomes.score(trial) == pytest.approx(expected)


def test_a_trial_that_always_answers_the_same():
  outcomes = make_outcomes()
  assert outcomes.only_answer(Trial("majority", "spam", None, None)) == "ham"
  assert outcomes.only_answer(Trial("mpt", "spam", 16, 0)) is None
  outcomes.add(Trial("x", "spam", 4, 0), [-1] * 4)
  assert outcomes.only_answer(Trial("x", "spam", 4, 0)) == "(no label)"


def test_a_file_gives_back_what_was_saved(tmp_path):
  outcomes = make_outcomes()
  outcomes.save(tmp_path)
  for path in (tmp_path, tmp_path / FILE):
    again = Outcomes.load(path)
    assert again.rows() == outcomes.rows()
    assert again.methods == ["mpt", "majority"]
    assert again.targets["kind"].labels == ("a", "b", "c")


def test_seeds_and_shots():
  outcomes = make_outcomes()
  assert outcomes.shots == [16]
  assert outcomes.seeds("mpt", "spam", 16) == {0}
  assert outcomes.seeds("mpt", "spam", 4) == set()
  outcomes.add(Trial("mpt", "spam", None, 0), [0] * 4)
  outcomes.add(Trial("mpt", "spam", 4, 2), [0] * 4)
  outcomes.add(Trial("mpt", "spam", 4, 1), [0] * 4)
  assert outcomes.shots == [4, 16, None]
  assert outcomes.seeds("mpt", "spam", 4) == {1, 2}


def test_damage_is_noticed(tmp_path):
  make_outcomes().save(tmp_path)
  path = tmp_path / FILE
  path.write_text(path.read_text().replace("[0,1,0,1]", "[0,0,0,1]"))
  with pytest.raises(ValueError, match="outcomes.json is damaged"):
    Outcomes.load(path)
  path.write_text(json.dumps({"targets": {}}))
  with pytest.raises(ValueError, match="does not describe .*'trials'"):
    Outcomes.load(path)
  with pytest.raises(FileNotFoundError, match="nowhere"):
    Outcomes.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
  "trial, predictions, expected",
  [
    (Trial("mpt", "spam", 16, 0), [0] * 4, "there already"),
    (Trial("mpt", "span", 16, 0), [0] * 4, "unknown target.*spam, kind"),
    (Trial("mpt", "spam", 16, 1), [0] * 3, "must have 4 answers"),
    (Trial("mpt", "spam", 16, 1), [0, 0, 0, 2], r"must be in \[-1, 2\)"),
  ],
)
def test_answers_that_do_not_fit(trial, predictions, expected):
  with pytest.raises(ValueError, match=expected):
    make_outcomes().add(trial, predictions)


def test_answers_outside_the_labels():
  with pytest.raises(ValueError, match=r"\[0, 2\).*got 0 to 2"):
    Target(labels=("a", "b"), answers=[0, 2])
  with pytest.raises(ValueError, match="needs test examples"):
    Target(labels=("a", "b"), answers=[])


def test_answers_of_several_files_become_one():
  one, other = make_outcomes(), Outcomes({})
  spam = one.targets["spam"]
  other.targets["spam"] = Target(labels=spam.labels, answers=spam.answers)
  other.add(Trial("spot", "spam", 16, 0), [1, 1, 1, 1])
  one.merge(other)
  assert one.score(Trial("spot", "spam", 16, 0)) == 0.5
  assert one.methods == ["mpt", "majority", "spot"]
  with pytest.raises(ValueError, match="are there already"):
    one.merge(other)
  for changes in (dict(labels=("no", "yes")), dict(answers=[0, 0, 1, 1])):
    values = dict(labels=spam.labels, answers=spam.answers)
    others = Outcomes({"spam": Target(**{**values, **changes})})
    with pytest.raises(ValueError, match="other labels or test examples"):
      one.merge(others)
