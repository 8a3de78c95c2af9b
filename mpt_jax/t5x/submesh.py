"""The devices that share one copy of the parameters, where t5x has no default.

Nothing here imports t5x.
"""

import itertools
import math
from collections.abc import Sequence

# TPUs for which `t5x.partitioning.default_mesh` knows what to do.
KNOWN = ("TPU v2", "TPU v3", "TPU v4", "TPU v4 lite")


def choose_submesh(
  platform: str,
  kind: str,
  bounds: Sequence[int],
  local_bounds: Sequence[int],
  num_partitions: int,
) -> tuple[int, ...] | None:
  """Chooses t5x's `model_parallel_submesh` for a number of devices.

  On a TPU, cores of one chip come first, and then the most compact block,
  because neighbours are connected directly.

  Args:
    platform: "cpu", "gpu" or "tpu".
    kind: the kind of the devices, such as "TPU v5 lite".
    bounds: devices along x, y, z and core.
    local_bounds: the same of one process.
    num_partitions: devices that share one copy of the parameters.

  Returns:
    Four numbers, or None where t5x chooses well itself.

  Raises:
    ValueError: no block of the mesh has so many devices.

  >>> choose_submesh("tpu", "TPU v5 lite", (4, 4, 1, 1), (2, 2, 1, 1), 4)
  (2, 2, 1, 1)
  """
  if platform == "gpu" or kind in KNOWN:
    return None
  if platform == "cpu":
    # t5x takes the second of these as the devices of a process.
    if math.prod(bounds) % num_partitions:
      raise _does_not_fit(num_partitions, bounds)
    return (1, 1, 1, num_partitions)
  blocks = [
    block
    for block in itertools.product(*(range(1, bound + 1) for bound in bounds))
    if math.prod(block) == num_partitions
    and all(
      bound % size == 0 and (size % local == 0 or local % size == 0)
      for size, bound, local in zip(block, bounds, local_bounds, strict=True)
    )
  ]
  if not blocks:
    raise _does_not_fit(num_partitions, bounds)
  return min(blocks, key=lambda block: (-block[3], sum(block[:3]), block))


def _does_not_fit(num_partitions, bounds):
  shape = " x ".join(map(str, bounds))
  return ValueError(
    f"PromptPartitioner.num_partitions={num_partitions} does not divide the"
    f" {shape} devices into equal blocks"
  )
