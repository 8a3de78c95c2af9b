"""The programs of each stage of a run, with the shapes of their arguments."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mpt_jax.compiling.outline import batch_shapes, on_data
from mpt_jax.data import labels
from mpt_jax.data.slot_tasks import slot_tasks
from mpt_jax.inference.engine import programs as engine_programs
from mpt_jax.inference.engine import rows, shapes
from mpt_jax.inference.engine.decoding import Generation
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
      ranked.add(shapes.target_length(names))
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
  """Returns the encoder's program, and that of ranking or of generation.

  Both are of the longest examples.
  """
  params = setup.network_params(setup.trainable)
  params.pop("prompt", None)
  generation = Generation()
  if stage == "eval":
    generation = setup.experiment.eval.generation
  found = _shapes(setup, stage, params, generation)
  length = found.lengths[-1]
  make = engine_programs.make_programs
  call = make(
    *(setup.model.config, found.prompt_length, found.plan, setup.mesh),
    generation,
  )
  weights = {"weights": params}
  _, shape = found.take_batch([length] * found.batch_size)
  encode = Program(
    "encode",
    call.encode,
    {**weights, "batch": _encoder_arrays(setup, found, shape)},
    {},
    1,
    f"{shape[0]} rows of {shape[1]} positions",
  )
  if target_length is None:
    return [encode, _generate(setup, found, weights, call, generation)]
  count = found.score_rows(length, target_length)
  # Candidates have two arrays more than targets.
  targets = rows.target_arrays([[[2, 1]]], count, target_length)
  batch = {**_states(setup, count, length), **on_data(setup.mesh, targets)}
  words = f"{count} rows of {length} positions and {target_length} of labels"
  options = {"num_candidates": count * target_length}
  rank = Program(
    "rank", call.score, {**weights, "batch": batch}, options, 1, words
  )
  return [encode, rank]


def _generate(setup, found, weights, call, generation) -> Program:
  """Returns the program of generation, by beams or in a table of rows."""
  length, most = found.lengths[-1], found.targets_length
  count = found.num_rows(length)
  words = f"{count} rows of {length} positions, {most} tokens each"
  if generation.num_beams > 1:
    ids = on_data(
      setup.mesh, {"ids": jax.ShapeDtypeStruct((count,), jnp.int32)}
    )
    batch = _states(setup, count, length)
    arguments = {**weights, "batch": batch, "rows": ids["ids"]}
    options = {"max_length": most}
    return Program("generate", call.generate, arguments, options, most, words)
  table = engine_programs.make_table_programs(
    *(setup.model.config, found.prompt_length, found.plan, setup.mesh),
    most,
    generation.top_k,
  )
  start = functools.partial(table.start, num_rows=count, length=length)
  state = jax.tree.map(
    lambda x: on_data(setup.mesh, {"x": x})["x"],
    jax.eval_shape(start, weights["weights"]),
  )
  number = jax.ShapeDtypeStruct(
    (), jnp.int32, sharding=partitioning.replicated(setup.mesh)
  )
  arguments = {**weights, "table": state, "steps": number, "enough": number}
  return Program("generate", table.run, arguments, {}, most, words)


def _shapes(setup, stage, params, generation) -> shapes.Shapes:
  """Returns the shapes of the stage's engine."""
  config, layout = setup.experiment.eval, setup.layout
  return shapes.Shapes.of_engine(
    setup.model.config,
    params,
    setup.mesh,
    joins=choice.is_one_cpu(setup.mesh),
    prompt_length=setup.experiment.prompt_length,
    inputs_length=layout.inputs_length,
    targets_length=layout.targets_length,
    batch_size=config.num_rows if stage == "eval" else PREDICT_ROWS,
    num_beams=generation.num_beams,
  )


def _encoder_arrays(setup, found, shape) -> dict:
  """Returns the shapes of what the encoder gets."""
  placed = rows.place([], shape, found)
  arrays = on_data(setup.mesh, placed.arrays)
  config = setup.model.prompt_config
  if config is None:
    return arrays
  count = found.most_prompts(shape)
  length = config.prompt_length + (config.inputs_length or 0)
  prompts = count, length, setup.model.config.emb_dim
  sharding = partitioning.replicated(setup.mesh)
  prompts = jax.ShapeDtypeStruct(prompts, jnp.float32, sharding=sharding)
  return {**arrays, "prompts": prompts}


def _states(setup, count, length) -> dict:
  """Returns the shapes of encoded plain rows."""
  config = setup.model.config
  states = {
    "encoded": jax.ShapeDtypeStruct(
      (count, length, config.emb_dim), jnp.dtype(config.dtype)
    ),
    "encoder_segment_ids": jax.ShapeDtypeStruct((count, length), jnp.int32),
  }
  return on_data(setup.mesh, states)
