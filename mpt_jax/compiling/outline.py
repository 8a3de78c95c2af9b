"""An experiment as a run would set it up, with shapes in place of arrays."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before TensorFlow.
from mpt_jax.backbones import hub
from mpt_jax.backbones.backbone import DEFAULT, Backbone, open_backbone
from mpt_jax.data.batches import EOS_ID, make_batch
from mpt_jax.model import partitioning
from mpt_jax.model.config import T5Config
from mpt_jax.prompts.plain import plain_params
from mpt_jax.text import vocabulary_files
from mpt_jax.training.assembly import Assembly, Setup, make_model
from mpt_jax.training.experiment import Experiment


def backbone_shape(experiment: Experiment) -> Backbone:
  """Returns an experiment's T5 without parameters; reads no tensors.

  Args:
    experiment: its `backbone` may be the name of a published size, such as
      "t5_1_1_xxl", where no folder has this name.

  Returns:
    A `Backbone` whose params are None, and whose vocabulary may be None.

  Raises:
    FileNotFoundError: it is neither a folder nor a published size.
    ValueError: the folder is damaged.
  """
  name, vocabulary = experiment.backbone, experiment.vocabulary_path
  if experiment.network is not None:
    config, name = experiment.network, "random"
  elif not (
    name == DEFAULT or pathlib.Path(name).exists() or hub.find_name(name)
  ):
    try:
      config = T5Config.preset(name)
    except ValueError as error:
      raise FileNotFoundError(
        f"no T5 {name!r}: there is no such folder, and the {error}"
      ) from error
  else:
    opened = open_backbone(name)
    config, vocabulary = opened.config, vocabulary or opened.find_vocabulary()
  if experiment.network is None:
    dtype = experiment.dtype or config.dtype
    config = dataclasses.replace(config, dtype=dtype)
  return Backbone(
    config=config,
    params=None,
    vocabulary_path=vocabulary_files.resolve(vocabulary),
    fingerprint="none",
    name=name,
  )


def outline(experiment: Experiment, backbone: Backbone, mesh) -> Setup:
  """Returns what `assembly.set_up` returns, with shapes in place of arrays.

  No parameters are made and no data are read; `Setup.tasks` is empty. The
  model, its plan, the layout of the batches, all shardings and the step come
  from the code that a run uses.

  Args:
    experiment: the settings.
    backbone: the T5, see `backbone_shape`.
    mesh: the devices, which need not be those of this machine.

  Raises:
    ValueError: the settings do not fit each other or the devices.
  """
  row_multiple = mesh.shape["data"] * experiment.num_microbatches
  model, layout = make_model(experiment, backbone.config, mesh, row_multiple)
  parts = Assembly(
    experiment=experiment,
    backbone=backbone,
    tasks=[],
    model=model,
    layout=layout,
  )
  variables = jax.eval_shape(model.init_variables, jax.random.key(0))
  shardings = partitioning.param_shardings(mesh, variables)
  # A T5 that is read has its weights in the dtype of its activations. Prompts
  # and random parameters are float32.
  dtype = jnp.float32 if experiment.network else jnp.dtype(model.config.dtype)
  params = {
    name: jax.tree.map(
      lambda x, s, own=jnp.float32 if name == "prompt" else dtype: (
        jax.ShapeDtypeStruct(x.shape, own, sharding=s)
      ),
      dict(tree),
      shardings[name],
    )
    for name, tree in variables["params"].items()
  }
  teachers = None
  if experiment.loss.distill is not None:
    shape = len(experiment.slots), experiment.prompt_length
    teachers = plain_params(
      jax.ShapeDtypeStruct(
        (*shape, model.config.emb_dim),
        jnp.float32,
        sharding=partitioning.replicated(mesh),
      )
    )
  return parts.complete(
    params, teachers, mesh, lambda frozen: _prepared(model.plan, frozen, mesh)
  )


def _prepared(plan, frozen, mesh):
  """Returns the shapes and shardings of what `plan.prepare` returns."""
  known = dict(jax.tree_util.tree_leaves_with_path(frozen))
  made = jax.eval_shape(plan.prepare, frozen)

  def placed(path, x):
    if path in known:
      return known[path]
    return x.update(sharding=_stacked_sharding(path, x, known, mesh))

  return jax.tree_util.tree_map_with_path(placed, made)


def _stacked_sharding(path, x, known, mesh):
  """Returns the sharding of an array that `plan.prepare` made.

  Layers that are stacked keep the sharding of one, behind the new axis. Other
  arrays are replicated.
  """
  for other, layer in known.items():
    if other[0] == path[0] and other[2:] == path[2:]:
      if layer.shape == x.shape[1:]:
        spec = PartitionSpec(None, *layer.sharding.spec)
        return NamedSharding(mesh, spec)
  return partitioning.replicated(mesh)


def batch_shapes(setup: Setup):
  """Returns the shapes of a training batch, and the numbers of them.

  Where the number of rows is not fixed, it is that of `BATCH_SIZE` examples of
  the longest inputs and targets, so no batch is larger.

  Returns:
    {name: `jax.ShapeDtypeStruct` [B, L] or [B, T]}, split over the data axis.
  """
  layout, examples = setup.layout, []
  if layout.num_rows is None:
    ids = np.full(layout.inputs_length, 2), np.full(layout.targets_length, 2)
    for array in ids:
      array[-1] = EOS_ID
    longest = {"inputs": ids[0], "targets": _with_a_token(ids[1])}
    examples = [longest] * setup.experiment.mix.batch_size
  batch, _ = make_batch(examples, layout)
  return on_data(setup.mesh, batch)


def _with_a_token(targets):
  """A target must have a token besides its end; the shape is what counts."""
  return targets if len(targets) > 1 else np.array([2])


def on_data(mesh, batch):
  """Returns the shapes of a batch's arrays, split over the axis `data`."""
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  return {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    for name, x in batch.items()
  }
