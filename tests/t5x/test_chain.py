"""A user's way through t5x's programs: train three stages, evaluate, predict.

Needs t5x, as `test_adapter.py` does.
"""

import dataclasses
import json

import numpy as np
import pytest
from program_runs import launch, needs_t5x
from train_fixtures import (
  register_tiny_task,
  save_tiny_backbone,
  tiny_experiment,
  tiny_tasks,
  write_user_folder,
)

from mpt_jax.data.batches import BatchConfig
from mpt_jax.inference.predictor import Predictor
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.slots import make_slots

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


# ----------------------------------------------------------- without programs


@pytest.fixture(scope="module")
def parts(tmp_path_factory, tiny_tasks):
  from mpt_jax.t5x import data as t5x_data

  folder = tmp_path_factory.mktemp("parts")
  backbone = save_tiny_backbone(folder / "t5")
  experiment = tiny_experiment(make_slots(tiny_tasks[:2]), backbone)
  return t5x_data.assemble(experiment)


@needs_t5x
def test_the_first_checkpoint_holds_the_place_before_the_first_batch(
  parts, tmp_path
):
  from clu.data.dataset_iterator import PeekableDatasetIterator

  from mpt_jax.t5x import data as t5x_data

  batches = t5x_data.PromptBatches(parts, blank_rows=8)
  # t5x.train does this before its loop.
  peekable = PeekableDatasetIterator(batches)
  blank = peekable.peek()
  assert not any(np.any(x) for x in blank.values())
  peekable.save(str(tmp_path / "place"))
  first = [batches.next_batch(8)[0] for _ in range(2)]
  again = t5x_data.PromptBatches(parts, blank_rows=8)
  again.restore(str(tmp_path / "place"))
  for batch in first:
    resumed, _ = again.next_batch(8)
    for name, array in batch.items():
      np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert np.any(batch["decoder_target_tokens"])


@needs_t5x
def test_batches_have_the_rows_that_devices_share(parts):
  import dataclasses

  from mpt_jax.t5x import data as t5x_data

  batches = t5x_data.PromptBatches(parts)
  # Rows come in multiples of 8 by the experiment: with 3, of 24.
  assert batches.next_batch(3)[0]["encoder_input_tokens"].shape[0] == 24
  fixed = dataclasses.replace(
    parts, layout=dataclasses.replace(parts.layout, num_rows=10)
  )
  batches = t5x_data.PromptBatches(fixed)
  assert batches.next_batch(5)[0]["encoder_input_tokens"].shape[0] == 10
  with pytest.raises(ValueError, match="num_rows=10.*multiple of 4"):
    batches.next_batch(4)
  with pytest.raises(TypeError, match="data.get_dataset"):
    t5x_data.find_batches(iter([]))


def test_plain_rows_are_those_of_the_native_batches():
  import tensorflow as tf

  from mpt_jax.data.batches import make_batch
  from mpt_jax.data.packing import BatchLayout
  from mpt_jax.t5x import tasks as t5x_tasks

  examples = [
    {"inputs": [7, 8, 1], "targets": [5, 1], "slot_ids": [1]},
    {"inputs": [9, 1], "targets": [6, 4, 1], "slot_ids": [0]},
  ]
  spec = tf.TensorSpec([None], tf.int32)
  dataset = tf.data.Dataset.from_generator(
    lambda: iter(examples),
    output_signature={name: spec for name in examples[0]},
  )
  converter = t5x_tasks.PromptFeatureConverter(prompt_length=2)
  rows = list(converter(dataset, {"inputs": 4, "targets": 4, "slot_ids": 1}))
  config = BatchLayout(
    inputs_length=4,
    targets_length=4,
    prompt_length=2,
    num_slots=2,
    pack=False,
    num_rows=2,
    length_multiple=1,
  )
  expected, _ = make_batch(
    [
      {
        "inputs": np.array(x["inputs"]),
        "targets": np.array(x["targets"]),
        "slot_id": x["slot_ids"][0],
      }
      for x in examples
    ],
    config,
  )
  for i, row in enumerate(rows):
    assert row.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(row[name], array[i], err_msg=name)


def test_mixed_tasks_keep_what_all_have_and_end_with_the_last(tmp_path):
  import types

  import seqio

  from mpt_jax.data.slot_tasks import slot_tasks
  from mpt_jax.t5x import tasks as t5x_tasks

  names = [register_tiny_task(tmp_path, num) for num in (3, 5)]
  slots = make_slots(names)
  parts = types.SimpleNamespace(
    experiment=tiny_experiment(
      slots, "default", batch=BatchConfig(inputs_length=6, targets_length=4)
    ),
    tasks=slot_tasks(slots, None),
  )
  name = t5x_tasks.register_mixed(parts)
  examples = list(
    seqio.get_mixture_or_task(name)
    .get_dataset(t5x_tasks.feature_lengths(parts), "train", shuffle=False)
    .as_numpy_iterator()
  )
  ids = [int(x["slot_ids"][0]) for x in examples]
  assert ids == [0, 1, 0, 1, 0, 1, 1, 1]
  for example, i in zip(examples, ids, strict=True):
    assert example["task"].decode() == names[i]
    # The inputs are cut, and the end of sequence (1) is kept.
    assert len(example["inputs"]) <= 6 and example["inputs"][-1] == 1
