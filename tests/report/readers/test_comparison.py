"""Reads the answers of methods, and the texts beside them."""

import numpy as np
import pytest
from report_pages import make_outcomes

from mpt_jax.judgement import texts as example_texts
from mpt_jax.judgement.outcomes import Trial
from mpt_jax.report.readers import comparison


def read(folder, about=None, shots=None):
  return comparison.read_comparison(folder, "x", about or {}, shots, 50)


@pytest.fixture
def folder(tmp_path):
  make_outcomes().save(tmp_path)
  return tmp_path


def write_texts(folder, size=20):
  texts = {
    target: [f"{target} text {i}" for i in range(size)]
    for target in ("near", "far", "other")
  }
  example_texts.write(folder, texts)


def test_without_texts_there_are_no_answers(folder):
  material = read(folder)
  assert material.answers == ()
  assert [c.target for c in material.confusions] == ["near", "far"]
  assert material.results[0].main == "mpt"


def test_answers_are_those_of_the_first_draw(folder):
  write_texts(folder)
  outcomes = make_outcomes()
  known = outcomes.targets["near"]
  predictions = outcomes.predictions[Trial("mpt", "near", 16, 0)]
  near = read(folder).answers[0]
  assert near.target == "near"
  assert near.method == "MPT, k = 16 per class, draw 0"
  right = np.flatnonzero(predictions == known.answers)[:10]
  wrong = np.flatnonzero(predictions != known.answers)[:10]
  assert [a.text for a in near.right] == [f"near text {i}" for i in right]
  assert [a.text for a in near.wrong] == [f"near text {i}" for i in wrong]
  for answer, i in zip(near.wrong, wrong, strict=True):
    assert answer.truth == known.labels[known.answers[i]]
    assert answer.answer == known.labels[predictions[i]] != answer.truth


@pytest.mark.parametrize("size", [3, 30])
def test_there_may_be_fewer_texts_or_more(folder, size):
  write_texts(folder, size)
  material = read(folder)
  assert len(material.answers) == 2
  for one in material.answers:
    shown = one.right + one.wrong
    numbers = [int(answer.text.split()[-1]) for answer in shown]
    assert len(shown) >= 3 and max(numbers) < min(size, 20)


def test_the_confusion_is_of_all_draws(folder):
  outcomes = make_outcomes()
  known = outcomes.targets["far"]
  expected = np.zeros((2, 2), int)
  for seed in range(3):
    predictions = outcomes.predictions[Trial("mpt", "far", 4, seed)]
    for truth, answer in zip(known.answers, predictions, strict=True):
      expected[truth, answer] += 1
  far = read(folder, shots=4).confusions[1]
  assert far.counts == tuple(map(tuple, expected.tolist()))
  assert far.method == "MPT, k = 4 per class, 3 draws together"
  assert far.answers == far.labels


def test_answers_without_a_label(folder):
  outcomes = make_outcomes(shots=(16,))
  predictions = outcomes.predictions[Trial("mpt", "far", 16, 0)]
  predictions[:3] = -1
  outcomes.save(folder)
  write_texts(folder)
  material = read(folder)
  assert material.confusions[1].answers[-1] == "(no label)"
  assert sum(row[-1] for row in material.confusions[1].counts) == 3
  assert material.answers[1].wrong[0].answer == "(no label)"


def test_names_and_parameters_are_taken(folder):
  about = {"methods": {"mpt": {"name": "ours", "parameters": 7}, "spot": {}}}
  (results,) = read(folder, about).results
  assert results.name("mpt") == "ours" and results.name("spot") == "SPoT"
  assert results.parameters == {"mpt": 7}
  assert results.verdicts[0].sentences[0].startswith("ours and SPoT differ by")


def test_other_views_are_read_beside_it(folder):
  for name in ("steps_100", "steps_30", "decode"):
    make_outcomes(shots=(16,)).save(folder / "views" / name)
  (folder / "views" / "empty").mkdir()
  material = read(folder)
  assert [v.title for v in material.views] == [
    "decode",
    "steps_30",
    "steps_100",
  ]
  assert material.views[0].cells["mpt", "far", 16].mean > 50
  assert len(material.results) == 1


def test_damaged_texts_are_one_line(folder):
  write_texts(folder)
  path = folder / "examples.jsonl"
  path.write_text(path.read_text().replace("near text 1", "near text 9", 1))
  with pytest.raises(ValueError, match="examples.jsonl, line 2: damaged"):
    read(folder)
