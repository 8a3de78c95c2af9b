"""Checks of settings: valid values pass, others give one line."""

import dataclasses
import functools
import pathlib
import re

import numpy as np
import pytest

from mpt_jax.data.batches import BatchConfig, batch_config
from mpt_jax.data.mixing import MixConfig
from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.io import checks
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.methods import Method, method_slots
from mpt_jax.prompts.methods import batch_size as method_batch_size
from mpt_jax.prompts.slots import Slot, make_slots
from mpt_jax.quickstart.config import QuickstartConfig
from mpt_jax.sweeps.contest import Contest, View
from mpt_jax.sweeps.tables import Row, Run, Table
from mpt_jax.training import loop
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import OptimizerConfig

experiment = functools.partial(
  Experiment, slots=[Slot(task="a")], total_steps=3
)
lengths = functools.partial(BatchConfig, inputs_length=8, targets_length=4)
t5 = functools.partial(T5Config.preset, "t5_tiny")
method = functools.partial(Method, name="m")
table = functools.partial(
  Table, name="t", title="T", model="t5_base", columns={"a": "A"}, runs=()
)
view = functools.partial(View, name="v")
contest = functools.partial(Contest, targets=("a",))
nan, infinite = float("nan"), float("inf")

# The maker, the name of the setting, and values that it must refuse.
REFUSED = [
  (experiment, "Experiment.total_steps", [0, -1, 2.5, True, "3", None, nan]),
  (experiment, "Experiment.slots", [(), "a", 3, None]),
  (experiment, "Experiment.backbone", ["", 3]),
  (experiment, "Experiment.vocabulary_path", ["", 3]),
  (experiment, "Experiment.teachers", ["", 3]),
  (experiment, "Experiment.dtype", ["float16", 32]),
  (experiment, "Experiment.trainable", ["promt", None, True]),
  (experiment, "Experiment.prompt_length", [0, -1, 1.0, True]),
  (experiment, "Experiment.rank", [-1, 1.0, "1"]),
  (experiment, "Experiment.num_microbatches", [0, -1, 0.5]),
  (experiment, "Experiment.dropout_rate", [2.0, 1, -0.1, nan, "0", True]),
  (experiment, "Experiment.prompt_kind", ["multi_task", 3]),
  (experiment, "Experiment.seed", [1.0, None, True, 2**31]),
  (lengths, "BatchConfig.inputs_length", [0, 8.0, "8"]),
  (lengths, "BatchConfig.targets_length", [0, "4"]),
  (lengths, "BatchConfig.pack", [1, None, "yes"]),
  (lengths, "BatchConfig.row_length", [0, 7, 16.0]),
  (lengths, "BatchConfig.target_row_length", [0, 3, 4.0]),
  (lengths, "BatchConfig.row_multiple", [0, 1.5, None]),
  (lengths, "BatchConfig.length_multiple", [0, -16]),
  (lengths, "BatchConfig.num_rows", [0, -1, 8.0]),
  (MixConfig, "MixConfig.batch_size", [0, -1, 8.0, True]),
  (MixConfig, "MixConfig.mixing", ["mixed", None]),
  (MixConfig, "MixConfig.min_tasks", [0, 2.0]),
  (MixConfig, "MixConfig.max_tasks", [0, 2.0]),
  (MixConfig, "MixConfig.seed", [0.5, None]),
  (OptimizerConfig, "OptimizerConfig.name", ["adam", None]),
  (OptimizerConfig, "OptimizerConfig.schedule", ["cosine"]),
  (EvalConfig, "EvalConfig.period", [0, -1, 0.5]),
  (EvalConfig, "EvalConfig.split", ["", None]),
  (EvalConfig, "EvalConfig.max_examples", [-1, 0, 2.0]),
  (EvalConfig, "EvalConfig.method", ["ranks"]),
  (EvalConfig, "EvalConfig.num_beams", [0, 1.0]),
  (EvalConfig, "EvalConfig.metric", ["", 3]),
  (EvalConfig, "EvalConfig.num_rows", [0, 16.0]),
  (EvalConfig, "EvalConfig.patience", [0, -1, 2.5, True, "3"]),
  (LossConfig, "LossConfig.label_smoothing", [-0.1, 1.0, nan, "0"]),
  (LossConfig, "LossConfig.z_loss", [-1e-4, infinite]),
  (DistillConfig, "DistillConfig.weight", [-1, nan, None]),
  (DistillConfig, "DistillConfig.temperature", [0, -1, nan]),
  (DistillConfig, "DistillConfig.kl", [1, None]),
  (DistillConfig, "DistillConfig.hidden", [0]),
  (DistillConfig, "DistillConfig.hidden_stacks", [(), "encoder", ("all",)]),
  (DistillConfig, "DistillConfig.hidden_layers", [(), "first", (-1,), (1.0,)]),
  (t5, "T5Config.emb_dim", [0, 64.0, True]),
  (t5, "T5Config.mlp_activations", [(), "relu", ("tanh",)]),
  (t5, "T5Config.logits_via_embedding", [1]),
  (t5, "T5Config.relpos_in_layers", [1]),
  (t5, "T5Config.dtype", ["float16"]),
  (t5, "T5Config.dropout_rate", [1, nan]),
  (Method, "Method.name", ["", None]),
  (method, "Method.init", ["", (), (1,)]),
  (method, "Method.source", ["", 3, {}, {"a": 3}]),
  (method, "Method.share", ["task"]),
  (method, "Method.train_factors", [1]),
  (method, "Method.learning_rate_scales", [(), 1.0, (-1.0,), (nan,)]),
  (functools.partial(Run, gin_file="b"), "Run.name", ["", None]),
  (functools.partial(Run, name="a"), "Run.gin_file", [None]),
  (
    functools.partial(Run, name="a", gin_file="b"),
    "Run.uses",
    [("x",), {"A": 3}, {"A": {}}, {1: "x"}],
  ),
  (Row, "Row.method", ["", None]),
  (functools.partial(Row, method="m"), "Row.shots", [0, 2.0]),
  (functools.partial(Row, method="m"), "Row.paper", [{"A": "85"}, {"A": nan}]),
  (table, "Table.rows", [None]),
  (functools.partial(table, rows=()), "Table.columns", [{}, {"a": 1}]),
  (functools.partial(table, rows=()), "Table.variants", [{}, {"a": 1}]),
  (functools.partial(table, rows=()), "Table.notes", ["a note", (1,)]),
  (View, "View.name", ["", None]),
  (view, "View.methods", ["mpt", (1,)]),
  (view, "View.shots", [4, (0,), ("4",)]),
  (view, "View.targets", ["a", (1,)]),
  (view, "View.evaluation", ["ranks", None]),
  (view, "View.steps", [0, 1.5]),
  (view, "View.max_examples", [0, "9"]),
  (Contest, "Contest.targets", [(), "a", None]),
  (contest, "Contest.related", ["a", (1,)]),
  (contest, "Contest.split", ["", None]),
  (contest, "Contest.max_examples", [0, 1.5]),
  (contest, "Contest.baselines", ["majority", ("lr",)]),
  (contest, "Contest.views", ["v", 3]),
  (contest, "Contest.tuned", [3, "mpt"]),
  (contest, "Contest.chooses", [1, None]),
  (contest, "Contest.closed", ["a", (1,)]),
  (QuickstartConfig, "QuickstartConfig.teach_steps", [0, 1.5]),
  (QuickstartConfig, "QuickstartConfig.shots", [(), 64, (0,)]),
  (QuickstartConfig, "QuickstartConfig.sources", ["sarcasm", ()]),
]
slot = functools.partial(Slot, task="a")
REFUSED += [
  (Slot, "Slot.task", ["", None, 3]),
  (slot, "Slot.shots", [0, 4.0, True]),
  (slot, "Slot.seed", [None, 0.5]),
  (slot, "Slot.label", [None, 3]),
  (slot, "Slot.group", ["", 3]),
  (slot, "Slot.init", ["", None]),
  (slot, "Slot.source", ["", 3]),
  (slot, "Slot.train_factors", [1, None]),
  (slot, "Slot.learning_rate_scale", [-1, nan, "1"]),
  (slot, "Slot.rate", [0, -1.0, nan, "1"]),
  (PromptConfig, "PromptConfig.num_slots", [0, 1.0, None]),
  (
    functools.partial(PromptConfig, num_slots=2),
    "PromptConfig.prompt_length",
    [0, 1.0, True],
  ),
  (functools.partial(PromptConfig, num_slots=2), "PromptConfig.rank", [-1]),
  (
    functools.partial(PromptConfig, num_slots=2, kind="dept"),
    "PromptConfig.inputs_length",
    [0, None, 2.5],
  ),
]
REFUSED += [
  (OptimizerConfig, f"OptimizerConfig.{name}", [-1, nan, infinite, None, "0.3"])
  for name in (
    "learning_rate",
    "factor_learning_rate",
    "offset_learning_rate",
    "weight_decay",
    "clip_norm",
    "warmup_fraction",
    "embedding_scale",
  )
]


@pytest.mark.parametrize(
  ("make", "name", "value"),
  [(make, name, v) for make, name, values in REFUSED for v in values],
  ids=str,
)
def test_what_a_setting_cannot_be(make, name, value):
  with pytest.raises(ValueError) as error:
    make(**{name.partition(".")[2]: value})
  message = str(error.value)
  # The message begins with the setting and ends with the value; for a tuple,
  # with its last part.
  assert message.startswith(name), message
  assert "\n" not in message
  assert re.search(r"[\w.-]*$", str(value).rstrip("()[]{},'"))[0] in message


@pytest.mark.parametrize(
  "name", ["network", "loss", "batch", "mix", "optimizer", "eval"]
)
def test_an_object_of_another_class(name):
  with pytest.raises(
    TypeError, match=f"Experiment.{name} must be of the class"
  ):
    experiment(**{name: {"seed": 1}})


def test_every_setting_is_tried():
  """A new field needs a check, and a line in REFUSED."""
  tried = {name for _, name, _ in REFUSED}
  elsewhere = {
    # Objects, tried above; all sizes of a T5 have one check.
    *(f"Experiment.{n}" for n in ("network", "loss", "batch", "mix")),
    *("Experiment.optimizer", "Experiment.eval", "LossConfig.distill"),
    *(f"T5Config.{f.name}" for f in dataclasses.fields(T5Config)),
    # Tried with the ways of mixing.
    *("MixConfig.rates", "MixConfig.max_examples", "MixConfig.temperature"),
  }
  for cls in (
    *(Experiment, BatchConfig, MixConfig, OptimizerConfig, EvalConfig),
    *(LossConfig, DistillConfig, T5Config, Method, Slot, View, Contest),
  ):
    names = {f"{cls.__name__}.{f.name}" for f in dataclasses.fields(cls)}
    assert names <= tried | elsewhere


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (dict(mixing="all", rates=(1, 2)), "rates=.* has no effect .*'all'"),
    (dict(mixing="rates", max_tasks=3), "max_tasks=3 has no effect"),
    (dict(mixing="rates", temperature=2.0), "temperature=2.0 has no effect"),
    (
      dict(mixing="sampled", max_examples=9),
      "max_examples=9 has .* to proportional and",
    ),
    (dict(mixing="rates", rates=(-1, 2)), r"rates\[0\] must be a number of at"),
    (dict(mixing="rates", rates=(0, 0)), "rates must not all be 0"),
    (dict(mixing="rates", rates=0.5), "rates must be a tuple of numbers"),
    (
      dict(mixing="temperature", temperature=0),
      "temperature must be a number above 0",
    ),
    (dict(mixing="proportional", max_examples=0), "max_examples must be a"),
  ],
)
def test_settings_of_one_way_of_mixing(settings, message):
  with pytest.raises(ValueError, match=f"^MixConfig.{message}"):
    MixConfig(**settings)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      dict(prompt_length=0),
      "Experiment.prompt_length must be at least 1 where",
    ),
    (
      dict(
        trainable="everything",
        prompt_length=0,
        loss=LossConfig(distill=DistillConfig()),
      ),
      "Experiment.prompt_length must be at least 1 where Experiment.loss",
    ),
    (
      dict(optimizer=OptimizerConfig(name="adafactor")),
      "OptimizerConfig.name='adafactor' mixes",
    ),
    (
      dict(prompt_length=5, batch=lengths(row_length=12)),
      "row_length=12 does not hold .* = 13 positions",
    ),
    (dict(backbone=None), "either Experiment.backbone or"),
    (dict(network=t5()), "either Experiment.backbone or"),
  ],
)
def test_settings_that_do_not_fit_each_other(settings, message):
  with pytest.raises(ValueError, match=message):
    experiment(**settings)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (
      lambda: batch_config({"inputs": 8}),
      "batch_config.task_feature_lengths must be a dict with the keys 'inputs'",
    ),
    (
      lambda: batch_config({"inputs": 0, "targets": 4}),
      r"batch_config.task_feature_lengths\['inputs'\] must be a whole number",
    ),
    (
      lambda: make_slots((), seeds=(0,)),
      "make_slots.tasks must be a tuple of names of tasks that is not empty",
    ),
    (
      lambda: make_slots("a", shots=4),
      r"make_slots.shots must be a tuple of whole numbers, as in \(16,\)",
    ),
    (
      lambda: make_slots("a", shots=(None, 0)),
      r"make_slots.shots\[1\] must be a whole number of at least 1, got 0",
    ),
    (
      lambda: make_slots("a", seeds=(0, 0.5)),
      r"make_slots.seeds\[1\] must be a whole number",
    ),
    (
      lambda: make_slots("a", share="task"),
      "make_slots.share must be one of none, all, tasks, got 'task'. Did you"
      " mean tasks",
    ),
    (
      lambda: method_batch_size((), 0),
      "batch_size.examples_per_slot must be a whole number of at least 1",
    ),
    (
      lambda: method_slots(("mtp",), [method(name="mpt")], ("a",)),
      r"method_slots.methods\[0\] must be one of mpt, got 'mtp'. Did you mean",
    ),
  ],
)
def test_arguments_of_functions(call, message):
  with pytest.raises(ValueError, match=f"^{message}"):
    call()


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("num_model_partitions", 0),
    ("checkpoint_period", -1),
    ("checkpoint_period", 2.5),
    ("log_period", 0),
    ("keep_checkpoints", 0),
    ("tensorboard", None),
    ("model_dir", 3),
  ],
)
def test_arguments_of_train(name, value, tmp_path):
  arguments = {"model_dir": tmp_path / "run", name: value}
  with pytest.raises(ValueError, match=f"^train.{name} must be .*got {value}"):
    loop.train(experiment(), **arguments)
  assert not (tmp_path / "run").exists()


def test_what_is_stored():
  """Lists become tuples; paths and NumPy's numbers become JSON's."""
  made = experiment(
    slots=[Slot(task="a")],
    total_steps=np.int64(7),
    backbone=pathlib.Path("a") / "t5",
    dropout_rate=np.float32(0.5),
    mix=MixConfig(mixing="rates", rates=[1, 2.5]),
    loss=LossConfig(distill=DistillConfig(hidden_layers=[0, 2])),
  )
  assert made.slots == (Slot(task="a"),)
  assert type(made.total_steps) is int and type(made.dropout_rate) is float
  assert made.backbone == "a/t5"
  assert made.mix.rates == (1, 2.5)
  assert made.loss.distill.hidden_layers == (0, 2)
  hash(made)


def test_positional_settings_are_refused():
  for cls in (Experiment, MixConfig, OptimizerConfig, EvalConfig, BatchConfig):
    with pytest.raises(TypeError, match="positional"):
      cls(1, 2)


@pytest.mark.parametrize(
  ("limits", "message"),
  [
    (dict(low=0, high=1), r"a number in \[0, 1\], got 2"),
    (dict(above=0, below=1), r"a number in \(0, 1\), got 2"),
    (dict(low=3), "a number of at least 3, got 2"),
    (dict(above=2), "a number above 2, got 2"),
    (dict(high=1), "a number of at most 1, got 2"),
  ],
)
def test_limits_are_named(limits, message):
  with pytest.raises(ValueError, match=f"^x must be {message}$"):
    checks.number("x", 2, **limits)
