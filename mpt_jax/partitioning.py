"""The mesh, and where each array lies on it."""

import jax
import numpy as np
from flax.core import unfreeze
from flax.linen.partitioning import get_axis_names
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Logical axis of a parameter -> mesh axis. What is not named is replicated.
RULES = {"vocab": "model", "joined_kv": "model", "mlp": "model"}


def make_mesh(num_model_partitions: int = 1) -> Mesh:
  """All devices as a mesh of axes `data` and `model`.

  Args:
    num_model_partitions: devices that share one copy of the parameters.

  Raises:
    ValueError: it does not divide the number of devices.
  """
  count = jax.device_count()
  if num_model_partitions < 1 or count % num_model_partitions:
    raise ValueError(
      f"num_model_partitions={num_model_partitions} does not divide the"
      f" {count} devices"
    )
  return jax.make_mesh(
    (count // num_model_partitions, num_model_partitions),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
  )


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P())


def param_shardings(mesh: Mesh, variables):
  """Shardings of a parameter tree by its logical axes.

  Args:
    mesh: the mesh.
    variables: {"params", "params_axes"} of `Model.init_variables`, possibly
      abstract.

  Returns:
    A tree like `params` of NamedSharding. An axis whose size the mesh does not
    divide is replicated.
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


def put_batch(mesh: Mesh, batch):
  """Host arrays of this process's rows -> global arrays split over `data`."""
  sharding = NamedSharding(mesh, P("data"))
  if jax.process_count() == 1:
    return jax.device_put(batch, sharding)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
    batch,
  )
