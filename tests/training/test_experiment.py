"""The settings as JSON: round trips, and files of earlier versions."""

import dataclasses
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.mixing import MIXING, MixConfig
from mpt_jax.inference.evaluator import METHODS, EvalConfig
from mpt_jax.launchers import gin_config
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.slots import Slot
from mpt_jax.sweeps import plan as plans
from mpt_jax.training import loop as trainer
from mpt_jax.training import run_folder
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import SCHEDULES, OptimizerConfig

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = sorted(
  p.name for p in (ROOT / "gin").glob("*.gin") if p.name != "base.gin"
)
TABLES = sorted(
  p.name
  for p in (ROOT / "gin" / "tables").glob("*.gin")
  if p.name not in ("base.gin", "benchmark.gin", "arena_tuned.gin")
)


def assert_round_trip(experiment):
  text = json.dumps(experiment.to_json())
  assert Experiment.from_json(json.loads(text)) == experiment


@pytest.mark.parametrize("file", EXPERIMENTS)
def test_round_trip_of_a_gin_file(file):
  arguments, _ = gin_config.load_config(
    [f"gin/{file}"],
    [f"{name} = 'x'" for name in ("MODEL_DIR", "TEACHERS", "SOURCE")],
    (),
  )
  assert_round_trip(arguments["experiment"])


@pytest.mark.parametrize("file", TABLES)
def test_round_trip_of_a_tables_runs(file, tmp_path):
  files = [f"gin/tables/{file}"]
  table, _ = plans.load_table(files, [f'MODEL_DIR = "{tmp_path}"'])
  planned = plans.plan(table, tmp_path)
  assert planned
  for run in planned:
    assert_round_trip(run.experiment)


def test_gins_defaults_are_those_of_python():
  """Each default stands in gin/base.gin, for users, and in Python."""
  import inspect

  arguments, _ = gin_config.load_config(
    ["gin/base.gin"],
    [
      "MODEL_DIR = 'x'",
      "MIXTURE_OR_TASK_NAME = 'sarcasm'",
      "TRAIN_STEPS = 7",
    ],
    (),
  )
  experiment = arguments["experiment"]
  plain = Experiment(slots=(Slot(task="sarcasm"),), total_steps=7)
  # These differ on purpose: a t5x run has no folder with the dtype, and it
  # should compile few shapes.
  plain = dataclasses.replace(
    plain,
    dtype="float32",
    batch=dataclasses.replace(plain.batch, row_multiple=8),
  )
  assert experiment == plain
  defaults = inspect.signature(trainer.train).parameters
  for name in arguments.keys() - {"experiment", "model_dir"}:
    assert arguments[name] == defaults[name].default, name


def numbers(low=0.0, high=1e6, **options):
  return st.floats(low, high, allow_nan=False, **options) | st.integers(
    int(low) + 1, int(high)
  )


def optional(values):
  return st.none() | values


WHOLE = st.integers(1, 10**6)
SEEDS = st.integers(-(2**31), 2**31 - 1)
FRACTIONS = st.floats(0, 1, exclude_max=True)
TEXTS = st.text(min_size=1, max_size=8)

SLOTS = st.builds(
  Slot,
  task=TEXTS,
  shots=optional(WHOLE),
  seed=SEEDS,
  label=st.text(max_size=5),
  group=optional(TEXTS),
  init=st.sampled_from(["vocabulary", "random", "text:a b", "mean_matrix"]),
  source=optional(TEXTS),
  train_factors=st.booleans(),
  learning_rate_scale=numbers(),
)
DISTILL = st.builds(
  DistillConfig,
  weight=numbers(),
  temperature=numbers(0.1),
  kl=st.booleans(),
  hidden=st.booleans(),
  hidden_stacks=st.sampled_from([("encoder",), ("encoder", "decoder")]),
  hidden_layers=st.sampled_from(["last", "all", (0,), (1, 3)]),
)
LOSSES = st.builds(
  LossConfig,
  label_smoothing=FRACTIONS,
  z_loss=numbers(),
  distill=optional(DISTILL),
)
OPTIMIZERS = st.builds(
  OptimizerConfig,
  learning_rate=numbers(),
  factor_learning_rate=numbers(),
  weight_decay=numbers(),
  clip_norm=numbers(),
  schedule=st.sampled_from(SCHEDULES),
  warmup_fraction=FRACTIONS,
  embedding_scale=numbers(),
)
EVALS = st.builds(
  EvalConfig,
  period=WHOLE,
  split=TEXTS,
  max_examples=optional(WHOLE),
  method=st.sampled_from(METHODS),
  num_beams=WHOLE,
  metric=optional(TEXTS),
  num_rows=WHOLE,
)
NETWORKS = st.builds(
  T5Config,
  **{
    field.name: WHOLE
    for field in dataclasses.fields(T5Config)
    if field.type is int and "relpos" not in field.name
  },
  num_relpos_buckets=st.integers(4, 1000),
  max_relpos_distance=st.integers(501, 10**6),
  mlp_activations=st.sampled_from([("relu",), ("gelu", "linear")]),
  logits_via_embedding=st.booleans(),
  dropout_rate=FRACTIONS,
)


@st.composite
def mixes(draw):
  mixing = draw(st.sampled_from(MIXING))
  own = {
    "sampled": dict(min_tasks=WHOLE, max_tasks=optional(WHOLE)),
    "rates": dict(
      rates=optional(st.lists(numbers(0.1), min_size=1, max_size=3))
    ),
    "proportional": dict(max_examples=optional(WHOLE)),
    "temperature": dict(max_examples=optional(WHOLE), temperature=numbers(0.1)),
    "all": {},
  }[mixing]
  values = {name: draw(value) for name, value in own.items()}
  return MixConfig(
    batch_size=draw(WHOLE), mixing=mixing, seed=draw(SEEDS), **values
  )


@st.composite
def experiments(draw):
  inputs, targets, prompt = (draw(st.integers(1, 500)) for _ in range(3))
  more = optional(st.integers(0, 100))
  row, target_row = draw(more), draw(more)
  batch = BatchConfig(
    inputs_length=inputs,
    targets_length=targets,
    pack=draw(st.booleans()),
    row_length=None if row is None else inputs + prompt + row,
    target_row_length=None if target_row is None else targets + target_row,
    row_multiple=draw(WHOLE),
    length_multiple=draw(WHOLE),
    num_rows=draw(optional(WHOLE)),
  )
  start = draw(st.sampled_from([{"backbone": "a/t5"}, {"backbone": None}]))
  if start["backbone"] is None:
    start["network"] = draw(NETWORKS)
  return Experiment(
    slots=draw(st.lists(SLOTS, min_size=1, max_size=3)),
    total_steps=draw(WHOLE),
    **start,
    vocabulary_path=draw(optional(TEXTS)),
    dtype=draw(st.sampled_from([None, "float32", "bfloat16"])),
    trainable=draw(st.sampled_from(["prompt", "everything"])),
    prompt_length=prompt,
    rank=draw(st.integers(0, 8)),
    teachers=draw(optional(TEXTS)),
    loss=draw(LOSSES),
    batch=batch,
    mix=draw(mixes()),
    optimizer=draw(OPTIMIZERS),
    eval=draw(optional(EVALS)),
    num_microbatches=draw(WHOLE),
    dropout_rate=draw(FRACTIONS),
    seed=draw(SEEDS),
  )


@settings(max_examples=100, deadline=None, database=None)
@given(experiments())
def test_round_trip_of_any_experiment(experiment):
  assert_round_trip(experiment)
  # Lists are stored as tuples, so that the settings can be keys of caches.
  hash(experiment)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ([], "Experiment must be a dict"),
    (dict(total_steps=3), "Experiment needs slots"),
    (dict(slots=[{"task": "a"}]), "Experiment needs total_steps"),
    (
      dict(slots=[{"task": "a"}], total_step=3),
      "a setting of Experiment must be one of .*'total_step'. Did you mean"
      " total_steps",
    ),
    (
      dict(slots=[{"task": "a", "shot": 3}], total_steps=3),
      "a setting of Slot must be one of .*'shot'. Did you mean shots",
    ),
    (
      dict(slots=[{"task": "a"}], total_steps=3, eval={"num_beams": 0}),
      "EvalConfig.num_beams must be a whole number of at least 1, got 0",
    ),
  ],
)
def test_json_that_is_not_an_experiment(values, message):
  with pytest.raises(ValueError, match=message):
    Experiment.from_json(values)


# The file of a run of two slots with the settings `OLD` below, written by a
# version that stored derived values.
OLD_FILE = json.loads("""
{
  "slots": [
    {
      "task": "task_0",
      "shots": null,
      "seed": 0,
      "label": "",
      "group": "all",
      "init": "vocabulary",
      "source": null,
      "train_factors": true,
      "learning_rate_scale": 0.5
    },
    {
      "task": "task_1",
      "shots": null,
      "seed": 0,
      "label": "",
      "group": "all",
      "init": "vocabulary",
      "source": null,
      "train_factors": true,
      "learning_rate_scale": 0.5
    }
  ],
  "total_steps": 8,
  "backbone": "T5",
  "network": null,
  "vocabulary_path": null,
  "dtype": null,
  "trainable": "prompt",
  "prompt_length": 3,
  "rank": 1,
  "teachers": null,
  "loss": {
    "label_smoothing": 0.0,
    "z_loss": 0.0,
    "distill": null
  },
  "batch": {
    "inputs_length": 16,
    "targets_length": 4,
    "prompt_length": 0,
    "num_slots": 1,
    "pack": true,
    "long_rows": false,
    "row_length": null,
    "target_row_length": null,
    "row_multiple": 8,
    "length_multiple": 16,
    "num_rows": null
  },
  "mix": {
    "batch_size": 8,
    "mixing": "all",
    "min_tasks": 2,
    "max_tasks": null,
    "rates": null,
    "max_examples": null,
    "temperature": 1.0,
    "seed": 0
  },
  "optimizer": {
    "name": "adamw",
    "learning_rate": 0.1,
    "factor_learning_rate": 0.05,
    "weight_decay": 1e-05,
    "clip_norm": 1.0,
    "schedule": "linear",
    "warmup_fraction": 0.1,
    "group_scales": null,
    "slot_scales": null,
    "embedding_scale": 1.0
  },
  "eval": {
    "period": 3,
    "split": "validation",
    "max_examples": null,
    "method": "auto",
    "num_beams": 1,
    "metric": null,
    "num_rows": 8
  },
  "num_microbatches": 1,
  "dropout_rate": 0.0,
  "seed": 0,
  "launcher": "mpt_jax",
  "backbone_fingerprint": "3bbac9c65a8f6e38"
}
""")
OLD = Experiment(
  slots=tuple(
    Slot(task=task, group="all", learning_rate_scale=0.5)
    for task in ("task_0", "task_1")
  ),
  total_steps=8,
  backbone="T5",
  prompt_length=3,
  batch=BatchConfig(inputs_length=16, targets_length=4, row_multiple=8),
  mix=MixConfig(batch_size=8),
  optimizer=OptimizerConfig(learning_rate=0.1, factor_learning_rate=0.05),
  eval=EvalConfig(period=3, num_rows=8),
)


def test_an_earlier_versions_file_is_the_same_experiment(tmp_path):
  assert Experiment.from_json(OLD_FILE) == OLD
  # A run under t5x adds this.
  added = {run_settings.CHECKPOINT_DIGESTS: True}
  assert Experiment.from_json({**OLD_FILE, **added}) == OLD
  (tmp_path / "experiment.json").write_text(json.dumps(OLD_FILE))
  (tmp_path / "prompts").mkdir()  # The run has trained.
  new = {
    **OLD.to_json(),
    "launcher": "mpt_jax",
    "backbone_fingerprint": "3bbac9c65a8f6e38",
  }
  run_folder.check_model_dir(tmp_path, new)
  # The number of rows of an evaluation changes no result.
  run_folder.check_model_dir(tmp_path, {**new, "eval": {"num_rows": 64}})
  # t5x's runs wrote this, with the bank's numbers and without the values that
  # depend on the devices.
  filled = json.loads(json.dumps(OLD_FILE))
  filled["batch"] |= {"prompt_length": 3, "num_slots": 2}
  filled["optimizer"] |= {"group_scales": [0.5], "slot_scales": [0.5, 0.5]}
  del filled["batch"]["long_rows"], filled["batch"]["row_multiple"]
  (tmp_path / "experiment.json").write_text(json.dumps(filled))
  run_folder.check_model_dir(tmp_path, new)


def test_settings_that_differ_are_named(tmp_path):
  (tmp_path / "experiment.json").write_text(json.dumps(OLD_FILE))
  (tmp_path / "prompts").mkdir()  # The run has trained.
  other = dataclasses.replace(
    OLD,
    seed=1,
    slots=(*OLD.slots[:1], dataclasses.replace(OLD.slots[1], shots=4)),
    batch=dataclasses.replace(OLD.batch, row_multiple=4),
    eval=None,
  )
  with pytest.raises(
    ValueError,
    match=r": batch.row_multiple, eval, seed, slots\[1\].shots differ",
  ):
    run_folder.check_model_dir(tmp_path, other.to_json())
  fewer = dataclasses.replace(OLD, slots=OLD.slots[:1])
  with pytest.raises(ValueError, match=": slots differ"):
    run_folder.check_model_dir(tmp_path, fewer.to_json())
