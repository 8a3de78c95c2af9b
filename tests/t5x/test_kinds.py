"""Prompts of other papers under t5x: they train, resume and answer.

Needs t5x, as `test_adapter.py` does.
"""

import json
import shutil

import pytest
from program_runs import launch, needs_t5x
from train_fixtures import write_user_folder

from mpt_jax.inference.predictor import Predictor
from mpt_jax.prompts.bank import load_bank

pytestmark = needs_t5x


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("kinds")
  return write_user_folder(folder, "kinds_test_tasks", 24)


def settings(kind, run):
  return (
    *("adapt", run, 'MIXTURE_OR_TASK_NAME="both"', f'KIND="{kind}"', "RANK=2"),
    *("SOURCE=None", 'INIT="vocabulary"', "TRAIN_STEPS=2", "EVAL_PERIOD=1"),
    "CHECKPOINT_PERIOD=1",
  )


@pytest.mark.parametrize("kind", ["dept", "residual", "ulpt", "dpt"])
def test_a_run_resumes_to_the_bit(folder, kind):
  run = folder / kind
  launch(folder, "t5x.train", *settings(kind, kind))
  prompts = run / "prompts"
  whole = {path.name: path.read_bytes() for path in prompts.iterdir()}
  bank = load_bank(run)
  assert bank.config.kind == kind and bank.names == ("first", "second")
  shutil.rmtree(run / "checkpoint_2")
  shutil.rmtree(prompts)
  launch(folder, "t5x.train", *settings(kind, kind))
  assert {path.name: path.read_bytes() for path in prompts.iterdir()} == whole


def test_inference_adds_what_dept_adds_to_the_inputs(folder):
  launch(folder, "t5x.train", *settings("dept", "answering"))
  launch(
    *(folder, "t5x.infer", *settings("dept", "answering")),
    f'INFER_OUTPUT_DIR="{folder / "answers"}"',
    'infer.mode="predict_with_aux"',
  )
  (file,) = (folder / "answers").glob("*.jsonl-00000-of-00001")
  rows = [json.loads(line) for line in file.read_text().splitlines()]
  asked = [
    {
      "text": row["inputs"]["inputs_pretokenized"].removeprefix("text: "),
      "task": row["inputs"]["task"],
    }
    for row in rows
  ]
  predictor = Predictor(folder / "answering", str(folder / "t5"))
  for row, answer in zip(rows, predictor.predict(asked), strict=True):
    assert row["prediction"] == answer["prediction"]
    best = answer["scores"][answer["prediction"]]
    assert row["aux"]["scores"] == pytest.approx(best, abs=1e-4)
