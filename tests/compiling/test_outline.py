"""A run in shapes against the run itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from train_fixtures import tiny_backbone, tiny_experiment, tiny_tasks

from mpt_jax.compiling import measure, stages
from mpt_jax.compiling.outline import backbone_shape, batch_shapes, outline
from mpt_jax.data.batches import BatchConfig
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import partitioning
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import DistillConfig, LossConfig
from mpt_jax.prompts.slots import make_slots
from mpt_jax.training.assembly import set_up
from mpt_jax.training.optimizers import OptimizerConfig
from mpt_jax.training.run import Run

__all__ = ["tiny_backbone", "tiny_tasks"]


def described(tree):
  """{path: (shape, dtype, how it is split)}."""
  return {
    jax.tree_util.keystr(path): (x.shape, x.dtype, _spec(x))
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }


def _spec(x):
  spec = getattr(x.sharding, "spec", None)
  return None if spec is None else tuple(spec) + (None,) * (x.ndim - len(spec))


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"dtype": "bfloat16"},
    {"trainable": "everything", "prompt_length": 0},
    {
      "trainable": "everything",
      "prompt_length": 0,
      "optimizer": OptimizerConfig(name="adafactor"),
    },
  ],
  ids=["teach", "bfloat16", "everything", "adafactor"],
)
@pytest.mark.parametrize("partitions", [1, 2])
def test_it_has_the_arrays_of_the_run(
  tiny_backbone, tiny_tasks, tmp_path, changes, partitions
):
  slots = make_slots(tiny_tasks[:2])
  experiment = tiny_experiment(slots, tiny_backbone, eval=None, **changes)
  real = set_up(experiment, partitions)
  backbone = backbone_shape(experiment)
  assert backbone.config == real.backbone.config
  assert backbone.vocabulary_path == real.backbone.vocabulary_path
  mesh = partitioning.make_mesh(partitions)
  shapes = outline(experiment, backbone, mesh)
  assert shapes.model == real.model and shapes.layout == real.layout
  run = Run(real, tmp_path)
  state, _ = shapes.make_train_step()
  assert described(state) == described(run.state)
  assert described(shapes.frozen) == described(real.frozen)
  # The batch is at least as large as one that is drawn, and of the same kind.
  batch = partitioning.put_batch(mesh, run._first_batch)
  outlined = batch_shapes(shapes)
  assert outlined.keys() == batch.keys()
  for name, x in batch.items():
    assert outlined[name].dtype == x.dtype
    assert _spec(outlined[name]) == _spec(x)
    assert outlined[name].shape[0] >= x.shape[0]


def test_the_step_is_that_of_the_run(tiny_backbone, tiny_tasks):
  slots = make_slots(tiny_tasks[:2], share="all")
  batch = BatchConfig(
    inputs_length=16, targets_length=4, num_rows=8, row_multiple=8
  )
  experiment = tiny_experiment(
    slots, tiny_backbone, eval=None, rank=1, batch=batch
  )
  real = set_up(experiment, 2)
  state, step = real.make_train_step()
  arrays = {
    name: jnp.zeros(x.shape, x.dtype, device=x.sharding)
    for name, x in batch_shapes(real).items()
  }
  text = step.lower(state, real.frozen, arrays, jax.random.key(0)).as_text()
  shapes = outline(
    experiment, backbone_shape(experiment), partitioning.make_mesh(2)
  )
  (program,) = stages.programs(shapes, "train")
  assert program.lower().as_text() == text


@pytest.fixture
def teach(tiny_backbone, tiny_tasks):
  slots = make_slots(tiny_tasks[:2])
  return tiny_experiment(slots, tiny_backbone)


def test_bytes_by_hand(teach):
  mesh = partitioning.make_mesh()
  distill = dataclasses.replace(
    teach, loss=LossConfig(distill=DistillConfig()), teachers="nowhere"
  )
  setup = outline(distill, backbone_shape(teach), mesh)
  (program,) = stages.programs(setup, "train")
  found = measure.measure(program)
  # V = 8000, D = 32, 2 heads of 8, 48 inner, one layer in each stack. Each
  # attention has 4 · 32 · 16, each feed-forward block 2 · 32 · 48, each stack
  # 32 buckets for 2 heads, and there are 2 + 1 and 3 + 1 norms of 32.
  attention, feed_forward = 4 * 32 * 16, 2 * 32 * 48
  encoder = attention + feed_forward + 32 * 2 + 3 * 32
  decoder = 2 * attention + feed_forward + 32 * 2 + 4 * 32
  weights = 4 * (8000 * 32 + encoder + decoder)
  # Two prompts of 3 × 32: themselves, Adam's two means, a backup. The step,
  # two counts of the optimizer, and two faults of two numbers.
  prompts = 2 * 3 * 32 * 4
  state = 4 * prompts + 4 + 2 * 4 + 2 * 2 * 4
  # A device has one row of 3 + 16 positions in four arrays, and of
  # 4 · ⌈2 · 19 / 19⌉ targets in five; a key of two numbers.
  batch = 4 * (4 * 19 + 5 * 8) + 8
  assert found.arguments == {
    "weights": weights,
    "teachers": prompts,
    "prompts and optimizer": state,
    "batch": batch,
  }
  # There is no dropout, so the key is not read.
  assert found.arguments_bytes == weights + prompts + state + batch - 8
  assert found.fits(None) and found.total_bytes > found.arguments_bytes
  # The gradients of the prompts are summed over the eight devices.
  assert sum(c.num_bytes for c in found.collectives) >= prompts
  assert {c.group for c in found.collectives} == {8}
  embedding = ("token_embedder/embedding", "float32[8000,32]", 4 * 8000 * 32)
  assert found.largest_arguments[0] == (*embedding, 1)


def test_weights_split_over_devices(teach):
  mesh = partitioning.make_mesh(2)
  setup = outline(teach, backbone_shape(teach), mesh)
  kernel = setup.frozen["encoder"]["layers_0"]["mlp"]["wi"]["kernel"]
  # Half of the inner width of 48.
  assert measure.device_bytes(kernel) == 4 * 32 * 24


def test_one_cpu_has_its_own_plan(teach):
  mesh = partitioning.make_mesh(1, jax.devices()[:1])
  setup = outline(teach, backbone_shape(teach), mesh)
  assert isinstance(setup.model.plan, BySegments)
  stacked = setup.frozen["encoder"]["layers"]["mlp"]["wi"]["kernel"]
  assert stacked.shape == (1, 32, 48)
  # Eight examples of 3 + 16 positions and 4 targets fill one long row:
  # 152, rounded up to 128s, and 32, rounded up to 32s.
  shapes = {name: x.shape for name, x in batch_shapes(setup).items()}
  assert shapes["encoder_input_tokens"] == (1, 256)
  assert shapes["decoder_input_tokens"] == (1, 32)


def test_published_sizes_need_no_folder(teach):
  experiment = dataclasses.replace(
    teach, backbone="t5_1_1_xxl", dtype="bfloat16"
  )
  backbone = backbone_shape(experiment)
  assert backbone.params is None and backbone.vocabulary_path is None
  setup = outline(experiment, backbone, partitioning.make_mesh(8))
  sizes = [np.prod(x.shape) for x in jax.tree.leaves(setup.frozen)]
  # D = 4096, 64 heads of 64, three matrices of 4096 × 10240 in each block, 24
  # layers in each stack, and an embedding on either end.
  attention, feed_forward = 4 * 4096 * 64 * 64, 3 * 4096 * 10240
  encoder = 24 * (attention + feed_forward + 2 * 4096) + 32 * 64 + 4096
  decoder = 24 * (2 * attention + feed_forward + 3 * 4096) + 32 * 64 + 4096
  assert sum(sizes) == 2 * 32128 * 4096 + encoder + decoder
  with pytest.raises(FileNotFoundError, match="no T5 't5_huge'.*t5_1_1_xxl"):
    backbone_shape(dataclasses.replace(teach, backbone="t5_huge"))


@pytest.mark.parametrize("stage", ["eval", "predict"])
def test_ranking(teach, stage):
  mesh = partitioning.make_mesh()
  setup = outline(teach, backbone_shape(teach), mesh)
  encode, rank = stages.programs(setup, stage)
  # The eight devices encode eight rows each, and score sixteen.
  inputs = encode.arguments["batch"]
  assert inputs["encoder_input_tokens"].shape == (64, 19)
  assert inputs["prompts"].shape == (64, 3, 32)
  encoded = encode.lower().out_info
  assert encoded.shape == (64, 19, 32)
  given = rank.arguments["batch"]
  assert given["encoded"].shape == (128, 19, 32)
  assert encoded.dtype == given["encoded"].dtype
  # "yes" and "no" with their ends take 8 positions.
  assert rank.lower().out_info.shape == (128 * 8,)


@pytest.mark.parametrize("num_beams", [1, 2])
def test_generation(teach, num_beams):
  config = dataclasses.replace(teach.eval, method="decode", num_beams=num_beams)
  decode = dataclasses.replace(teach, eval=config)
  setup = outline(decode, backbone_shape(teach), partitioning.make_mesh())
  _, generate = stages.programs(setup, "eval")
  assert generate.name == "generate" and generate.rounds == 4
  made = generate.lower().out_info
  tokens = made if num_beams > 1 else made["tokens"]
  # Rows of the evaluation.
  assert tokens.shape == (8, 4)


def test_a_run_without_evaluation_has_none(teach):
  experiment = dataclasses.replace(teach, eval=None)
  setup = outline(experiment, backbone_shape(teach), partitioning.make_mesh())
  with pytest.raises(ValueError, match="without evaluation"):
    stages.programs(setup, "eval")


def test_rows_that_are_fixed(teach):
  batch = dataclasses.replace(teach.batch, num_rows=16)
  experiment = dataclasses.replace(teach, batch=batch)
  setup = outline(experiment, backbone_shape(teach), partitioning.make_mesh())
  assert isinstance(setup.layout, BatchLayout)
  shapes = batch_shapes(setup)
  assert shapes["encoder_input_tokens"].shape == (16, 19)
