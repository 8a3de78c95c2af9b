"""Settings near those of a run that does not fit, which might."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mpt_jax.compiling import measure, stages
from mpt_jax.compiling.outline import backbone_shape, outline
from mpt_jax.compiling.topologies import Topology
from mpt_jax.model import partitioning
from mpt_jax.training.assembly import Setup
from mpt_jax.training.experiment import Experiment


class Settings(NamedTuple):
  """What decides a program: the experiment, and how its T5 is split.

  Attributes:
    experiment: the settings of the run.
    num_model_partitions: devices that share one copy of the T5.
    changes: the arguments that make these settings of the user's.
  """

  experiment: Experiment
  num_model_partitions: int = 1
  changes: tuple[str, ...] = ()

  def outline(self, topology: Topology) -> Setup:
    """Sets the run up on these devices, in shapes."""
    mesh = partitioning.make_mesh(self.num_model_partitions, topology.devices)
    return outline(self.experiment, backbone_shape(self.experiment), mesh)


class Tried(NamedTuple):
  """Settings that were tried.

  Attributes:
    changes: the arguments to add.
    is_compiled: whether they were compiled. Otherwise their arguments alone
      were compared with the memory.
    fits: whether they fit.
    total_bytes: bytes of one device, or of the arguments alone.
  """

  changes: tuple[str, ...]
  is_compiled: bool
  fits: bool
  total_bytes: int


def neighbours(settings: Settings, topology: Topology) -> Iterator[Settings]:
  """Yields settings that need less memory, those that change least first.

  First the T5 in bfloat16, where it is not; then, on top of it, more
  micro-batches and more devices for one copy of the T5, which change no result
  but rounding; then smaller batches.
  """
  base = _in_bfloat16(settings)
  if base is not settings:
    yield base
  yield from _with_microbatches(base, topology)
  count = len(topology.devices)
  split = base
  partitions = 2 * base.num_model_partitions
  while partitions <= count and count % partitions == 0:
    change = f"--gin.train.num_model_partitions={partitions}"
    split = base._replace(
      num_model_partitions=partitions, changes=(*base.changes, change)
    )
    yield split
    partitions *= 2
  if split is not base:
    yield from _with_microbatches(split, topology)
  yield from _with_smaller_batches(split)


def _in_bfloat16(settings: Settings) -> Settings:
  experiment = settings.experiment
  config = backbone_shape(experiment).config
  if config.dtype == "bfloat16" or experiment.network is not None:
    return settings
  return settings._replace(
    experiment=dataclasses.replace(experiment, dtype="bfloat16"),
    changes=(*settings.changes, "--gin.DTYPE='\"bfloat16\"'"),
  )


def _with_microbatches(settings, topology):
  """Yields settings whose parts of a batch have a row for each device."""
  experiment = settings.experiment
  data = len(topology.devices) // settings.num_model_partitions
  parts = 2 * experiment.num_microbatches
  rows = experiment.batch.num_rows or experiment.mix.batch_size
  while parts * data <= rows and rows % (parts * data) == 0:
    change = f"--gin.NUM_MICROBATCHES={parts}"
    yield settings._replace(
      experiment=dataclasses.replace(experiment, num_microbatches=parts),
      changes=(*settings.changes, change),
    )
    parts *= 4


def _with_smaller_batches(settings):
  experiment = settings.experiment
  size = experiment.mix.batch_size // 2
  while size and experiment.batch.num_rows is None:
    mix = dataclasses.replace(experiment.mix, batch_size=size)
    yield settings._replace(
      experiment=dataclasses.replace(experiment, mix=mix),
      changes=(*settings.changes, f"--gin.BATCH_SIZE={size}"),
    )
    size //= 4


def find_fitting(
  settings: Settings,
  topology: Topology,
  stage: str,
  tries: int,
  working: Callable[[str], contextlib.AbstractContextManager],
) -> list[Tried]:
  """Tries neighbours until one fits.

  Args:
    settings: what does not fit.
    topology: the devices.
    stage: see `stages.programs`.
    tries: most settings to compile. Those whose arguments alone exceed the
      memory are not compiled.
    working: makes a context from a line about what is compiled.

  Returns:
    What was tried, in order. If any fits, it is the last.
  """
  tried = []
  limit = topology.chip.memory if topology.chip else None
  for near in neighbours(settings, topology):
    if tries <= 0:
      break
    try:
      programs = stages.programs(near.outline(topology), stage)
    except ValueError:
      continue  # These settings do not fit each other.
    taken = max(measure.argument_bytes(program) for program in programs)
    if limit is not None and taken > limit:
      tried.append(Tried(near.changes, False, False, taken))
      continue
    tries -= 1
    with working("compiling with " + " ".join(near.changes)):
      found = [measure.measure(program) for program in programs]
    fits = all(one.fits(topology.chip) for one in found)
    total = max(one.total_bytes for one in found)
    tried.append(Tried(near.changes, True, fits, total))
    if fits:
      break
  return tried
