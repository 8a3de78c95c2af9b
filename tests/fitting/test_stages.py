"""The three stages over rows, on a tiny T5."""

import json
import sys

import numpy as np
import pytest
import rich.console
import train_fixtures

import mpt_jax as mpt
from mpt_jax.fitting.showing import Printer
from mpt_jax.launchers import gin_config
from mpt_jax.prompts.bank import load_bank


def make_rows(path, seed):
  rng = np.random.default_rng(seed)
  rows = [
    {
      "text": " ".join(rng.choice(train_fixtures.WORDS, 5)) + f" {i}",
      "label": "ab"[i % 2],
    }
    for i in range(40)
  ]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
  folder = tmp_path_factory.mktemp("stages")
  t5 = train_fixtures.save_tiny_backbone(folder / "t5")
  paths = [make_rows(folder / f"stage_{i}.jsonl", i) for i in range(3)]
  printer = Printer(rich.console.Console(file=open(folder / "log", "w")))
  small = dict(steps=10, batch_size=4, printer=printer)
  teach = mpt.teach(
    *paths[:2], out=folder / "teach", backbone=t5, prompt_length=2, **small
  )
  distill = mpt.distill(teach, out=folder / "distill", **small)
  adapt = mpt.adapt(
    paths[2], start=distill, out=folder / "adapt", backbone=t5, **small
  )
  return folder, teach, distill, adapt


def test_each_stage_trains_what_the_next_one_needs(stages):
  _, teach, distill, adapt = stages
  teachers, students = load_bank(teach), load_bank(distill)
  assert teachers.config.is_plain and teachers.names == students.names
  # One P* of 2 x 32, and rank-one factors for each of two tasks.
  shapes = {k: v.shape for k, v in students.params.items()}
  assert shapes == {
    "shared_prompt": (1, 2, 32),
    "task_columns": (2, 2, 1),
    "task_rows": (2, 1, 32),
  }
  assert set(distill.scores) == {"stage_0", "stage_1"}
  assert load_bank(adapt).config.rank == 1
  assert 0 <= adapt.scores["score"] <= 1


def test_the_gin_file_of_a_distillation(stages, monkeypatch):
  pytest.importorskip("gin.config", reason="gin is not in a light install")
  folder, _, distill, _ = stages
  settings = json.loads((folder / "distill/experiment.json").read_text())
  assert settings["loss"]["distill"] is not None
  monkeypatch.syspath_prepend(folder / "distill")
  try:
    arguments, _ = gin_config.load_config(
      [str(folder / "distill" / "fit.gin")], ["MODEL_DIR = 'x'"], []
    )
  finally:
    sys.modules.pop("fit_tasks", None)
  assert arguments["experiment"] == mpt.Experiment.from_json(settings)
  del distill


def test_mistakes(stages, tmp_path):
  folder, *_ = stages
  with pytest.raises(ValueError, match="is no run of mpt.teach"):
    mpt.distill(tmp_path, out=tmp_path / "out")
  with pytest.raises(ValueError, match="a teacher of its own"):
    mpt.teach(folder / "stage_0.jsonl", out=tmp_path / "out", share=True)
