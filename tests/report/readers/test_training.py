"""Reads runs of training: finished, unfinished, damaged."""

import json

import pytest
from prompt_fixtures import random_params
from report_pages import write_lines, write_run

from mpt_jax.io import digests
from mpt_jax.prompts.bank import PromptBank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.report.readers import training


def slot(task, label="", seed=0, shots=None):
  return {"task": task, "shots": shots, "seed": seed, "label": label}


def test_a_finished_run(tmp_path):
  material = training.read_run(write_run(tmp_path / "x"), "x")
  (one,) = material.trainings
  # With one slot the curve has its name.
  assert one.loss.name == one.score.name == "t"
  assert one.loss.points == ((10, 2.0), (20, 1.5), (30, 1.0))
  assert one.score.points == ((10, 0.5), (20, 0.7), (30, 0.9))
  assert (one.steps, one.total_steps, one.metric) == (30, 30, "accuracy")
  assert one.settings["optimizer.learning_rate"] == 0.3
  assert material.notes == ()
  facts = dict(material.facts)
  assert facts["T5"] == "default" and facts["tasks"] == "t"
  assert facts["prompt_length"] == 4


def test_curves_have_the_methods_of_their_slots(tmp_path):
  slots = [slot("a", "mpt"), slot("a", "spot-from_b-lr_x0.1")]
  lines = [
    {
      "step": 10,
      "kind": "eval",
      "accuracy": 0.5,
      "accuracy/a_mpt": 0.75,
      "accuracy/a_spot-from_b-lr_x0.1": None,
      "f1": 0.1,
    },
    {"step": 20, "kind": "eval", "accuracy/a_spot-from_b-lr_x0.1": 0.25},
  ]
  run = write_run(tmp_path / "x", lines, slots)
  made, _ = training.read_training(run, "x")
  assert [(c.name, c.method, c.points) for c in made.scores] == [
    ("a_mpt", "mpt", ((10, 0.75),)),
    ("a_spot-from_b-lr_x0.1", "spot", ((20, 0.25),)),
  ]
  assert made.score.name == "mean"


def test_the_score_is_the_one_that_the_run_is_judged_by(tmp_path):
  line = {"step": 10, "kind": "eval", "f1": 0.1, "accuracy": 0.2, "x/t": 1.0}
  settings = {"eval": {"period": 10, "metric": "f1"}}
  assert training.main_metric([line], settings) == "f1"
  assert training.main_metric([line], {}) == "accuracy"
  del line["accuracy"]
  assert training.main_metric([line], {}) == "f1"
  assert training.main_metric([], {"eval": None}) == "score"


def test_an_unfinished_run_says_so(tmp_path):
  line = {"step": 10, "kind": "train", "loss": 1.0}
  run = write_run(tmp_path / "x", [line])
  assert training.read_run(run, "x").notes == (
    "x is not finished: 10 of 30 steps.",
  )
  run = write_run(tmp_path / "y", [])
  assert training.read_run(run, "y").notes == ("y has no measurements yet.",)
  (run / "metrics.jsonl").unlink()
  assert training.read_run(run, "y").notes == ("y has no measurements yet.",)


def test_damaged_lines_are_left_out_and_counted(tmp_path):
  lines = [
    digests.seal({"step": s, "kind": "train", "loss": 1.0}) for s in (10, 30)
  ]
  damaged = json.dumps(lines[0]).replace("1.0", "2.0")
  run = write_run(tmp_path / "x")
  write_lines(run / "metrics.jsonl", lines, end=f'{damaged}\n{{"step": 40, "ki')
  made, notes = training.read_training(run, "x")
  assert [step for step, _ in made.loss.points] == [10, 30]
  # The last line is one that a killed run did not finish.
  assert notes == ["x: 1 of 3 lines of metrics.jsonl are damaged and left out."]


def test_slots_that_diverged_are_named(tmp_path):
  line = {"step": 30, "kind": "fault", "slot": "a_mpt", "term": "update"}
  made, notes = training.read_training(write_run(tmp_path / "x", [line]), "x")
  assert notes == ["x: slots that diverged are frozen: a_mpt."]


def test_damaged_settings_are_one_line(tmp_path):
  run = write_run(tmp_path / "x")
  path = run / "experiment.json"
  fields = json.loads(path.read_text())
  path.write_text(json.dumps({**digests.seal(fields), "total_steps": 5}))
  with pytest.raises(ValueError, match="experiment.json is damaged"):
    training.read_run(run, "x")
  path.write_text(json.dumps({**fields, "slots": [{"tusk": "t"}]}))
  with pytest.raises(ValueError, match="experiment.json cannot be read"):
    training.read_run(run, "x")


def test_scores_of_the_last_evaluation(tmp_path):
  slots = [slot(t, m) for t in ("a", "b") for m in ("mpt", "spot")]
  values = {
    f"accuracy/{s['task']}_{s['label']}": i / 10 for i, s in enumerate(slots)
  }
  lines = [
    {"step": 20, "kind": "eval", "accuracy": 0.9},
    {"step": 30, "kind": "eval", "accuracy": 0.15, **values},
  ]
  run = write_run(tmp_path / "x", lines, slots)
  (results,) = training.read_run(run, "x").results
  assert results.title == "Validation split, step 30"
  assert results.cells["spot", "b", None].mean == pytest.approx(30.0)
  assert results.cells["mpt", "", None].mean == pytest.approx(10.0)


def test_scores_of_an_evaluation_come_first(tmp_path):
  run = write_run(
    tmp_path / "x", slots=[slot("t", "mpt", s, 4) for s in (0, 1)]
  )
  rows = [
    {
      "prompt": f"t_k4_s{s}_mpt",
      "task": "t",
      "num_examples": 9,
      "metric": metric,
      "value": value,
    }
    for s, base in ((0, 0.5), (1, 0.75))
    for metric, value in (("f1", 0.1), ("accuracy", base))
  ]
  fields = {"eval": {"split": "test"}, "rows": rows}
  (run / "results.json").write_text(json.dumps(fields))
  (results,) = training.read_run(run, "x").results
  assert results.title == "Test split" and results.metric == "accuracy"
  assert results.cells["mpt", "t", 4].draws == ((0, 50.0), (1, 75.0))
  assert results.examples == {"t": 9}
  (run / "results.json").write_text('{"eval": {}, "rows": []}')
  with pytest.raises(ValueError, match="results.json cannot be read"):
    training.read_run(run, "x")


@pytest.mark.parametrize(("kind", "shown"), [("dept", False), ("dpt", True)])
def test_prompts_that_are_more_than_rows_are_left_out(kind, shown, tmp_path):
  assert training.read_prompts(tmp_path) is None
  sizes = {"inputs_length": 4} if kind == "dept" else {}
  config = PromptConfig(
    num_slots=2, prompt_length=3, rank=2, kind=kind, **sizes
  )
  slots = ({"task": "a"}, {"task": "b"})
  bank = PromptBank(random_params(config, 6), ("a", "b"), (0, 1), "f", slots)
  (tmp_path / "prompts").mkdir()
  bank.save(tmp_path / "prompts" / "best.safetensors")
  found = training.read_prompts(tmp_path)
  assert (found is not None) == shown
