"""The quickstart's measurements, beside evaluations that this test asks for."""

import numpy as np
import pytest
from stablehlo_fixtures import save_backbone
from train_fixtures import LABELS, write_rows

import mpt_jax as mpt
from mpt_jax.backbones import backbone as backbones
from mpt_jax.quickstart import measure
from mpt_jax.quickstart.config import QuickstartConfig
from mpt_jax.tasks import register_file_task

NUM_PROMPTS = 4


@pytest.fixture(scope="module")
def tiny_backbone(tmp_path_factory, make_params):
  return save_backbone(tmp_path_factory.mktemp("t5"), make_params)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
  folder = tmp_path_factory.mktemp("measure")
  files = {
    split: write_rows(folder / f"{split}.jsonl", 40, seed)
    for seed, split in enumerate(("train", "test"))
  }
  register_file_task(
    "measured", files, template="text: {text}", label_names=LABELS
  )
  return "measured"


@pytest.fixture(scope="module")
def teachers(tiny_backbone, target, tmp_path_factory):
  """A file of random prompts, whose answers differ."""
  rng = np.random.default_rng(0)
  shape = (NUM_PROMPTS, 3, 32)
  names = tuple(f"teacher_{i}" for i in range(NUM_PROMPTS))
  slots = tuple({"task": target, "label_names": LABELS} for _ in names)
  bank = mpt.PromptBank(
    {"shared_prompt": rng.normal(0.0, 1.0, shape).astype(np.float32)},
    names,
    tuple(range(NUM_PROMPTS)),
    backbones.identify_backbone(tiny_backbone)[1],
    slots,
  )
  path = tmp_path_factory.mktemp("teachers") / "last.safetensors"
  bank.save(path)
  return str(path)


def test_spots_source_is_best_on_the_shots_alone(
  tiny_backbone, target, teachers
):
  config = QuickstartConfig(
    backbone=tiny_backbone, targets=(target,), test_examples=100
  )
  (slot,) = mpt.make_slots((target,), (8,), (1,))
  rows = mpt.evaluate(
    teachers,
    config=mpt.EvalConfig(split="train"),
    on=slot,
    backbone=tiny_backbone,
    inputs_length=64,
    targets_length=6,
  )
  values = {
    row["prompt"]: row["value"]
    for row in rows
    if row["metric"] == "balanced_accuracy"
  }
  # Eight examples of each label, and prompts that are told apart by them.
  assert {row["num_examples"] for row in rows} == {16}
  assert len(set(values.values())) > 1
  found = measure.best_teacher(config, teachers, slot)
  assert values[found] == max(values.values())


def test_rows_have_their_examples_and_both_metrics(
  tiny_backbone, target, teachers
):
  config = QuickstartConfig(
    backbone=tiny_backbone, targets=(target,), shots=(2, 4), test_examples=6
  )
  slots = [
    mpt.Slot(task=target, label="mpt", shots=2, seed=seed)
    for seed in range(NUM_PROMPTS)
  ]
  rows = measure.target_rows(config, teachers, slots)
  assert [
    (r["method"], r["shots"], r["seed"]) for r in rows if r["metric"][0] == "a"
  ] == [
    *(("mpt", 2, seed) for seed in range(NUM_PROMPTS)),
    *(("no_prompt", shots, None) for shots in (2, 4)),
  ]
  assert {r["num_examples"] for r in rows} == {6}
  assert [r["metric"] for r in rows[:2]] == ["accuracy", "balanced_accuracy"]
