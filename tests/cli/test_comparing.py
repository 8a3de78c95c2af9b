"""`mpt compare`: sentences from a file of answers, and its mistakes."""

import numpy as np
import pytest
from commands import fails, run

from mpt_jax.judgement.outcomes import Outcomes, Target, Trial


@pytest.fixture
def folder(tmp_path):
  """Two targets and four draws; "good" is never wrong, "poor" in one half."""
  rng = np.random.default_rng(0)
  answers = [0, 1] * 50
  outcomes = Outcomes(
    {
      "near": Target(labels=("a", "b"), answers=answers, related=True),
      "far": Target(labels=("a", "b"), answers=answers),
    }
  )
  for name in outcomes.targets:
    outcomes.add(Trial("majority", name, None, None), [0] * 100)
    for seed in range(4):
      poor = np.where(rng.random(100) < 0.5, answers, 1 - np.array(answers))
      outcomes.add(Trial("good", name, 16, seed), answers)
      outcomes.add(Trial("poor", name, 16, seed), poor)
  outcomes.save(tmp_path)
  return tmp_path


def test_a_sentence_for_each_pair(folder, capsys):
  assert run("compare", folder, "--samples", "200") == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "k = 16 per class"
  assert lines[1].startswith("  good is better than majority by 50.0 points")
  assert lines[2].startswith("  majority and poor differ by")
  assert lines[3].startswith("  good is better than poor by")
  # Eight pairs of trials: two targets with four draws each.
  assert "targets: 2, pairs of trials: 8, test examples: 200" in lines[4]


def test_methods_are_compared_where_they_were_tried(folder, capsys):
  """With k = 4 "good" alone has answers, beside the majority's."""
  outcomes = Outcomes.load(folder)
  for name, target in outcomes.targets.items():
    outcomes.add(Trial("good", name, 4, 0), target.answers)
  outcomes.save(folder)
  assert run("compare", folder, "--samples", "200") == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "k = 4 per class"
  assert lines[1].startswith("  good is better than majority")
  assert lines[3] == "k = 16 per class" and len(lines) == 8


def test_one_method_on_related_targets(folder, capsys):
  options = ("--method", "good", "--related", "--samples", "200")
  assert run("compare", folder / "outcomes.json", *options) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 4 and "targets: 1, pairs of trials: 4" in lines[3]
  assert all("good is better than" in line for line in lines[1:3])


def test_mistakes_are_one_line(folder, tmp_path, capsys):
  message = "'best' is none of majority, good, poor"
  fails(capsys, message, "compare", folder, "--method", "best")
  fails(capsys, "no file", "compare", tmp_path / "nowhere.json")
