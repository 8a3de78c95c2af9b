"""The same gin files under t5x's own programs; runs where t5x is importable.

Every test but the first needs t5x: `PYTHONPATH=/path/to/t5x python -m pytest
tests/t5x`. `test_chain.py` has a user's way through all programs.
"""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from program_runs import (
  ROOT,
  assert_equal_losses,
  environment,
  kill_when,
  launch,
  launch_processes,
  needs_t5x,
  own_scalars,
  t5x_scalars,
)
from safetensors.numpy import load_file
from train_fixtures import tiny_experiment, tiny_tasks, write_user_folder

from mpt_jax.backbones import t5x_checkpoints
from mpt_jax.prompts.bank import load_bank

# A fixture.
__all__ = ["tiny_tasks"]


@pytest.mark.parametrize("module", ["adapter", "data"])
def test_without_t5x_one_line_says_what_is_missing(module):
  # A t5x that cannot be imported, whether or not there is a real one.
  code = (
    "import sys; sys.modules['t5x'] = None\n"
    f"try:\n  import mpt_jax.t5x.{module}\n"
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
    train_state,
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
  arguments(infer.infer, "write_fn")
  arguments(infer.write_inferences_to_file, "input_fields_to_include")
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
  arguments(trainer.Trainer.compile_train, "batch")
  assert isinstance(utils.ShardedDatasetIterator.iterator, property)
  arguments(
    train_state.FlaxOptimTrainState.apply_gradient, "grads", "learning_rate"
  )
  arguments(train_state.FlaxOptimTrainState.replace_params, "params")
  arguments(trainer.merge_metrics, "a", "b")
  arguments(trainer.MetricsManager.start_duration_timer, "block_on")
  arguments(
    trainer.MetricsManager.write_metrics_summary,
    *("metrics", "step", "num_steps"),
  )
  arguments(models.BaseModel.eval_fn, "params", "batch")
  assert issubclass(trainer.PreemptionError, Exception)
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
    *("ici_mesh_shape", "dcn_mesh_shape"),
  )
  arguments(partitioning.standard_logical_axis_rules, "additional_rules")
  for name in ("mesh", "data_partition_spec", "data_mesh_size"):
    assert hasattr(partitioning.PjitPartitioner, name)
  arguments(partitioning.get_coords, "device")
  arguments(partitioning.bounds_from_last_device, "last_device")
  assert callable(gin_utils.summarize_gin_config)
  arguments(checkpoints.all_steps, "checkpoints_dir")
  arguments(checkpoints.get_checkpoint_dir, "checkpoints_dir", "step")


# ------------------------------------------------------------------- running


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("t5x")
  return write_user_folder(folder, "t5x_test_tasks", 24)


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


@needs_t5x
@pytest.mark.parametrize("stage", STAGES)
def test_losses_equal_the_native_launchers(runs, stage):
  theirs = t5x_scalars(runs / f"t5x_{stage}")
  own = own_scalars(runs / f"own_{stage}")
  # To the bit; the native launcher writes more digits than t5x's float32.
  assert theirs == {
    tag: {step: float(np.float32(x)) for step, x in values.items()}
    for tag, values in own.items()
  }
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
  own = load_bank(runs / f"own_{stage}" / "prompts" / "last.safetensors")
  for name in after:
    if name.startswith("prompt/"):
      natively = own.params[name.removeprefix("prompt/")]
      np.testing.assert_array_equal(after[name], natively, err_msg=name)
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
    np.testing.assert_array_equal(theirs.composed, own.composed)
  # The other way round: t5x distils from the native launcher's teachers.
  launch(
    runs,
    *("t5x.train", "distill", "crossed", 'MIXTURE_OR_TASK_NAME="both"'),
    *(f'TEACHERS="{runs / "own_teacher"}"', "TRAIN_STEPS=1"),
    *("EVAL_PERIOD=1", "CHECKPOINT_PERIOD=1"),
  )


@needs_t5x
def test_a_run_killed_anywhere_resumes_to_the_bit(runs):
  values = [*bindings_of(runs, "distill"), "EVAL_PERIOD=10"]
  arguments = (runs, "t5x.train", "distill", "killed", *values)
  run = runs / "killed"
  # Kill between the first two checkpoints, while the second one is written or
  # just after that, and later.
  kill_when(lambda: (run / "checkpoint_0").is_dir(), *arguments)
  kill_when(lambda: list(run.glob("checkpoint_10*")), *arguments)
  kill_when(lambda: (run / "checkpoint_10").is_dir(), *arguments)
  launch(*arguments)
  assert not list(run.glob("*orbax-checkpoint-tmp*"))
  killed = load_file(run / "prompts" / "last.safetensors")
  whole = load_file(runs / "t5x_distill" / "prompts" / "last.safetensors")
  for name in whole:
    np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


@needs_t5x
def test_dropout_draws_what_it_draws_natively(runs):
  values = [*bindings_of(runs, "distill"), "Experiment.dropout_rate=0.2"]
  for program, period in (("t5x", "stats"), ("mpt_jax", "log")):
    launch(
      runs,
      *(f"{program}.train", "distill", f"{program}_dropout", *values),
      *("TRAIN_STEPS=5", "EVAL_PERIOD=5", "CHECKPOINT_PERIOD=5"),
      f"train.{period}_period=1",
    )
  dropped = t5x_scalars(runs / "t5x_dropout")
  assert_equal_losses(dropped, own_scalars(runs / "mpt_jax_dropout"), 5)
  plain = t5x_scalars(runs / "t5x_distill")
  for step in range(1, 6):
    assert abs(dropped["loss"][step] - plain["loss"][step]) > 1e-3


@needs_t5x
def test_two_processes_give_the_losses_of_one(runs):
  arguments = (
    *(runs, "t5x.train", "distill", "processes"),
    *bindings_of(runs, "distill"),
    "train.stats_period=1",
  )
  # One process began the run, with another layout of rows.
  kill_when((runs / "processes" / "checkpoint_10").is_dir, *arguments)
  launch_processes(*arguments)
  assert_equal_losses(
    t5x_scalars(runs / "processes"), t5x_scalars(runs / "t5x_distill")
  )
  made, expected = (
    load_file(runs / run / "prompts" / "last.safetensors")
    for run in ("processes", "t5x_distill")
  )
  for name in expected:
    np.testing.assert_allclose(made[name], expected[name], atol=1e-4)


@needs_t5x
def test_microbatches_of_a_run_change_no_loss(runs):
  launch(
    runs,
    *("t5x.train", "distill", "micro", *bindings_of(runs, "distill")),
    *("Experiment.num_microbatches=4", "train.stats_period=1"),
  )
  assert_equal_losses(
    t5x_scalars(runs / "micro"), t5x_scalars(runs / "t5x_distill")
  )


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
  assert_equal_losses(
    t5x_scalars(runs / run), t5x_scalars(runs / "t5x_distill")
  )


@needs_t5x
@pytest.mark.parametrize("layout", ["legacy", "orbax"])
def test_public_checkpoints_restore_all_but_the_prompts(runs, layout):
  save = ROOT / "tests" / "fixtures" / "save_t5x_checkpoint.py"
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

  from mpt_jax.data import batches, packing
  from mpt_jax.prompts.slots import make_slots
  from mpt_jax.t5x import adapter as t5x_adapter

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
      "slot_id": i % 2,
    }
    for i in range(4)
  ]
  config = packing.BatchLayout(
    inputs_length=8,
    targets_length=4,
    prompt_length=3,
    num_slots=2,
    pack=False,
    num_rows=4,
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
  swapped = [{**e, "slot_id": 1 - e["slot_id"]} for e in examples]
  swapped, _ = batches.make_batch(swapped, config)
  assert not np.allclose(model.score_batch(params, swapped), scores)


@needs_t5x
def test_tasks_with_labels_are_ranked_and_others_generate(
  folder, tiny_tasks, tmp_path
):
  import dataclasses

  import jax

  from mpt_jax.data import batches, packing
  from mpt_jax.inference.evaluator import EvalConfig
  from mpt_jax.prompts.slots import make_slots
  from mpt_jax.t5x import adapter as t5x_adapter

  experiment = tiny_experiment(make_slots(tiny_tasks[:2]), str(folder / "t5"))
  model = t5x_adapter.PromptModel(experiment)
  params = {**model.get_initial_variables(jax.random.key(0), {})["params"]}
  # One slot has no labels.
  table = np.array(model._labels)
  model._labels = table * np.array([1, 0]).reshape(2, 1, 1)
  examples = [
    {"inputs": np.array([40 + i, 50, 1]), "slot_id": i % 2} for i in range(4)
  ]
  for example in examples:
    example["targets"] = np.array([60, 1])
  layout = packing.BatchLayout(
    inputs_length=8,
    targets_length=6,
    prompt_length=3,
    num_slots=2,
    pack=False,
    num_rows=4,
  )
  rows, _ = batches.make_batch(examples, layout)
  tokens, aux = model.predict_batch_with_aux(params, rows)
  decode = dataclasses.replace(experiment, eval=EvalConfig(method="decode"))
  generated, _ = t5x_adapter.PromptModel(decode).predict_batch_with_aux(
    params, rows
  )
  np.testing.assert_array_equal(tokens[1::2], generated[1::2])
  # Each label as the target of `score_batch`, which t5x has for itself.
  scores = np.array(
    [
      model.score_batch(
        params,
        batches.make_batch(
          [{**e, "targets": label[label > 0]} for e in examples], layout
        )[0],
      )
      for label in table[0]
    ]
  )
  for row in (0, 2):
    best = scores[:, row].argmax()
    np.testing.assert_array_equal(tokens[row][: table.shape[2]], table[0, best])
    np.testing.assert_allclose(aux["scores"][row], scores[best, row], rtol=1e-5)


@needs_t5x
def test_the_best_label_per_token_is_that_of_the_setting(folder, tiny_tasks):
  import dataclasses

  import jax

  from mpt_jax.data import batches, packing
  from mpt_jax.inference.engine.decoding import NOT_FINITE
  from mpt_jax.inference.evaluator import EvalConfig
  from mpt_jax.prompts.slots import make_slots
  from mpt_jax.t5x import adapter as t5x_adapter

  experiment = tiny_experiment(make_slots(tiny_tasks[:2]), str(folder / "t5"))
  experiment = dataclasses.replace(
    experiment, eval=EvalConfig(method="rank_per_token")
  )
  model = t5x_adapter.PromptModel(experiment)
  params = {**model.get_initial_variables(jax.random.key(0), {})["params"]}
  # One token with the end, and three.
  labels = [[60, 1, 0, 0], [61, 62, 63, 1]]
  model._labels = np.array([labels, labels], np.int32)
  examples = [
    {"inputs": np.array([40 + i, 50, 1]), "slot_id": i % 2} for i in range(8)
  ]

  layout = packing.BatchLayout(
    inputs_length=8,
    targets_length=4,
    prompt_length=3,
    num_slots=2,
    pack=False,
    num_rows=8,
  )

  def rows(target):
    own = [{**e, "targets": np.trim_zeros(np.array(target))} for e in examples]
    return batches.make_batch(own, layout)[0]

  scores = np.array([model.score_batch(params, rows(y)) for y in labels])
  scores /= np.array([[2], [4]])
  best = scores.argmax(axis=0)
  # The sums favour the short label in all rows.
  assert best.any()
  tokens, aux = model.predict_batch_with_aux(params, rows(labels[0]))
  np.testing.assert_array_equal(tokens, model._labels[0, best])
  np.testing.assert_allclose(aux["scores"], scores.max(axis=0), rtol=1e-5)
  # A prompt whose scores are not finite has no answer; the others have theirs.
  prompt = {k: np.array(x) for k, x in params["prompt"].items()}
  prompt["shared_prompt"][1] = np.nan
  params["prompt"] = prompt
  damaged, _ = model.predict_batch_with_aux(params, rows(labels[0]))
  assert (np.array(damaged)[1::2] == NOT_FINITE).all()
  np.testing.assert_array_equal(damaged[::2], tokens[::2])


@needs_t5x
def test_the_loss_of_evaluation_rows_is_of_their_targets(folder, tiny_tasks):
  import jax

  from mpt_jax.data import batches
  from mpt_jax.prompts.slots import make_slots
  from mpt_jax.t5x import adapter as t5x_adapter

  experiment = tiny_experiment(make_slots(tiny_tasks[:2]), str(folder / "t5"))
  model = t5x_adapter.PromptModel(experiment)
  params = model.get_initial_variables(jax.random.key(0), {})["params"]
  examples = [
    {"inputs": [40 + i, 50, 1], "targets": [60, 61][i % 2 :], "slot_id": i % 2}
    for i in range(4)
  ]
  examples = [{k: np.array(v) for k, v in e.items()} for e in examples]
  rows, _ = batches.make_batch(examples, model.parts.layout)
  _, metrics = model.eval_fn(params, rows)
  count = rows["decoder_loss_weights"].sum()
  np.testing.assert_allclose(
    metrics["loss"].compute(),
    -model.score_batch(params, rows).sum() / count,
    rtol=1e-5,
  )


@needs_t5x
def test_a_tree_in_which_nothing_trains_is_an_error():
  from mpt_jax.t5x import adapter as t5x_adapter

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
  from mpt_jax.cli import main as cli

  out = runs / "exported.npz"
  code = cli.main(
    ["export", str(runs / "t5x_adapt"), "--to", "npz", "--out", str(out)]
  )
  assert code == 0 and out.is_file()
