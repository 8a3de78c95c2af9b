"""Makes the mesh of devices and places arrays on it."""

import functools

import jax
import numpy as np
from flax.core import unfreeze
from flax.linen.partitioning import get_axis_names
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mpt_jax.model.network import T5, init_variables

# Maps logical axes of parameters to mesh axes. Other axes are replicated.
RULES = {"vocab": "model", "joined_kv": "model", "mlp": "model"}


def make_mesh(num_model_partitions: int = 1, devices=None) -> Mesh:
  """Arranges devices as a mesh with the axes `data` and `model`.

  Args:
    num_model_partitions: devices that share one copy of the parameters.
    devices: the devices; None takes all that JAX has.

  Raises:
    ValueError: num_model_partitions does not divide the number of devices.
  """
  count = jax.device_count() if devices is None else len(devices)
  if num_model_partitions < 1 or count % num_model_partitions:
    raise ValueError(
      f"num_model_partitions={num_model_partitions} does not divide the"
      f" {count} devices"
    )
  return jax.make_mesh(
    (count // num_model_partitions, num_model_partitions),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
    devices=devices,
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding with a full copy on each device."""
  return NamedSharding(mesh, P())


def param_shardings(mesh: Mesh, variables):
  """Returns the shardings of a parameter tree, given its logical axes.

  Args:
    mesh: a mesh of `make_mesh`.
    variables: {"params", "params_axes"} of `network.init_variables`, possibly
      abstract.

  Returns:
    A tree of NamedSharding with the structure of `params`. An axis is
    replicated if the mesh does not divide its size.
  """

  def sharding(array, axes):
    names = [RULES.get(axis) for axis in axes]
    names = [
      name if name and size % mesh.shape[name] == 0 else None
      for name, size in zip(names, array.shape, strict=True)
    ]
    return NamedSharding(mesh, P(*names))

  axes = unfreeze(get_axis_names(variables["params_axes"]))
  return jax.tree.map(sharding, unfreeze(variables["params"]), axes)


def put(tree, shardings):
  """Places arrays on all devices; each process must hold them completely.

  Args:
    tree: arrays on the host or on devices, equal in all processes.
    shardings: a tree of shardings like `tree`, or one sharding for all.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, shardings)
  if isinstance(shardings, jax.sharding.Sharding):
    shardings = jax.tree.map(lambda _: shardings, tree)

  def place(x, sharding):
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
      return jax.device_put(x, sharding)
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda i: x[i])

  return jax.tree.map(place, tree, shardings)


def put_params(mesh: Mesh, network: T5, params):
  """Places a network's parameters on the devices by their logical axes."""
  init = functools.partial(init_variables, network)
  variables = jax.eval_shape(init, jax.random.key(0))
  return put(params, param_shardings(mesh, variables))


def put_batch(mesh: Mesh, batch):
  """Splits rows over `data`; the batch must be equal in all processes."""
  return put(batch, NamedSharding(mesh, P("data")))


def fetch(x) -> np.ndarray:
  """Returns a whole array on the host. All processes must call this."""
  if isinstance(x, jax.Array) and not (
    x.is_fully_addressable or x.is_fully_replicated
  ):
    return multihost_utils.process_allgather(x, tiled=True)
  return np.asarray(x)
