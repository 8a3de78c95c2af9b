"""Reads the folder of `mpt fit`."""

import dataclasses
import json

import pytest
from fit_scores import SCORES

from mpt_jax.report.readers import fits


def write(folder, scores=SCORES, **fields):
  made = {"tasks": {scores.task: scores.to_json()}, **fields}
  (folder / "scores.json").write_text(json.dumps(made))
  return fits.read_fit(folder, "x")


def test_the_score_stands_beside_the_baselines(tmp_path):
  task = SCORES.task
  material = write(
    tmp_path,
    verdicts={task: "It is better."},
    best_steps={task: 20},
    facts={"T5 parameters": 5},
    commands=["mpt eval"],
  )
  (results,) = material.results
  cell = results.cells["prompt", task, None]
  assert cell.mean == 75.0 and cell.interval == (70.0, 80.0)
  assert results.cells["tfidf", task, None].mean == 70.0
  assert results.cells["majority", task, None].mean == 50.0
  assert results.name("prompt") == "this prompt" and results.main == "prompt"
  assert "f1 macro 0.500" in results.notes[0]
  assert results.how == "95 % interval over the 40 rows: Wilson."
  assert results.verdicts[0].sentences == ("It is better.",)
  assert "the prompt of step 20 is kept" in material.notes[0]
  assert material.facts == (("T5 parameters", 5),)
  assert material.commands == ("mpt eval",)


def test_answers_and_confusion(tmp_path):
  right = [{"input": "y", "target": "z", "prediction": "z", "probability": 1}]
  material = write(tmp_path, dataclasses.replace(SCORES, right=right))
  (answers,), (confusion,) = material.answers, material.confusions
  assert [a.text for a in answers.right] == ["y"]
  assert answers.wrong[0].probability == 0.9
  assert answers.order == "the most confident ones"
  assert confusion.counts == ((3, 1), (0, 4))


def test_a_perfect_score_has_right_answers_alone(tmp_path):
  right = [{"input": "y", "target": "z", "prediction": "z"}]
  scores = dataclasses.replace(SCORES, right=right, mistakes=[])
  (answers,) = write(tmp_path, scores).answers
  assert len(answers.right) == 1 and answers.wrong == ()


def test_other_metrics_keep_their_unit(tmp_path):
  scores = dataclasses.replace(
    SCORES, metric="pearson", labels=None, confusion=None, split="validation"
  )
  material = write(tmp_path, scores)
  (results,) = material.results
  assert results.digits == 3 and results.form(0.75) == "0.750"
  assert results.cells["prompt", SCORES.task, None].mean == 0.75
  assert "chose the best step too" in results.notes[-1]
  assert material.confusions == ()


def test_an_unfinished_fit_says_so(tmp_path):
  assert not fits.is_fit(tmp_path)
  (tmp_path / "fit.json").write_text("{}")
  assert fits.is_fit(tmp_path)
  material = fits.read_fit(tmp_path, "x")
  assert material.notes == ("x is not finished: it has no scores.json.",)
  assert material.results == ()


def test_damage_is_one_line(tmp_path):
  (tmp_path / "scores.json").write_text('{"tasks": {"a": {}}}')
  with pytest.raises(ValueError, match="scores.json cannot be read"):
    fits.read_fit(tmp_path, "x")
