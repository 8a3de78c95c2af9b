"""Shared by all rows: settings, stages, timing of pairs, the table's lines."""

import argparse
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ours
from rich.progress import Progress
from workload import SOURCES, Workload

from mpt_jax.model.config import T5Config


@dataclasses.dataclass
class Row:
  """One line of the table.

  Attributes:
    name: the row's name.
    model: the T5's preset.
    ours: our figure.
    other: the other side's figure.
    unit: the unit of both.
    ratios: the ratio of each pair; above 1 we are better.
    notes: further measurements.
  """

  name: str
  model: str
  ours: float
  other: float
  unit: str
  ratios: list
  notes: str = ""

  @property
  def median(self):
    return float(np.median(self.ratios))


@dataclasses.dataclass
class Stage:
  """A stage's starting point and its batches.

  Attributes:
    prompts: the bank's starting values.
    teachers: [N, P, D], or None.
    num_slots: N.
    draw: returns the next batch, a list of tokenised examples.
    workload: the source of the examples.
  """

  prompts: dict
  teachers: Any
  num_slots: int
  draw: Callable
  workload: Workload


@dataclasses.dataclass
class Bench:
  """The state that the rows of one T5 share.

  Attributes:
    args: the command line.
    model: the T5's preset.
    progress: the progress bar.
    distill_rate: our examples a second in the distill row, once it has run.
    probes: the results of `whole.probes`, once it has run.
  """

  args: argparse.Namespace
  model: str
  progress: Progress
  distill_rate: float | None = None
  probes: dict | None = None

  def __post_init__(self):
    self.config = T5Config.preset(self.model, dtype=self.args.dtype)
    cpu = self.args.clock == "cpu"
    self.clock = time.process_time if cpu else time.perf_counter
    self.tolerance = 1e-3 if self.args.dtype == "float32" else 5e-2

  @functools.cached_property
  def params(self):
    """Random parameters of the T5."""
    with self.task("random weights"):
      return ours.init_params(self.config, self.args.seed)

  @functools.cached_property
  def rate(self):
    return MatmulRate(self.args.dtype)

  @contextlib.contextmanager
  def task(self, description, total=None):
    """Adds a progress bar; returns the function that advances it."""
    task = self.progress.add_task(f"{self.model} {description}", total=total)
    try:
      yield lambda: self.progress.advance(task)
    finally:
      self.progress.remove_task(task)

  def workload(self, labelled=False):
    sources = [s for s in SOURCES if s.name in self.args.sources]
    if labelled:
      sources = [s for s in sources if s.labels]
    return Workload(
      self.config.vocab_size, self.args.seed, sources, self.args.scale
    )

  def prompts(self, num_slots, rank, seed=0, num_groups=None):
    num_groups = num_groups or (1 if rank else num_slots)
    return ours.init_prompts(
      self.params, num_slots, num_groups, self.args.prompt_length, rank, seed
    )

  def stage(self, name, labelled=False, start=None):
    """A stage's starting point and stream of batches.

    Args:
      name: "teach", "distill" or "adapt".
      labelled: True leaves out sources without labels.
      start: (prompts, teachers) instead of random ones.
    """
    workload, size = self.workload(labelled), self.args.batch_size
    num = len(workload.sources) if name == "distill" else 1
    if start is None:
      teachers = None
      if name == "distill":
        teachers = self.prompts(num, 0, seed=2)["shared_prompt"]
      start = self.prompts(num, 0 if name == "teach" else 1, seed=1), teachers
    draw = (
      workload.sampled_batch if name == "distill" else workload.one_prompt_batch
    )
    return Stage(*start, num, lambda: draw(size), workload)

  @property
  def layout(self):
    """The layout of our batches, chosen as in a run."""
    if self.args.row_length:
      return {"row_length": self.args.row_length}
    return {"long_rows": jax.default_backend() == "cpu"}

  def our_trainer(self, stage, row_each=False, **options):
    """Our trainer of a stage; `options` are `BatchConfig`'s."""
    batch_config = ours.batch_config(
      stage.workload,
      self.args.prompt_length,
      stage.num_slots,
      **(options or self.layout),
    )
    return ours.Trainer(
      self.config,
      self.params,
      stage.prompts,
      batch_config,
      stage.teachers,
      row_each=row_each,
    )

  def peer_trainer(self, stage, folder=None):
    """PEFT's trainer of a stage, with our weights or those of a folder."""
    import peft_peer

    ours_on = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if peft_peer.device() != ours_on:
      raise RuntimeError(
        f"JAX runs on {jax.default_backend()} and PyTorch on"
        f" {peft_peer.device()}: install both for the same device, or hide the"
        " GPU with JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES="
      )
    dtype = self.args.dtype
    if folder is None:
      base = peft_peer.make_t5(self.config, self.params, dtype)
    else:
      base = peft_peer.load_t5(folder, dtype)
    return peft_peer.Trainer(
      base,
      stage.prompts,
      stage.teachers,
      optimizer=ours.OPTIMIZER,
      compile=self.args.compile,
    )


class MatmulRate:
  """The current rate of a large matrix product, in flops a second."""

  def __init__(self, dtype):
    on_cpu = jax.default_backend() == "cpu"
    size, self._repeats = (2048, 2) if on_cpu else (8192, 20)
    self._x = jnp.full((size, size), 1.0 / size, dtype)
    self._flops = 2 * size**3 * self._repeats
    self._product = jax.jit(lambda x, y: x @ y)
    self()

  def __call__(self, clock=time.perf_counter):
    def run():
      y = self._x
      for _ in range(self._repeats):
        y = self._product(self._x, y)
      y.block_until_ready()

    return self._flops / timed(run, clock=clock)


def timed(run, *args, clock=time.perf_counter):
  """Seconds that a call takes."""
  start = clock()
  run(*args)
  return clock() - start


def pairs(ours, other, samples, advance, clock, rate):
  """Times both sides on each sample, taking turns at being first.

  Args:
    ours: called with a sample.
    other: called with the same sample.
    samples: one for each pair.
    advance: a function that is called after each pair.
    clock: wall clock, or the process's CPU time.
    rate: a `MatmulRate`, measured between the two.

  Returns:
    Arrays of our seconds, the other's seconds, and the rates.
  """
  times = []
  for i, sample in enumerate(samples):
    first, second = (ours, other) if i % 2 == 0 else (other, ours)
    a = timed(first, sample, clock=clock)
    now = rate(clock)
    b = timed(second, sample, clock=clock)
    times.append((a, b, now) if i % 2 == 0 else (b, a, now))
    advance()
  return np.array(times).T


def check_equal(what, ours, other, tolerance):
  """Raises a ValueError if two dicts of numbers differ.

  The KL is a small difference of log-probabilities, hence the absolute part;
  the gradient's norm adds up the differences of all layers.
  """
  for name, a in ours.items():
    limit = tolerance * abs(a) * (10 if name == "grad_norm" else 1) + 1e-5
    if not abs(a - other[name]) <= limit:
      raise ValueError(
        f"{what}: the two sides differ in {name!r}: ours {ours}, the other"
        f" {other}"
      )
