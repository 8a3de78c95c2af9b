"""Builds what an experiment needs: backbone, tasks, model, parameters."""

import dataclasses
import math
import sys
from collections.abc import Mapping

import jax
import numpy as np
import optax

from mpt_jax.backbones.backbone import Backbone, check_vocabulary, load_backbone
from mpt_jax.data import first_look
from mpt_jax.data.in_memory import row_stream
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.evaluator import Evaluator
from mpt_jax.inference.find_tasks import find_tasks
from mpt_jax.inference.source_choice import choose_sources
from mpt_jax.model import choice, partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.initialization import init_bank
from mpt_jax.prompts.kinds import expand_bank
from mpt_jax.prompts.plain import plain_params
from mpt_jax.prompts.slots import optimizer_scales
from mpt_jax.text import vocabulary_files
from mpt_jax.training import step
from mpt_jax.training.experiment import Experiment
from mpt_jax.training.optimizers import make_optimizer


@dataclasses.dataclass(kw_only=True)
class Assembly:
  """An experiment's parts, without the parameters to start from.

  Attributes:
    experiment: the settings.
    backbone: the T5. Its params are None if they are random or come from a
      t5x checkpoint.
    tasks: the task of each slot, with the backbone's vocabulary.
    model: network, bank, loss.
    layout: lengths and packing of the batches.
  """

  experiment: Experiment
  backbone: Backbone
  tasks: list
  model: Model
  layout: BatchLayout

  def make_stream(self):
    """Returns the training examples, starting at the first batch.

    It is a `row_stream.RowStream` for rows in memory, and else a
    `pipeline.ExampleStream`. Warns of slots with many cut inputs or targets.

    Raises:
      ValueError: see `first_look.look` and `ExampleStream`.
    """
    shown = [slot.name for slot in self.experiment.slots]
    names = [slot.data_name for slot in self.experiment.slots]
    lengths = self.layout.inputs_length, self.layout.targets_length
    for warning in first_look.look(self.tasks, shown, *lengths):
      if jax.process_index() == 0:
        print(f"warning: {warning}", file=sys.stderr)
    rates = [slot.rate for slot in self.experiment.slots]
    stream = row_stream.RowStream
    if not isinstance(self.tasks[0], RowTask):
      from mpt_jax.data.pipeline import ExampleStream as stream
    return stream(self.tasks, names, self.experiment.mix, rates)

  def make_optimizer(self) -> optax.GradientTransformation:
    """Builds the optimizer of the trainable parameters."""
    prompts, scales = None, ()
    if self.experiment.trainable == "prompt":
      prompts = self.model.prompt_config
      scales = optimizer_scales(self.experiment.slots, prompts.groups)
    return make_optimizer(
      self.experiment.optimizer, self.experiment.total_steps, prompts, *scales
    )

  def complete(self, params, teachers, mesh, prepare) -> "Setup":
    """Adds the parameters to start from.

    Args:
      params: all parameters of the network, on the mesh.
      teachers: the arrays of the teachers' bank, on the mesh, or None.
      mesh: the devices.
      prepare: `plan.Dense.prepare` of the model's plan.
    """
    trainable, frozen = self.model.split_params(params)
    frozen = prepare(frozen)
    if teachers is not None:
      frozen = {**frozen, "teacher_prompt": teachers}
    parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return Setup(**parts, trainable=trainable, frozen=frozen, mesh=mesh)


@dataclasses.dataclass(kw_only=True)
class Setup(Assembly):
  """An experiment with everything loaded, or with the shapes of everything.

  Attributes:
    trainable: the trainable parameters before the first step, or a
      `jax.ShapeDtypeStruct` with a sharding for each array of them.
    frozen: the `frozen` argument of `objective.Model.loss`, on the mesh; or
      its shapes.
    mesh: the devices that hold the parameters.
  """

  trainable: dict
  frozen: dict
  mesh: jax.sharding.Mesh

  def make_train_step(self):
    """Returns (state, step): the initial state and the jitted step.

    If the parameters are shapes, so is the state.
    """
    optimizer = self.make_optimizer()
    leaves = jax.tree.leaves(self.trainable)
    shapes = isinstance(leaves[0], jax.ShapeDtypeStruct)
    make = step.outline_train_state if shapes else step.init_train_state
    state = make(self.model, optimizer, self.trainable, self.mesh)
    num_microbatches = self.experiment.num_microbatches
    train_step = step.make_train_step(
      self.model,
      optimizer,
      None if self.layout.long_rows else num_microbatches,
      step.state_shardings(state, self.mesh),
    )
    return state, train_step

  def make_evaluation(self, trainable):
    """Builds the evaluation of a run; the experiment must have `eval`.

    Args:
      trainable: the trainable parameters at any step.

    Returns:
      (evaluate, evaluator): a function that maps the trainable parameters to
      the metrics of each slot, and calls its second argument with (done, total)
      numbers of examples after each batch; and the `Evaluator` behind it.
    """
    config = self.experiment.eval
    names = [slot.name for slot in self.experiment.slots]
    evaluator = Evaluator(self.tasks, config, names)
    engine = Engine(
      self.model.config,
      *self._network_and_prompts(trainable),
      prompt_length=self.experiment.prompt_length,
      mesh=self.mesh,
      inputs_length=self.layout.inputs_length,
      targets_length=self.layout.targets_length,
      batch_size=config.num_rows,
      generation=config.generation,
    )

    def evaluate(trainable, progress=None):
      parts = self._network_and_prompts(trainable)
      return evaluator(engine.with_params(*parts), progress)

    return evaluate, evaluator

  def _network_and_prompts(self, trainable):
    """Returns T5 parameters and the bank of `expand_bank`, or None."""
    params = self.network_params(trainable)
    prompt = params.pop("prompt", None)
    if prompt is None:
      return params, None
    prompt = jax.tree.map(partitioning.fetch, prompt)
    return params, expand_bank(prompt, self.model.groups)

  def network_params(self, trainable) -> dict:
    """Returns all parameters of the network, with these trainable ones."""
    params = {**self.frozen, **trainable}
    params.pop("teacher_prompt", None)
    return self.model.plan.restore(params)


def _load_backbone(experiment: Experiment) -> Backbone:
  if experiment.network is None:
    return load_backbone(
      experiment.backbone, experiment.dtype, experiment.vocabulary_path
    )
  return Backbone(
    config=experiment.network,
    params=None,
    vocabulary_path=vocabulary_files.resolve(experiment.vocabulary_path),
    fingerprint="random",
    name="random",
  )


def assemble(
  experiment: Experiment,
  row_multiple: int = 1,
  backbone: Backbone | None = None,
  mesh: jax.sharding.Mesh | None = None,
  tasks: Mapping[str, RowTask] | None = None,
) -> Assembly:
  """Loads the backbone and the tasks, and builds the model.

  Args:
    experiment: the settings.
    row_multiple: see `make_model`.
    backbone: the experiment's backbone, if it is loaded already.
    mesh: the devices; None if another launcher divides the arrays.
    tasks: see `find_tasks.find_tasks`.

  Raises:
    ValueError: the settings do not fit each other or the backbone.
  """
  backbone = backbone or _load_backbone(experiment)
  check_vocabulary(backbone)
  found = find_tasks(experiment.slots, backbone.vocabulary_path, tasks)
  model, layout = make_model(experiment, backbone.config, mesh, row_multiple)
  return Assembly(
    experiment=experiment,
    backbone=backbone,
    tasks=found,
    model=model,
    layout=layout,
  )


def make_model(
  experiment: Experiment, config: T5Config, mesh, row_multiple: int = 1
) -> tuple[Model, BatchLayout]:
  """Builds the model of an experiment and the layout of its batches.

  The devices and the settings decide which plan the model uses. The losses do
  not depend on the plan.

  Args:
    experiment: the settings.
    config: the shape of the backbone.
    mesh: the devices; None if another launcher divides the arrays.
    row_multiple: the number of rows of a batch must be a multiple of this.

  Raises:
    ValueError: the settings do not fit each other.
  """
  config = dataclasses.replace(config, dropout_rate=experiment.dropout_rate)
  slots = experiment.slots
  prompts, teacher_config = experiment.bank_config, None
  if prompts is not None:
    optimizer_scales(slots, prompts.groups)  # Raises if they do not fit.
  if experiment.loss.distill is not None:
    teacher_config = PromptConfig(
      num_slots=len(slots), prompt_length=experiment.prompt_length, rank=0
    )
  model = Model(
    config,
    prompts,
    teacher_config,
    experiment.loss,
    experiment.trainable,
    num_datasets=len(slots),
  )
  layout = fit_to_devices(
    experiment.batch.layout(
      prompt_length=experiment.prompt_length, num_slots=len(slots)
    ),
    row_multiple,
  )
  plan = choice.training_plan(
    mesh,
    config,
    layout,
    batch_size=experiment.mix.batch_size,
    row_multiple=row_multiple,
    num_microbatches=experiment.num_microbatches,
    trains_everything=experiment.trainable == "everything",
  )
  return dataclasses.replace(model, plan=plan), plan.rows(layout)


def fit_to_devices(layout: BatchLayout, row_multiple: int) -> BatchLayout:
  """Returns the layout with a row count that is a multiple of `row_multiple`.

  Raises:
    ValueError: `num_rows` is fixed and is not such a multiple.
  """
  if layout.num_rows is not None and layout.num_rows % row_multiple:
    raise ValueError(
      f"BatchConfig.num_rows={layout.num_rows} must be a multiple of"
      f" {row_multiple}, the devices that share a batch times num_microbatches"
    )
  multiple = math.lcm(layout.row_multiple, row_multiple)
  return dataclasses.replace(layout, row_multiple=multiple)


def starting_prompts(parts: Assembly, embedding) -> dict:
  """Makes the prompts before the first step; see `initialization.init_bank`.

  Args:
    parts: the assembled experiment.
    embedding: [V, D] token embedding of the backbone.
  """
  slots, model = parts.experiment.slots, parts.model
  slots = choose_sources(slots, parts.tasks, parts.backbone, parts.layout)
  prompt = init_bank(
    slots,
    model.prompt_config,
    np.asarray(embedding, np.float32),
    encode=parts.tasks[0].output_features["inputs"].vocabulary.encode,
    backbone=parts.backbone.fingerprint,
  )
  sound = model.find_sound(prompt)
  for slot, is_sound in zip(slots, np.asarray(sound), strict=True):
    if not is_sound:
      source = "the embedding of the T5" if slot.source is None else slot.source
      raise ValueError(
        f"slot {slot.name!r}: the prompt that it starts from is not finite in"
        f" {model.config.dtype} (init {slot.init!r} from {source}); choose"
        " another init or source"
      )
  return prompt


def set_up(
  experiment: Experiment,
  num_model_partitions: int = 1,
  tasks: Mapping[str, RowTask] | None = None,
) -> Setup:
  """Loads the backbone, the tasks and the starting prompts.

  Args:
    experiment: the settings.
    num_model_partitions: see `partitioning.make_mesh`.
    tasks: see `find_tasks.find_tasks`.

  Raises:
    ValueError: the settings do not fit each other, the backbone or the sources
      of the prompts; the message names the setting.
  """
  mesh = partitioning.make_mesh(num_model_partitions)
  row_multiple = mesh.shape["data"] * experiment.num_microbatches
  parts = assemble(experiment, row_multiple, mesh=mesh, tasks=tasks)
  model, backbone = parts.model, parts.backbone
  variables = jax.eval_shape(model.init_variables, jax.random.key(0))
  shardings = partitioning.param_shardings(mesh, variables)
  if backbone.params is None:
    init = jax.jit(model.init_params, out_shardings=shardings)
    params = init(jax.random.key(experiment.seed))
  else:
    params = dict(backbone.params)
  if model.prompt_config is not None:
    embedding = partitioning.fetch(params["token_embedder"]["embedding"])
    params["prompt"] = starting_prompts(parts, embedding)
  params, teachers = partitioning.put(params, shardings), None
  if experiment.loss.distill is not None:
    prompts = teacher_prompts(experiment, backbone.fingerprint)
    teachers = partitioning.put(
      plain_params(prompts), partitioning.replicated(mesh)
    )
  return parts.complete(params, teachers, mesh, model.plan.prepare)


def teacher_prompts(experiment: Experiment, fingerprint: str | None):
  """Loads the teachers' prompts [N, P, D], in the order of the slots.

  Args:
    experiment: the settings.
    fingerprint: the backbone's, which is checked; None skips the check.

  Raises:
    ValueError: no teachers are given, or they do not fit the experiment.
  """
  if experiment.teachers is None:
    raise ValueError(
      "distillation needs Experiment.teachers: the run folder or prompt file"
      " of the teacher stage"
    )
  teachers = load_bank(experiment.teachers, fingerprint)
  composed = teachers.composed
  length = composed.shape[1]
  if length != experiment.prompt_length:
    raise ValueError(
      f"the teachers' prompts have length {length}, but"
      f" Experiment.prompt_length={experiment.prompt_length}; they must be"
      " equal"
    )
  for slot in experiment.slots:
    if not np.isfinite(composed[teachers.index(slot.task)]).all():
      raise ValueError(
        f"slot {slot.name!r}: its teacher in {experiment.teachers} is not"
        " finite; train this teacher again"
      )
  return composed[[teachers.index(slot.task) for slot in experiment.slots]]
