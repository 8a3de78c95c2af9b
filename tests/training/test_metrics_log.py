"""Metrics: sums by hand, lines of the file, and what a run says."""

import json
import math
import re
import types

import numpy as np
import pytest

from mpt_jax.data.batches import BatchStats
from mpt_jax.io import digests
from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.model.faults import TERMS, Fault
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.training import metrics_log
from mpt_jax.training.metrics_log import MetricsLog, Window

SLOTS = [types.SimpleNamespace(name=name) for name in ("a", "b")]


def read(folder):
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [digests.unseal(json.loads(line), "a line") for line in lines]


def step_metrics(total, count, norm=1.0, faults=((0, 0), (0, 0))):
  return {
    "loss": (np.float32(total), np.float32(count)),
    "grad_norm": np.float32(norm),
    "faults": np.int32(faults),
  }


# ------------------------------------------------------------------- the window


def test_means_over_a_window_by_hand():
  window = Window(SLOTS)
  first = BatchStats(2, 30, 40, 1, 0)
  second = BatchStats(2, 42, 50, 0, 3)
  window.push(1, first, step_metrics([6.0, 1.0], [3, 1], 2.0))
  window.push(2, second, step_metrics([2.0, 0.0], [1, 0], 5.0))
  found = window.flush()
  # Slot a: (6 + 2) / (3 + 1) tokens; slot b: 1 / 1; both: 9 / 5.
  assert found["loss/a"] == 2.0 and found["loss/b"] == 1.0
  assert found["loss"] == pytest.approx(1.8)
  assert found["grad_norm"] == 5.0  # Of the last step.
  # 72 of 90 positions carry an example.
  assert found["padding_fraction"] == pytest.approx(0.2)
  assert (found["truncated_inputs"], found["truncated_targets"]) == (1, 3)
  assert found["tokens_per_second"] > 0
  # The next window starts at zero; slot a has no example in it.
  window.push(3, first, step_metrics([0.0, 8.0], [0, 2]))
  found = window.flush()
  assert found["loss"] == found["loss/b"] == 4.0 and "loss/a" not in found


def test_an_interrupted_window_goes_on_to_the_bit():
  third = np.float32(1 / 3)
  whole, half, rest = Window(SLOTS), Window(SLOTS), Window(SLOTS)
  stats = BatchStats(1, 7, 9, 0, 0)
  for window in (whole, half):
    window.push(1, stats, step_metrics([third, 0.1], [1, 1], third))
  # A checkpoint keeps it as JSON.
  rest.resume(json.loads(json.dumps(half.pending())))
  for window in (whole, rest):
    window.push(2, stats, step_metrics([third, 0.7], [1, 1], 0.3))
  expected, found = whole.flush(), rest.flush()
  del expected["tokens_per_second"], found["tokens_per_second"]
  assert found == expected
  assert rest.pending() == {}


def test_a_fault_is_reported_once():
  window, found = Window(SLOTS), []
  window.report = found.append
  kl = TERMS.index("kl")
  for step in (3, 4):
    faults = ((3, kl), (0, 0))
    window.push(step, BatchStats(), step_metrics([0, 1], [0, 1], 1.0, faults))
  window.catch_up()
  assert found == [Fault("a", 3, "kl")]
  # One that an earlier process reported is not reported again.
  resumed = Window(SLOTS)
  resumed.report = found.append
  resumed.know(found[:1])
  resumed.push(5, BatchStats(), step_metrics([0, 1], [0, 1], 1.0, faults))
  resumed.catch_up()
  assert len(found) == 1


def test_no_slot_is_left():
  window = Window(SLOTS)
  faults = ((3, TERMS.index("kl")), (4, TERMS.index("update")))
  window.push(4, BatchStats(), step_metrics([0, 0], [0, 0], 1.0, faults))
  with pytest.raises(TrainingDiverged, match="a at step 3.*b at step 4"):
    window.catch_up()


@pytest.mark.parametrize(
  ("step", "total", "norm", "message"),
  [
    (7, [1.0, np.nan], 1.0, "at step 7, on b; .*Try a lower learning_rate"),
    (1, [np.inf, 1.0], 1.0, "at step 1, on a; .*Check the weights"),
    (7, [1.0, 1.0], np.nan, "at step 7, on the gradient of all tasks"),
  ],
)
def test_a_t5_that_diverges_stops_the_run(step, total, norm, message):
  window = Window(SLOTS)
  metrics = step_metrics(total, [1, 1], norm)
  del metrics["faults"]  # Only prompts have them.
  window.push(step, BatchStats(), metrics)
  with pytest.raises(TrainingDiverged, match=message):
    window.flush()


# ------------------------------------------------- values before they are saved


def test_prompts_that_are_not_finite_are_not_saved():
  # Slots a and b share the first row of P*; c has the second.
  config = PromptConfig(num_slots=3, prompt_length=2, groups=(0, 0, 1))
  slots = [*SLOTS, types.SimpleNamespace(name="c")]

  def prompt(shared=0.0, rows=0.0):
    return {
      "prompt": {
        "shared_prompt": np.stack([np.full((2, 4), shared), np.zeros((2, 4))]),
        "task_columns": np.zeros((3, 2, 1)),
        "task_rows": np.stack([*np.zeros((2, 1, 4)), np.full((1, 4), rows)]),
      }
    }

  metrics_log.check_finite(prompt(), slots, config, 5)
  metrics_log.check_finite({}, slots, None, 5)  # A T5 that trains.
  for bad, names in (({"shared": np.nan}, "a, b"), ({"rows": np.inf}, "c")):
    with pytest.raises(TrainingDiverged, match=f"after step 5, on {names};"):
      metrics_log.check_finite(prompt(**bad), slots, config, 5)


# ------------------------------------------------------------- the file's lines


def test_lines_are_json_and_have_digests(tmp_path):
  with MetricsLog(tmp_path, 4, tensorboard=False) as log:
    log.write(1, "train", {"loss": 0.5, "kl": math.nan})
    log.fault(Fault("a", 1, "kl"))
  first, second = read(tmp_path)
  assert first.pop("seconds") >= 0
  assert first == {"step": 1, "kind": "train", "loss": 0.5, "kl": None}
  assert (second["kind"], second["slot"], second["term"]) == (
    "fault",
    "a",
    "kl",
  )


@pytest.mark.parametrize("evaluates", [False, True])
def test_a_resumed_run_drops_what_it_does_again(evaluates, tmp_path):
  lines = [
    {"step": 1, "kind": "train"},
    {"step": 2, "kind": "train"},
    {"step": 2, "kind": "eval"},
    {"step": 3, "kind": "train"},
  ]
  text = "".join(json.dumps(digests.seal(line)) + "\n" for line in lines)
  damaged = text.splitlines()[0].replace("train", "trane")
  (tmp_path / "metrics.jsonl").write_text(f'{damaged}\n{text}{{"step": 2, "ki')
  with MetricsLog(tmp_path, 4, 2, tensorboard=False, evaluates=evaluates):
    pass
  assert read(tmp_path) == lines[: 2 if evaluates else 3]


def test_events_hold_the_scalars_and_go_with_a_run_from_the_start(tmp_path):
  import tensorflow as tf

  with MetricsLog(tmp_path, 4) as log:
    log.write(3, "eval", {"f1": 0.25})
  (path,) = tmp_path.glob("events.out.tfevents.*")
  found = {
    (event.step, value.tag): float(tf.make_ndarray(value.tensor))
    for event in map(
      tf.compat.v1.Event.FromString,
      tf.data.TFRecordDataset(str(path)).as_numpy_iterator(),
    )
    for value in event.summary.value
  }
  assert found == {(3, "eval/f1"): 0.25}
  with MetricsLog(tmp_path, 4, 3, tensorboard=False):
    assert path.exists()
  with MetricsLog(tmp_path, 4, 0, tensorboard=False):
    assert not path.exists()


# -------------------------------------------------------------- what a run says


def test_what_is_said_about_slots(tmp_path, capsys):
  slots = [types.SimpleNamespace(name=f"s{i}") for i in range(5)]
  with MetricsLog(tmp_path, 9, 0, "adapt", tensorboard=False) as log:
    metrics = [{"f1": 0.5}, *({"f1": math.nan} for _ in range(4))]
    log.not_finite(6, slots, metrics, ["f1"] * 5)
    log.not_finite(7, slots, metrics[:1] * 5, ["f1"] * 5)
    log.faults([Fault("s3", 2, "kl")], 5)
    log.write(8, "train", {"loss": 0.123456, "kl": 1.0}, shown=("loss", "x"))
  said = " ".join(capsys.readouterr().err.split())
  assert (
    "adapt: step 6: f1 of s1 is nan, f1 of s2 is nan, f1 of s3 is nan, and of"
    " 1 more; this step cannot be the best one there" in said
  )
  assert "step 7" not in said
  assert "adapt: 1 of 5 slots diverged" in said and "s3 step 2 kl" in said
  assert "adapt train step 8/9 loss 0.1235" in said


def test_the_scores_stand_first_beside_the_bar(tmp_path, monkeypatch, capsys):
  # At 60 columns there is room for the scores and no other value.
  monkeypatch.setenv("COLUMNS", "60")
  monkeypatch.setenv("FORCE_COLOR", "1")
  with MetricsLog(tmp_path, 800, description="fit", tensorboard=False) as log:
    log.score(0.7251, 0.75)
    log.write(10, "train", {"loss": 1.5, "kl": 0.5}, ("loss", "kl"))
    log.advance(10)
  shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
  last = [line for line in re.split(r"[\r\n]", shown) if line.strip()][-1]
  assert last.startswith("fit ") and " 10/800 " in last
  assert "score 0.7251  best 0.75" in last and len(last.rstrip()) <= 60
