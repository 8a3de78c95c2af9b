"""The same gin files under t5x's own programs; runs where t5x is importable.

Every test but the first needs t5x: `PYTHONPATH=/path/to/t5x pytest
tests/test_t5x.py` (README, "Under t5x").
"""

import importlib.util
import inspect
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
from train_fixtures import (
  CACHE,
  LABELS,
  save_tiny_backbone,
  tiny_experiment,
  tiny_tasks,
  write_rows,
)

from mpt_jax import t5x_checkpoints
from mpt_jax.bank import load_bank

# A fixture.
__all__ = ["tiny_tasks"]
ROOT = pathlib.Path(__file__).parents[1]
needs_t5x = pytest.mark.skipif(
  importlib.util.find_spec("t5x") is None,
  reason="t5x is not installed; it is not on PyPI, the README says how",
)
OWN_TASKS = """
import pathlib
import seqio
import tasks
folder = pathlib.Path(__file__).parent
for name in ("first", "second", "third"):
  tasks.register_file_task(
    name,
    {{s: folder / f"{{name}}_{{s}}.jsonl" for s in ("train", "validation")}},
    template="text: {{text}}",
    label_names={labels!r},
  )
seqio.MixtureRegistry.add("both", ["first", "second"], default_rate=1.0)
"""


def test_without_t5x_one_line_says_what_is_missing():
  # A t5x that cannot be imported, whether or not there is a real one.
  code = (
    "import sys; sys.modules['t5x'] = None\n"
    "try:\n  import mpt_jax.t5x_adapter\n"
    "except ImportError as error:\n  print(error)"
  )
  made = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  )
  (line,) = made.stdout.splitlines()
  assert "needs t5x" in line and "github.com/google-research/t5x" in line
  assert "airio" in line and "jestimator" in line


@needs_t5x
def test_the_surface_of_t5x_that_the_adapter_uses():
  from t5x import (
    checkpoints,
    gin_utils,
    infer,
    metrics,
    models,
    optimizers,
    partitioning,
    train,
    trainer,
    utils,
  )
  from t5x import eval as evaluate

  def arguments(function, *names):
    assert set(names) <= inspect.signature(function).parameters.keys()

  arguments(
    train.train,
    *("model", "train_dataset_cfg", "train_eval_dataset_cfg"),
    *("infer_eval_dataset_cfg", "get_dataset_fn", "checkpoint_cfg"),
    *("partitioner", "trainer_cls", "train_state_initializer_cls"),
    *("model_dir", "total_steps", "eval_steps", "eval_period", "stats_period"),
    *("random_seed", "summarize_config_fn", "inference_evaluator_cls"),
  )
  shared = ("model", "dataset_cfg", "partitioner", "restore_checkpoint_cfg")
  arguments(evaluate.evaluate, *shared, "output_dir", "inference_evaluator_cls")
  arguments(infer.infer, *shared, "mode", "output_dir", "checkpoint_period")
  arguments(
    models.BaseTransformerModel.__init__,
    *("module", "input_vocabulary", "output_vocabulary", "optimizer_def"),
  )
  arguments(models.BaseModel.loss_fn, "params", "batch", "dropout_rng")
  arguments(models.BaseModel.score_batch, "params", "batch")
  arguments(models.BaseModel.predict_batch_with_aux, "params", "batch", "rng")
  arguments(
    models.BaseModel.get_initial_variables, "rng", "input_shapes", "input_types"
  )
  arguments(optimizers.OptaxWrapper, "optax_optimizer")
  arguments(metrics.AveragePerStep.from_model_output, "values")
  arguments(
    trainer.Trainer.__init__,
    *("model", "train_state", "partitioner", "eval_names", "summary_dir"),
    *("train_state_axes", "rng", "learning_rate_fn", "num_microbatches"),
  )
  arguments(trainer.Trainer.train, "batch_iter", "num_steps", "start_step")
  arguments(
    trainer.train_with_lr,
    *("train_state", "batch", "learning_rate", "dropout_rng", "model"),
    *("num_microbatches", "data_partition_spec"),
  )
  arguments(trainer.BaseTrainer._get_step_rng, "step")
  arguments(utils.TrainStateInitializer.__init__, "optimizer_def", "init_fn")
  arguments(utils.TrainStateInitializer.from_scratch, "init_rng")
  arguments(
    utils.DatasetConfig,
    *("mixture_or_task_name", "task_feature_lengths", "split", "batch_size"),
    *("shuffle", "seed", "use_cached", "use_memory_cache"),
  )
  arguments(utils.CheckpointConfig, "save", "restore")
  arguments(utils.SaveCheckpointConfig, "period", "keep", "save_dataset")
  arguments(
    utils.RestoreCheckpointConfig,
    *("path", "mode", "dtype", "fallback_to_scratch", "assignment_map"),
  )
  arguments(
    partitioning.PjitPartitioner,
    *("num_partitions", "model_parallel_submesh", "logical_axis_rules"),
  )
  arguments(partitioning.standard_logical_axis_rules, "additional_rules")
  assert callable(gin_utils.summarize_gin_config)
  arguments(checkpoints.all_steps, "checkpoints_dir")
  arguments(checkpoints.get_checkpoint_dir, "checkpoints_dir", "step")


# ------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("t5x")
  save_tiny_backbone(folder / "t5")
  for i, name in enumerate(("first", "second", "third")):
    for split in ("train", "validation"):
      write_rows(folder / f"{name}_{split}.jsonl", 24, seed=i)
  (folder / "t5x_test_tasks.py").write_text(OWN_TASKS.format(labels=LABELS))
  (folder / "own.gin").write_text(
    "from __gin__ import dynamic_registration\nimport t5x_test_tasks\n"
  )
  return folder


def command(folder, program, stage, run, *bindings):
  values = [
    f'MODEL_DIR="{folder / run}"',
    f'INITIAL_CHECKPOINT_PATH="{folder / "t5"}"',
    "PROMPT_LENGTH=3",
    'TASK_FEATURE_LENGTHS={"inputs":16,"targets":4}',
    "BATCH_SIZE=8",
    "EvalConfig.num_rows=8",
    "TRAIN_STEPS=20",
    "EVAL_PERIOD=20",
    "CHECKPOINT_PERIOD=10",
    *bindings,
  ]
  files = (folder / "own.gin", f"gin/mpt_{stage}.gin")
  return [
    *(sys.executable, "-m", program),
    *(f"--gin_file={file}" for file in files),
    *(f"--gin.{value}" for value in values),
  ]


def environment(folder, num_devices=1):
  path = [str(ROOT), str(folder), *sys.path]
  return {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(p for p in path if p),
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


def launch(folder, *arguments, num_devices=1):
  made = subprocess.run(
    command(folder, *arguments),
    cwd=ROOT,
    env=environment(folder, num_devices),
    capture_output=True,
    text=True,
  )
  assert made.returncode == 0, made.stderr[-4000:]
  return made.stderr


STAGES = {
  "teacher": ('MIXTURE_OR_TASK_NAME="both"',),
  "distill": ('MIXTURE_OR_TASK_NAME="both"', 'TEACHERS="{folder}/t5x_teacher"'),
  "adapt": (
    'MIXTURE_OR_TASK_NAME="third"',
    "SHOTS=(4,)",
    "SEEDS=(0,1)",
    'SOURCE="{folder}/t5x_distill"',
  ),
}


def bindings_of(folder, stage):
  return [b.format(folder=folder) for b in STAGES[stage]]


@pytest.fixture(scope="module")
def runs(folder):
  """Three chained stages by each launcher; both read the teachers of t5x."""
  for stage in STAGES:
    values = bindings_of(folder, stage)
    launch(
      folder,
      *("t5x.train", stage, f"t5x_{stage}", *values, "train.stats_period=1"),
      "SaveCheckpointConfig.keep=None",
    )
    launch(
      folder,
      *("mpt_jax.train", stage, f"own_{stage}", *values, "train.log_period=1"),
    )
  return folder


def t5x_scalars(run):
  """{tag: {step: value}} of t5x's TensorBoard events."""
  import tensorflow as tf
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(run / "train"), size_guidance={"tensors": 0}
  )
  events.Reload()
  return {
    tag: {
      e.step: float(tf.make_ndarray(e.tensor_proto))
      for e in events.Tensors(tag)
    }
    for tag in events.Tags()["tensors"]
    if tag in ("loss", "kl", "hidden")
  }


def own_scalars(run):
  rows = [
    json.loads(line)
    for line in (run / "metrics.jsonl").read_text().splitlines()
  ]
  rows = [row for row in rows if row["kind"] == "train"]
  return {
    tag: {row["step"]: row[tag] for row in rows}
    for tag in ("loss", "kl", "hidden")
    if tag in rows[0]
  }


def assert_equal_losses(first, second, atol=0.0):
  assert first.keys() == second.keys() and "loss" in first
  for tag in first:
    assert sorted(first[tag]) == sorted(second[tag]) == list(range(1, 21))
    for step in first[tag]:
      np.testing.assert_allclose(
        first[tag][step],
        second[tag][step],
        rtol=1e-5,
        atol=atol,
        err_msg=(tag, step),
      )


@needs_t5x
@pytest.mark.parametrize("stage", STAGES)
def test_losses_equal_the_native_launchers(runs, stage):
  theirs = t5x_scalars(runs / f"t5x_{stage}")
  assert_equal_losses(theirs, own_scalars(runs / f"own_{stage}"))
  assert ("kl" in theirs) == (stage == "distill")


@needs_t5x
@pytest.mark.parametrize("stage", STAGES)
def test_frozen_is_frozen_and_prompts_move(runs, stage):
  folder = t5x_checkpoints.find_checkpoint(runs / f"t5x_{stage}")
  after = t5x_checkpoints.T5xTensors(folder)
  before = load_file(runs / "t5" / "params.safetensors")
  names = [name for name in after if not name.startswith("prompt/")]
  assert sorted(names) == sorted(before)
  for name in names:
    np.testing.assert_array_equal(after[name], before[name], err_msg=name)
  start = runs / f"t5x_{stage}" / "checkpoint_0"
  start = t5x_checkpoints.T5xTensors(t5x_checkpoints.find_checkpoint(start))
  for name in after:
    if name.startswith("prompt/"):
      assert (after[name] != start[name]).mean() > 0.9, name
  # Adam's two moments and the parameter itself, for the prompts alone.
  info = (runs / f"t5x_{stage}" / "model-info.txt").read_text()
  state = [line for line in info.splitlines() if "param_states" in line]
  assert state and not any("encoder" in line for line in state)
  assert any("shared_prompt" in line for line in state)


@needs_t5x
def test_prompts_of_one_launcher_load_in_the_other(runs):
  for stage in STAGES:
    theirs = load_bank(runs / f"t5x_{stage}")
    own = load_bank(runs / f"own_{stage}" / "prompts" / "last.safetensors")
    assert theirs.names == own.names and theirs.backbone == own.backbone
    np.testing.assert_allclose(theirs.composed, own.composed, rtol=1e-4)
  # The other way round: t5x distils from the native launcher's teachers.
  launch(
    runs,
    *("t5x.train", "distill", "crossed", 'MIXTURE_OR_TASK_NAME="both"'),
    *(f'TEACHERS="{runs / "own_teacher"}"', "TRAIN_STEPS=1"),
    *("EVAL_PERIOD=1", "CHECKPOINT_PERIOD=1"),
  )


@needs_t5x
def test_eval_and_infer_give_the_native_predictions(runs):
  values = bindings_of(runs, "adapt")
  launch(
    runs,
    *("t5x.eval", "adapt", "t5x_adapt", *values),
    f'EVAL_OUTPUT_DIR="{runs / "evaluated"}"',
  )
  launch(
    runs,
    *("t5x.infer", "adapt", "t5x_adapt", *values),
    f'INFER_OUTPUT_DIR="{runs / "inferred"}"',
  )
  from mpt_jax.predict import Predictor

  predictor = Predictor(
    runs / "t5x_adapt" / "prompts" / "last.safetensors",
    str(runs / "t5"),
    method="decode",
  )
  for slot in ("third_k4_s0", "third_k4_s1"):
    (file,) = (runs / "inferred").glob(f"mpt.{slot}-predict.jsonl*-of-00001")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    texts = [row["inputs"]["inputs_pretokenized"] for row in rows]
    texts = [text.removeprefix("text: ") for text in texts]
    answers = predictor.predict(
      [{"text": text, "task": slot} for text in texts]
    )
    assert len(rows) == 24
    assert [row["prediction"] for row in rows] == [
      answer["prediction"] for answer in answers
    ]
    metrics = runs / "evaluated" / "inference_eval"
    (line,) = (metrics / f"mpt.{slot}-metrics.jsonl").read_text().splitlines()
    assert "accuracy" in line


@needs_t5x
def test_a_killed_run_resumes_to_the_bit(runs):
  values = [*bindings_of(runs, "distill"), "EVAL_PERIOD=10"]
  arguments = command(runs, "t5x.train", "distill", "killed", *values)
  process = subprocess.Popen(
    arguments,
    cwd=ROOT,
    env=environment(runs),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 300
  while not (runs / "killed" / "checkpoint_10").is_dir():
    assert process.poll() is None and time.monotonic() < deadline
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.wait()
  launch(runs, "t5x.train", "distill", "killed", *values)
  killed = load_file(runs / "killed" / "prompts" / "last.safetensors")
  whole = load_file(runs / "t5x_distill" / "prompts" / "last.safetensors")
  for name in whole:
    np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


@needs_t5x
@pytest.mark.parametrize(
  ("run", "submesh"), [("mesh_4x1", "(1,1,1,1)"), ("mesh_2x2", "(1,1,1,2)")]
)
def test_meshes_give_the_losses_of_one_device(runs, run, submesh):
  launch(
    runs,
    *("t5x.train", "distill", run, *bindings_of(runs, "distill")),
    *("train.stats_period=1", "NUM_PARTITIONS=None"),
    f"MODEL_PARALLEL_SUBMESH={submesh}",
    num_devices=4,
  )
  one = t5x_scalars(runs / "t5x_distill")
  # Sums over devices are rounded otherwise; the hidden term is below 0.1.
  assert_equal_losses(t5x_scalars(runs / run), one, atol=2e-6)


@needs_t5x
@pytest.mark.parametrize("layout", ["legacy", "orbax"])
def test_public_checkpoints_restore_all_but_the_prompts(runs, layout):
  save = ROOT / "tests" / "save_t5x_checkpoint.py"
  path = runs / f"public_{layout}"
  subprocess.run(
    [sys.executable, save, runs / "t5", path, layout],
    env=environment(runs),
    check=True,
    capture_output=True,
  )
  checkpoint = path / "checkpoint_1000"
  launch(
    runs,
    *("t5x.train", "teacher", f"from_{layout}", *bindings_of(runs, "teacher")),
    *(f'INITIAL_CHECKPOINT_PATH="{checkpoint}"', "train.stats_period=1"),
    f'VOCABULARY_PATH="{runs / "t5" / "sentencepiece.model"}"',
  )
  assert_equal_losses(
    t5x_scalars(runs / f"from_{layout}"), t5x_scalars(runs / "t5x_teacher")
  )
  own = load_bank(runs / "t5x_teacher")
  assert load_bank(runs / f"from_{layout}").backbone == own.backbone
  # The native launcher reads the same checkpoint.
  launch(
    runs,
    *("mpt_jax.train", "teacher", f"own_{layout}"),
    *bindings_of(runs, "teacher"),
    *(f'INITIAL_CHECKPOINT_PATH="{checkpoint}"', "train.log_period=1"),
    f'VOCABULARY_PATH="{runs / "t5" / "sentencepiece.model"}"',
  )
  assert_equal_losses(
    own_scalars(runs / f"own_{layout}"), t5x_scalars(runs / "t5x_teacher")
  )


@needs_t5x
def test_one_batch_may_mix_tasks(folder, tiny_tasks):
  import jax

  from mpt_jax import batches, t5x_adapter
  from mpt_jax.bank import make_slots

  experiment = tiny_experiment(make_slots(tiny_tasks[:2]), str(folder / "t5"))
  model = t5x_adapter.PromptModel(experiment)
  variables = model.get_initial_variables(jax.random.key(0), {})
  params = {**variables["params"]}
  # Prompts that differ so much that the answers do.
  params["prompt"] = {
    "shared_prompt": 30 * jax.random.normal(jax.random.key(1), (2, 3, 32))
  }
  examples = [
    {
      "inputs": np.array([40 + i, 50, 1]),
      "targets": np.array([60 + i, 1]),
      "task_id": i % 2,
    }
    for i in range(4)
  ]
  config = batches.BatchConfig(
    8, 4, prompt_length=3, num_tasks=2, pack=False, num_rows=4
  )
  mixed, _ = batches.make_batch(examples, config)
  together = model.predict_batch(params, mixed)
  scores = model.score_batch(params, mixed)
  for i, example in enumerate(examples):
    alone, _ = batches.make_batch([example], config, num_rows=1)
    answer = model.predict_batch(params, alone)
    np.testing.assert_array_equal(answer[0], together[i])
    score = model.score_batch(params, alone)
    np.testing.assert_allclose(score[0], scores[i], rtol=1e-5)
  swapped = [{**e, "task_id": 1 - e["task_id"]} for e in examples]
  swapped, _ = batches.make_batch(swapped, config)
  assert not np.allclose(model.score_batch(params, swapped), scores)


@needs_t5x
def test_a_tree_in_which_nothing_trains_is_an_error():
  from mpt_jax import t5x_adapter

  params = {"encoder": {"kernel": np.zeros(2)}, "decoder": {"bias": 0.0}}
  with pytest.raises(ValueError, match="'encoder'.*'kernel'") as error:
    t5x_adapter.trainable_labels(params, "prompt")
  assert "'decoder'" in str(error.value) and "matches none" in str(error.value)
  params["prompt"] = {"shared_prompt": np.zeros(2)}
  labels = t5x_adapter.trainable_labels(params, "prompt")
  assert labels["encoder"]["kernel"] == labels["decoder"]["bias"] == "frozen"
  assert labels["prompt"]["shared_prompt"] == "prompt"


@needs_t5x
def test_export_reads_the_runs_of_t5x(runs):
  from mpt_jax import cli

  out = runs / "exported.npz"
  code = cli.main(
    ["export", str(runs / "t5x_adapt"), "--to", "npz", "--out", str(out)]
  )
  assert code == 0 and out.is_file()
