"""Chooses the batches of an engine's call from the sizes of its examples."""

import dataclasses

from mpt_jax.inference import batching
from mpt_jax.model import choice
from mpt_jax.model.config import T5Config
from mpt_jax.model.plan import DENSE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Division:
  """What decides the batches of an engine's call, besides its examples.

  Attributes:
    config: the shape of the T5.
    num_parameters: the T5's parameters.
    parameter_bytes: bytes of them on one device.
    prompt_length: P.
    inputs_length: longest input in tokens.
    targets_length: longest output of generation in tokens.
    batch_size: most rows of a batch.
    num_beams: beams of generation.
    devices: devices that share the rows of a batch.
    joins: whether the encoder gets a batch without padding between examples.
  """

  config: T5Config
  num_parameters: int
  parameter_bytes: int
  prompt_length: int
  inputs_length: int
  targets_length: int
  batch_size: int
  num_beams: int
  devices: int
  joins: bool

  def batches(
    self, sizes: list[int], target_length: int | None = None
  ) -> list[batching.Batch]:
    """Returns the batches; their members are indices of `sizes`.

    Args:
      sizes: encoder positions of each example, prompt included; not empty.
      target_length: T for ranking, None for generation.
    """
    most = max(batching.MAX_BYTES, self.parameter_bytes)
    memory = batching.Memory(self.config, most)
    length = self.prompt_length

    def fitting(row_length):
      if target_length is not None:
        rows = memory.ranking_rows(row_length, target_length)
      else:
        rows = memory.generating_rows(
          row_length, self.targets_length, self.num_beams
        )
      return min(self.batch_size, self.devices * rows)

    shapes = sizes, batching.row_lengths(length, self.inputs_length), fitting
    worth = batching.COMPILING / self.num_parameters
    if not self.joins:
      return batching.plain_batches(*shapes, worth, self.devices)
    plan = choice.inference_plan(self.inputs_length, length, max(sizes))
    if plan == DENSE:
      return batching.packed_batches(*shapes)
    return batching.joined_batches(*shapes, worth, plan)
