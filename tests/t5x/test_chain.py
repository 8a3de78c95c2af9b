"""A user's way through t5x's programs: train three stages, evaluate, predict.

Needs t5x, as `test_adapter.py` does.
"""

import dataclasses
import json

import numpy as np
import pytest
from program_runs import launch, needs_t5x
from train_fixtures import (
  tiny_tasks,
  write_user_folder,
)

from mpt_jax.inference.predictor import Predictor
from mpt_jax.prompts.bank import load_bank

# A fixture.
__all__ = ["tiny_tasks"]
SIZES = (
  "PROMPT_LENGTH=5",
  "RANK=2",
  'TASK_FEATURE_LENGTHS={"inputs":20,"targets":5}',
  "BATCH_SIZE=12",
  "EvalConfig.num_rows=7",
  "TRAIN_STEPS=6",
  "EVAL_PERIOD=6",
  "CHECKPOINT_PERIOD=3",
  "LEARNING_RATE=3.0",
)
SLOTS = [f"{name}_k3_s{seed}" for seed in (0, 1) for name in ("mail", "news")]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
  """The folder of a user who trained all stages under t5x."""
  folder = tmp_path_factory.mktemp("chain")
  write_user_folder(
    *(folder, "chain_tasks", 19, ("news", "talk", "mail")),
    **dict(emb_dim=24, num_heads=3, mlp_dim=40, num_encoder_layers=2),
  )
  train(folder, "teacher", 'MIXTURE_OR_TASK_NAME="both"', "RANK=0")
  train(
    folder,
    "distill",
    'MIXTURE_OR_TASK_NAME=("news", "talk")',
    f'TEACHERS="{folder / "teacher"}"',
  )
  train(folder, "adapt", *adapt_bindings(folder))
  # The best prompts of so short a run are the last: let them be others.
  prompts = folder / "adapt" / "prompts"
  bank = load_bank(prompts / "last.safetensors")
  params = {name: np.roll(x, 1, axis=0) for name, x in bank.params.items()}
  dataclasses.replace(bank, params=params).save(prompts / "best.safetensors")
  return folder


def predictor_of(chain, file="best"):
  path = chain / "adapt" / "prompts" / f"{file}.safetensors"
  return Predictor(path, str(chain / "t5"))


def train(folder, stage, *bindings):
  launch(folder, "t5x.train", stage, stage, *bindings, sizes=SIZES)


def adapt_bindings(folder):
  return (
    'MIXTURE_OR_TASK_NAME=("mail", "news")',
    *("SHOTS=(3,)", "SEEDS=(0, 1)", f'SOURCE="{folder / "distill"}"'),
  )


def infer(folder, output, *bindings):
  launch(
    *(folder, "t5x.infer", "adapt", "adapt", *adapt_bindings(folder)),
    *(f'INFER_OUTPUT_DIR="{folder / output}"', *bindings),
    sizes=SIZES,
  )


def read_rows(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@needs_t5x
def test_infer_mixes_the_tasks_of_a_batch(chain):
  # Chunks of two batches: the place among the mixed tasks is kept after each.
  infer(chain, "mixed", "infer.checkpoint_period=2")
  rows = read_rows(chain / "mixed" / "mpt_mixed-predict.jsonl-00000-of-00001")
  names = [row["inputs"]["task"] for row in rows]
  # The slots take turns, so a batch of seven has examples of all four.
  assert names[:8] == SLOTS * 2
  # "news" has 19 validation examples, "mail", the third task, 21.
  assert [names.count(name) for name in SLOTS] == [21, 19, 21, 19]
  predictions = [row["prediction"] for row in rows]

  texts = [
    row["inputs"]["inputs_pretokenized"].removeprefix("text: ") for row in rows
  ]

  def answer(tasks, file="best"):
    return [
      result["prediction"]
      for result in predictor_of(chain, file).predict(
        [{"text": t, "task": n} for t, n in zip(texts, tasks, strict=True)]
      )
    ]

  assert predictions == answer(names)
  # Another slot's prompt would have been seen.
  others = [SLOTS[SLOTS.index(name) - 1] for name in names]
  assert predictions != answer(others)

  newest = answer(names, "last")
  assert newest != predictions
  infer(chain, "apart", "MIXED=False", "BEST=False")
  for name in SLOTS:
    file = chain / "apart" / f"mpt.{name}-predict.jsonl-00000-of-00001"
    assert read_rows(file) == [
      {**row, "prediction": answer}
      for row, answer in zip(rows, newest, strict=True)
      if row["inputs"]["task"] == name
    ]


@needs_t5x
def test_eval_gives_the_metrics_of_the_predictions(chain):
  launch(
    *(chain, "t5x.eval", "adapt", "adapt", *adapt_bindings(chain)),
    f'EVAL_OUTPUT_DIR="{chain / "evaluated"}"',
    sizes=SIZES,
  )
  predictor = predictor_of(chain)
  for name in SLOTS:
    (metrics,) = read_rows(
      chain / "evaluated" / "inference_eval" / f"mpt.{name}-metrics.jsonl"
    )
    rows = read_rows(chain / f"{name[:4]}_validation.jsonl")
    answers = predictor.predict([{**row, "task": name} for row in rows])
    right = [a["prediction"].strip() == a["label"] for a in answers]
    assert metrics["accuracy"] == np.mean(right)


@needs_t5x
def test_the_scores_of_infer_are_those_of_predict(chain):
  infer(chain, "scored", 'infer.mode="score"')
  rows = read_rows(chain / "scored" / "mpt_mixed-score.jsonl-00000-of-00001")
  predictor = predictor_of(chain)
  inputs = [row["inputs"] for row in rows]
  answers = predictor.predict(
    [
      {
        "text": row["inputs_pretokenized"].removeprefix("text: "),
        "task": row["task"],
      }
      for row in inputs
    ]
  )
  assert len(rows) == 80
  for row, answer in zip(rows, answers, strict=True):
    target = row["inputs"]["targets_pretokenized"]
    assert row["score"] == pytest.approx(answer["scores"][target], abs=1e-4)


@needs_t5x
def test_the_chain_hands_its_prompts_on(chain):
  teachers, students, targets = (
    load_bank(chain / stage) for stage in ("teacher", "distill", "adapt")
  )
  assert teachers.composed.shape == (2, 5, 24)
  assert students.names == ("news", "talk") and students.config.rank == 2
  assert list(targets.names) == SLOTS
  assert teachers.backbone == students.backbone == targets.backbone


@needs_t5x
def test_a_run_of_other_slots_is_refused(chain):
  # Prompts of the same shape, but the tasks in another order.
  errors = launch(
    *(chain, "t5x.infer", "adapt", "adapt", *adapt_bindings(chain)),
    *('MIXTURE_OR_TASK_NAME=("news", "mail")', 'INFER_OUTPUT_DIR="/none"'),
    sizes=SIZES,
    fails=True,
  )
  assert "has the slots mail_k3_s0, news_k3_s0" in errors
