"""A run whose metric is not a number for one of its slots."""

import json

import numpy as np
from train_fixtures import (
  register_tiny_task,
  tiny_backbone,
  tiny_experiment,
  tiny_tasks,
)

from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.slots import make_slots
from mpt_jax.training.loop import train

__all__ = ["tiny_backbone", "tiny_tasks"]


def test_a_metric_that_is_not_a_number_chooses_no_step(
  tiny_backbone, tmp_path, capfd
):
  calls = []

  def falling(targets, predictions):
    # The first call comes before the first step, with the right answers.
    calls.append(1)
    return {"score": 1.0 / len(calls)}

  def odd(targets, predictions):
    return {"score": np.nan, "other": 1.0}

  names = tuple(
    register_tiny_task(tmp_path, metric_fns=[fn]) for fn in (falling, odd)
  )
  experiment = tiny_experiment(make_slots(names), tiny_backbone)
  result = train(experiment, model_dir=tmp_path / "run", tensorboard=False)
  # The first slot is best at the first evaluation, at step 3 of 6. The other
  # one has no best step, so its last prompt counts.
  best, last = (
    load_bank(tmp_path / "run" / "prompts" / f"{name}.safetensors")
    for name in ("best", "last")
  )
  assert best.slots[0]["metrics"] == {"score": 0.5, "step": 3}
  assert best.slots[1]["metrics"] == {"score": None}
  assert (best.composed[0] != last.composed[0]).any()
  np.testing.assert_array_equal(best.composed[1], last.composed[1])
  np.testing.assert_array_equal(best.composed, result.best.composed)
  text = f"train: step 6: score of {names[1]} is nan; this step cannot be the"
  assert text in " ".join(capfd.readouterr().err.split())

  def refuse(name):
    raise ValueError(f"{name} is no JSON")

  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line, parse_constant=refuse) for line in lines]
  evals = [row for row in rows if row["kind"] == "eval"]
  assert [row[f"score/{names[1]}"] for row in evals] == [None, None]
