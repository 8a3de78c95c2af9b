"""Chooses the plan of a run or a call; no other file asks for the devices."""

import jax

from mpt_jax.model.accelerator.plan import Accelerated, choose_keeps
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.plan import Dense

# Up to this length, attention over packed rows is as fast as attention by
# segments, and it compiles in a third of the time.
SHORT_ROW = 128


def is_one_cpu(mesh=None) -> bool:
  """Returns whether a mesh, or by default this process, has a single CPU."""
  if mesh is None:
    return jax.default_backend() == "cpu" and jax.device_count() == 1
  return mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"


def training_plan(
  mesh,
  config,
  layout,
  *,
  batch_size: int,
  row_multiple: int = 1,
  num_microbatches: int = 1,
  trains_everything: bool = False,
) -> Dense:
  """Returns the plan of a run.

  A single CPU attends by segments (`BySegments`) if batches have as many and as
  long rows as they need. TPUs and GPUs get `Accelerated`. The plain plan serves
  all others, and dropout, whose draws would depend on the plan.

  Args:
    mesh: the devices of the run, which need not be those of this machine. None
      means that a launcher other than ours divides the arrays.
    config: the `T5Config`.
    layout: the layout of the batches. If the user set the length or number of
      rows, a CPU gets the plain plan.
    batch_size: examples of a batch.
    row_multiple: the number of rows of a batch must be a multiple of this.
    num_microbatches: parts of a batch whose gradients are accumulated.
    trains_everything: whether the T5 trains.
  """
  if config.dropout_rate:
    return Dense()
  if is_one_cpu(mesh):
    suits = (
      row_multiple == num_microbatches == 1
      and layout.pack
      and layout.row_length is None
      and layout.num_rows is None
    )
    return BySegments.for_batches(layout) if suits else Dense()
  platform = "cpu" if mesh is None else mesh.devices.flat[0].platform
  if platform == "cpu":
    return Dense()
  parts = mesh.shape["data"] * num_microbatches
  rows = -(-(layout.num_rows or batch_size) // parts)
  return Accelerated(
    platform=None if trains_everything else _fused_platform(mesh),
    keeps=choose_keeps(
      config, rows, *layout.packed_lengths, mesh.shape["model"]
    ),
    mesh=mesh,
  )


def _fused_platform(mesh) -> str | None:
  """Returns how the devices attend in fast memory, or None if they cannot."""
  device = mesh.devices.flat[0]
  if device.platform == "tpu":
    return "tpu"
  return "cuda" if "NVIDIA" in device.device_kind else None
