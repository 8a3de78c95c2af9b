"""Builds what an experiment needs: backbone, tasks, model, parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax import bank, partitioning
from mpt_jax.backbones import Backbone, check_vocabulary, load_backbone
from mpt_jax.experiment import Experiment
from mpt_jax.model import Model
from mpt_jax.network import T5Config


@dataclasses.dataclass
class Setup:
  """An experiment with everything loaded.

  Attributes:
    experiment: the settings, with all that follows from the bank filled in.
    backbone: the T5. Its params are None where it starts from random ones.
    tasks: for each slot its seqio task, over the backbone's vocabulary.
    model: network, bank, loss.
    trainable: tree that the run trains, at its start.
    frozen: all other parameters, on the mesh.
    mesh: where they are.
  """

  experiment: Experiment
  backbone: Backbone
  tasks: list
  model: Model
  trainable: dict
  frozen: dict
  mesh: jax.sharding.Mesh

  def network_params(self, trainable) -> dict:
    """The network's whole tree with these trained parameters."""
    params = {**self.frozen, **trainable}
    params.pop("teacher_prompt", None)
    return params


def slot_tasks(slots, vocabulary_path):
  """The slots' seqio tasks, few-shot draws made, over one vocabulary.

  Raises:
    ValueError: an unknown task; the message has the nearest names.
  """
  import tasks as registry

  vocabulary = None
  if vocabulary_path is not None:
    from mpt_jax import vocabularies

    vocabulary = vocabularies.seqio_vocabulary(vocabulary_path)
  made = []
  for slot in slots:
    task = registry.get_task(slot.task)
    if vocabulary is not None:
      task = registry.with_vocabulary(task, vocabulary)
    if slot.shots is not None:
      task = registry.few_shot(task, slot.shots, slot.seed)
    made.append(task)
  return made


def _load_backbone(experiment: Experiment) -> Backbone:
  if isinstance(experiment.backbone, T5Config):
    return Backbone(
      config=experiment.backbone,
      params=None,
      vocabulary_path=experiment.vocabulary_path,
      fingerprint="random",
      name="random",
    )
  backbone = load_backbone(experiment.backbone, dtype=experiment.dtype)
  check_vocabulary(backbone)
  return backbone


def set_up(experiment: Experiment, num_model_partitions: int = 1) -> Setup:
  """Loads the backbone, the tasks and the starting prompts.

  Args:
    experiment: the settings.
    num_model_partitions: see `partitioning.make_mesh`.

  Raises:
    ValueError: settings that do not fit each other, the backbone or the
      sources; the message says which.
  """
  mesh = partitioning.make_mesh(num_model_partitions)
  backbone = _load_backbone(experiment)
  config = dataclasses.replace(
    backbone.config, dropout_rate=experiment.dropout_rate
  )
  slots = experiment.slots
  tasks = slot_tasks(slots, backbone.vocabulary_path)

  prompt_config = teacher_config = teachers = None
  if experiment.prompt_length:
    prompt_config = bank.prompt_config(
      slots, experiment.prompt_length, experiment.rank
    )
  if experiment.loss.distill is not None:
    teachers = _teachers(experiment, backbone.fingerprint)
    teacher_config = bank.prompt_config(slots_without_groups(slots), 1, 0)
    teacher_config = dataclasses.replace(
      teacher_config, prompt_length=teachers.shape[1]
    )
  model = Model(
    config,
    prompt_config,
    teacher_config,
    experiment.loss,
    experiment.trainable,
    num_datasets=len(slots),
  )
  variables = jax.eval_shape(model.init_variables, jax.random.key(0))
  shardings = partitioning.param_shardings(mesh, variables)
  if backbone.params is None:
    init = lambda key: model.init_variables(key)["params"]
    params = jax.jit(init, out_shardings=shardings)(
      jax.random.key(experiment.seed)
    )
  else:
    params = dict(backbone.params)
  if prompt_config is not None:
    params["prompt"] = bank.init_bank(
      slots,
      prompt_config,
      np.asarray(params["token_embedder"]["embedding"], np.float32),
      encode=lambda text: (
        tasks[0].output_features["inputs"].vocabulary.encode(text)
      ),
      backbone=backbone.fingerprint,
    )
  params = jax.device_put(params, shardings)
  trainable, frozen = model.split_params(params)
  if teachers is not None:
    frozen["teacher_prompt"] = jax.device_put(
      {"shared_prompt": jnp.asarray(teachers)}, partitioning.replicated(mesh)
    )
  batch = dataclasses.replace(
    experiment.batch,
    prompt_length=experiment.prompt_length,
    num_tasks=len(slots),
    row_multiple=np.lcm.reduce(
      [
        experiment.batch.row_multiple,
        mesh.shape["data"] * experiment.num_microbatches,
      ]
    ).item(),
  )
  optimizer = experiment.optimizer
  if prompt_config is not None:
    scales = bank.optimizer_scales(slots, prompt_config.groups)
    optimizer = dataclasses.replace(
      optimizer, group_scales=scales[0], task_scales=scales[1]
    )
  experiment = dataclasses.replace(experiment, batch=batch, optimizer=optimizer)
  return Setup(experiment, backbone, tasks, model, trainable, frozen, mesh)


def slots_without_groups(slots):
  """The slots, each in a group of its own."""
  return [dataclasses.replace(slot, group=None) for slot in slots]


def _teachers(experiment, fingerprint):
  """The teachers' prompts [N, P, D], in the order of the slots."""
  if experiment.teachers is None:
    raise ValueError(
      "distillation needs `teachers`: the run folder or prompt file of the"
      " teacher stage"
    )
  teachers = bank.load_bank(experiment.teachers, fingerprint)
  composed = teachers.composed
  length = composed.shape[1]
  if length != experiment.prompt_length:
    raise ValueError(
      f"the teachers' prompts have length {length}, prompt_length is"
      f" {experiment.prompt_length}; they must be equal"
    )
  return composed[[teachers.index(slot.task) for slot in experiment.slots]]
