"""t5x's partitioner, with a mesh on every kind of device."""

import jax
import numpy as np
from jax.sharding import Mesh
from t5x import partitioning

from mpt_jax.io import checks
from mpt_jax.t5x import submesh


class PromptPartitioner(partitioning.PjitPartitioner):
  """t5x's partitioner; it chooses a mesh where t5x has no default.

  Args:
    num_partitions: devices that share one copy of the parameters.
    model_parallel_submesh: instead, these devices as (x, y, z, core).
    ici_mesh_shape: instead, (replica, data, model) of the mesh in each slice.
    dcn_mesh_shape: (replica, data, model) of the mesh of all slices.
    **kwargs: see `partitioning.PjitPartitioner`.

  Raises:
    ValueError: the arguments do not fit each other or the devices.
  """

  def __init__(
    self,
    num_partitions=1,
    model_parallel_submesh=None,
    ici_mesh_shape=None,
    dcn_mesh_shape=None,
    **kwargs,
  ):
    name = "PromptPartitioner."
    sizes = dict(of=checks.whole, what="whole numbers", low=1)
    if (ici_mesh_shape is None) != (dcn_mesh_shape is None):
      raise ValueError(
        f"{name}ici_mesh_shape and {name}dcn_mesh_shape belong together, got"
        f" {ici_mesh_shape} and {dcn_mesh_shape}"
      )
    shapes = {
      "model_parallel_submesh": (model_parallel_submesh, 4),
      "ici_mesh_shape": (ici_mesh_shape, 3),
      "dcn_mesh_shape": (dcn_mesh_shape, 3),
    }
    for argument, (value, count) in shapes.items():
      if value is not None:
        value = checks.sequence(name + argument, value, **sizes)
        if len(value) != count:
          raise ValueError(
            f"{name}{argument} must have {count} numbers, got {value}"
          )
        kwargs[argument] = value
    if num_partitions is not None:
      checks.whole(f"{name}num_partitions", num_partitions, low=1)
    if model_parallel_submesh is None:
      kwargs["num_partitions"] = num_partitions or 1
    if not any(value for value, _ in shapes.values()):
      chosen = default_submesh(num_partitions or 1)
      if chosen is not None:
        del kwargs["num_partitions"]
        kwargs["model_parallel_submesh"] = chosen
    super().__init__(**kwargs)


def default_submesh(num_partitions: int) -> tuple[int, ...] | None:
  """Returns `submesh.choose_submesh` for the devices of this run."""
  devices, local = (
    sorted(found, key=partitioning.get_coords)[-1]
    for found in (jax.devices(), jax.local_devices(0))
  )
  return submesh.choose_submesh(
    devices.platform,
    devices.device_kind,
    partitioning.bounds_from_last_device(devices),
    partitioning.bounds_from_last_device(local),
    num_partitions,
  )


def two_axes(mesh: Mesh) -> Mesh:
  """Returns the mesh with the axes `data` and `model` of the native programs.

  With several slices t5x's mesh has a third axis, `replica`, over which it
  splits rows as it does over `data`.
  """
  devices = np.reshape(mesh.devices, (-1, mesh.shape["model"]))
  return Mesh(devices, ("data", "model"))
