"""The curves of a run: which values are drawn, and what a reader is told."""

import json
import re

import pytest

from mpt_jax.quickstart import learning_curves as curves


def write(folder, *lines, end=""):
  folder.mkdir(parents=True, exist_ok=True)
  text = "".join(json.dumps(line) + "\n" for line in lines) + end
  (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
  return folder


def line(step, kind, **values):
  values = {k.replace("__", "/"): v for k, v in values.items()}
  return {"step": step, "kind": kind, "seconds": 1.0, **values}


LINES = [
  line(10, "train", loss=4.0, loss__a=6.0, loss__b=2.0),
  line(10, "eval", accuracy=0.25, accuracy__a=0.5),
  line(30, "train", loss=1.5, loss__a=2.0, loss__b=1.0),
  line(30, "eval", accuracy=0.75),
]


def test_whole_lines_are_read(tmp_path):
  assert curves.read_metrics(tmp_path) == []
  folder = write(tmp_path / "run", *LINES, end='{"step": 40, "ki')
  assert curves.read_metrics(folder) == LINES


def test_a_curve_for_the_mean_and_for_each_slot():
  mean, slots = curves._curves(LINES, "train", "loss")
  assert mean == [(10, 4.0), (30, 1.5)]
  assert slots == {"a": [(10, 6.0), (30, 2.0)], "b": [(10, 2.0), (30, 1.0)]}
  mean, slots = curves._curves(LINES, "eval", "accuracy")
  assert mean == [(10, 0.25), (30, 0.75)] and slots == {"a": [(10, 0.5)]}


def test_the_mean_is_taken_where_all_curves_are():
  found = curves._mean_curve([[(1, 2.0), (2, 4.0)], [(2, 8.0), (3, 1.0)]])
  assert found == [(2, 6.0)]


@pytest.mark.parametrize(
  ("slot", "method"),
  [
    ("spam_k16_s0_mpt", "mpt"),
    ("spam_k16_s0_prompt_tuning", "prompt_tuning"),
    ("spot", "spot"),
    ("rapmpt", None),
    ("spam_k16_s0", None),
  ],
)
def test_the_method_of_a_slot_is_its_ending(slot, method):
  assert curves._method_of(slot) == method


def test_a_reader_is_told_the_ends_of_each_curve(tmp_path):
  run = write(tmp_path / "teach", *LINES)
  page = curves.learning_curves({"teach": run})
  # No score of the name that was asked for: accuracy is drawn.
  captions = re.findall("<figcaption>(.*?)</figcaption>", page)
  assert captions == [
    "Training loss by step: mean from 4 (step 10) to 1.5 (step 30).",
    "Accuracy by step: mean from 25.0 % (step 10) to 75.0 % (step 30).",
  ]
  assert page.count("<svg") == 2
  assert f"<h3>{curves.STAGES['teach']}</h3>" in page
  # Ids of one page differ, and every colour is a variable of its style.
  ids = re.findall(r'\bid="([^"]*)"', page)
  assert len(ids) == len({*ids}) > 0
  assert "#0102" not in page and "var(--mpt)" in page


def test_methods_are_told_apart_where_prompts_are_adapted(tmp_path):
  names = {"x_mpt": 0.5, "y_mpt": 0.75, "x_spot": 0.25}
  values = {f"balanced_accuracy__{k}": v for k, v in names.items()}
  run = write(
    tmp_path / "adapt", line(5, "eval", balanced_accuracy=0.5, **values)
  )
  page = curves.learning_curves({"adapt": run})
  (caption,) = re.findall("<figcaption>(.*?)</figcaption>", page)
  assert caption == (
    "Balanced accuracy by step: SPoT from 25.0 % (step 5) to 25.0 % (step 5);"
    " MPT from 62.5 % (step 5) to 62.5 % (step 5)."
  )
  # Elsewhere they are slots like others.
  page = curves.learning_curves({"distill": run})
  assert "mean from 50.0 % (step 5)" in page and "SPoT" not in page


def test_without_runs_or_measurements(tmp_path):
  assert curves.learning_curves({}) == ""
  page = curves.learning_curves({"teach": tmp_path, "distill": tmp_path})
  assert page.count("No measurements were recorded.") == 2
