"""The programs of each stage of a run, with the shapes of their arguments."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mpt_jax.compiling.outline import batch_shapes, on_data
from mpt_jax.data import labels
from mpt_jax.data.packing import BatchLayout
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference import batching, engine
from mpt_jax.inference.decoding import Generation
from mpt_jax.inference.division import Division
from mpt_jax.io import paths
from mpt_jax.model import choice, partitioning
from mpt_jax.training.assembly import Setup

STAGES = ("train", "eval", "predict")
# Rows of a batch of `mpt predict` unless --batch-size is given.
PREDICT_ROWS = 64


class Program(NamedTuple):
  """A jitted function and what it is called with.

  Attributes:
    name: what it does.
    function: the jitted function.
    arguments: {what it is: its shapes}, in the function's order.
    options: static keyword arguments.
    rounds: the most rounds of a loop that may end early.
    shape: the batch in words.
  """

  name: str
  function: Callable
  arguments: dict[str, Any]
  options: dict[str, Any]
  rounds: int
  shape: str

  def lower(self):
    return self.function.lower(*self.arguments.values(), **self.options)


def programs(setup: Setup, stage: str) -> list[Program]:
  """Returns the programs that a stage of a run compiles.

  Args:
    setup: see `outline.outline`.
    stage: one of `STAGES`.

  Raises:
    ValueError: the experiment has no evaluation, or a task is unknown.
  """
  if stage == "train":
    return [_train(setup)]
  if stage == "eval" and setup.experiment.eval is None:
    raise ValueError(
      "--stage eval: these gin files train without evaluation"
      " (Experiment.eval is None)"
    )
  return _answers(setup, stage)


def _train(setup) -> Program:
  state, step = setup.make_train_step()
  batch = batch_shapes(setup)
  arguments = {
    "state": state,
    "weights": setup.frozen,
    "batch": batch,
    "key": jax.eval_shape(lambda: jax.random.key(0)),
  }
  rows, length = batch["encoder_input_tokens"].shape
  targets = batch["decoder_input_tokens"].shape[1]
  shape = f"{rows} rows of {length} and {targets} positions"
  if setup.layout.num_rows is None:
    shape += f", the most that {setup.experiment.mix.batch_size} examples take"
  return Program("step", step, arguments, {}, 1, shape)


def _answers(setup, stage) -> list[Program]:
  """Returns the programs that rank labels and generate, as the tasks need."""
  config = setup.experiment.eval
  method = "auto" if config is None or stage == "predict" else config.method
  ranked, decodes = set(), False
  for names in _label_tokens(setup):
    if names is None or method == "decode":
      decodes = True
    else:
      ranked.add(batching.target_length(names))
  made = []
  for target_length in sorted(ranked, reverse=True)[:1]:
    made += _calls(setup, stage, target_length)
  if decodes:
    made += _calls(setup, stage, None)
  return made


def _label_tokens(setup):
  """Yields the token ids of each task's labels, or None if it generates.

  A T5 without a vocabulary gets that of the embedded T5, whose labels are about
  as long.
  """
  path = setup.backbone.vocabulary_path
  if path is None:
    path = paths.DEFAULT_T5 / "sentencepiece.model"
  for task in slot_tasks(setup.experiment.slots, str(path)):
    names = labels.label_names(task)
    yield None if names is None else labels.label_tokens(task)


def _calls(setup, stage, target_length) -> list[Program]:
  """Returns the encoder's program, and that of ranking or of generation."""
  batch, rows, generation = _batch(setup, stage, target_length)
  call = engine.make_programs(
    setup.model.config,
    setup.experiment.prompt_length,
    batch.plan,
    setup.mesh,
    generation,
  )
  params = setup.network_params(setup.trainable)
  params.pop("prompt", None)
  prompts = _prompts(setup)
  mesh, emb_dim = setup.mesh, setup.model.config.emb_dim
  count, length = batch.num_rows, batch.row_length
  inputs = {k: v for k, v in rows.items() if k.startswith("encoder_")}
  if batch.joined:
    inputs = {k: v.update(shape=batch.joined) for k, v in inputs.items()}
  inputs = {**inputs, **prompts}
  words = f"{count} rows of {length} positions"
  targets_length = setup.layout.targets_length
  weights = {"weights": params}
  encode = Program(
    "encode", call.encode, {**weights, "batch": inputs}, {}, 1, words
  )
  encoded = {
    "encoded": jax.ShapeDtypeStruct(
      (count, length, emb_dim),
      jnp.dtype(setup.model.config.dtype),
      sharding=NamedSharding(mesh, PartitionSpec("data")),
    ),
    "encoder_segment_ids": rows["encoder_segment_ids"],
  }
  if target_length is None:
    ids = on_data(mesh, {"ids": jax.ShapeDtypeStruct((count,), jnp.int32)})
    arguments = {**weights, "batch": encoded, "rows": ids["ids"]}
    options = {"max_length": targets_length}
    words += f", {targets_length} tokens each"
    answer = Program(
      "generate", call.generate, arguments, options, targets_length, words
    )
    return [encode, answer]
  targets = {k: v for k, v in rows.items() if k.startswith("decoder_")}
  options = {"num_candidates": count * target_length}
  words += f" and {target_length} positions of labels"
  arguments = {**weights, "batch": {**encoded, **targets}}
  return [encode, Program("rank", call.score, arguments, options, 1, words)]


def _batch(setup, stage, target_length):
  """Returns the largest batch, its arrays' shapes, and the generation."""
  config, layout = setup.experiment.eval, setup.layout
  generation = Generation()
  if stage == "eval":
    generation = config.generation
  length = setup.experiment.prompt_length
  leaves = jax.tree.leaves(setup.network_params(setup.trainable))
  division = Division(
    config=setup.model.config,
    num_parameters=sum(x.size for x in leaves),
    parameter_bytes=sum(x.size * x.dtype.itemsize for x in leaves)
    // setup.mesh.shape["model"],
    prompt_length=length,
    inputs_length=layout.inputs_length,
    targets_length=layout.targets_length,
    batch_size=config.num_rows if stage == "eval" else PREDICT_ROWS,
    num_beams=generation.num_beams,
    devices=setup.mesh.shape["data"],
    joins=choice.is_one_cpu(setup.mesh),
  )
  sizes = [length + layout.inputs_length] * division.batch_size
  batch = division.batches(sizes, target_length)[0]
  plain = BatchLayout(
    inputs_length=batch.row_length - length,
    targets_length=target_length or 2,
    prompt_length=length,
    pack=False,
    length_multiple=1,
    num_rows=batch.num_rows,
  )
  # Candidates have two arrays more than targets.
  row = {"inputs": [2, 1], "targets": [[2, 1]]}
  rows, _ = engine.make_batch([row], plain)
  return batch, on_data(setup.mesh, rows), generation


def _prompts(setup) -> dict:
  """Returns the shape of the prompts of a call, or nothing."""
  config = setup.model.prompt_config
  if config is None:
    return {}
  count = batching.next_count(config.num_slots)
  length = config.prompt_length + (config.inputs_length or 0)
  shape = count, length, setup.model.config.emb_dim
  sharding = partitioning.replicated(setup.mesh)
  return {
    "prompts": jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
  }
