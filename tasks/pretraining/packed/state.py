"""What a pretraining run reads and writes: batches, checkpoints, its log."""

import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.io import errors, files
from mpt_jax.tasks.pretraining.packed import shards, tokens


class Batches:
  """Batches of successive shards, made ahead by other processes.

  Args:
    folder: the data folder.
    rows: rows of a batch.
    position: (shard, batch within it) to start from.
    workers: processes that make shards; 0 makes them in this one.
  """

  def __init__(self, folder, rows, position=(0, 0), workers=1):
    self._maker = shards.ShardMaker(folder)
    self._folder, self._rows, self._workers = str(folder), rows, workers
    self._position = tuple(map(int, position))
    self._pool, self._coming = None, {}
    if workers:
      self._pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn")
      )

  def __iter__(self):
    """Yields (batch, position after it) without end."""
    shard, start = self._position
    while True:
      arrays = self._load(shard)
      count = len(arrays["inputs"]) // self._rows
      if not count:
        raise ValueError(
          f"shard {shard} has {len(arrays['inputs'])} rows, fewer than a batch"
          f" of {self._rows}"
        )
      for i in range(start, count):
        rows = slice(i * self._rows, (i + 1) * self._rows)
        batch = tokens.to_batch(
          {name: array[rows] for name, array in arrays.items()}
        )
        yield batch, ((shard, i + 1) if i + 1 < count else (shard + 1, 0))
      shard, start = shard + 1, 0

  def _load(self, shard):
    if self._pool is None:
      path = self._maker.write(shard)
    else:
      for index in range(shard, shard + 1 + self._workers):
        if index not in self._coming:
          self._coming[index] = self._pool.submit(
            shards.write_shard, self._folder, index
          )
      path = self._coming.pop(shard).result()
    what = "a shard of pretraining (delete it, and it is made again)"
    with errors.reading(path, what), np.load(path) as file:
      arrays = dict(file)
    # A resumed run makes it again if its checkpoint is that old.
    self._maker.path(shard - 2).unlink(missing_ok=True)
    return arrays

  def close(self):
    if self._pool is not None:
      self._pool.shutdown(cancel_futures=True)


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far a run is.

  Attributes:
    state: parameters and optimizer state.
    step: steps done.
    position: (shard, batch within it) that comes next.
    examples: examples seen.
  """

  state: Any
  step: int = 0
  position: tuple[int, int] = (0, 0)
  examples: int = 0

  def after(self, state, batch, position):
    """The progress after a step on a batch, with the position after it."""
    examples = int(batch["encoder_segment_ids"].max(axis=1).sum())
    return Progress(state, self.step + 1, position, self.examples + examples)


def save_checkpoint(path, progress: Progress) -> None:
  """Writes everything that a step changes, replacing the file at once."""
  leaves = [np.asarray(x) for x in jax.tree.leaves(progress.state)]
  arrays = {f"leaf{i:04d}": x for i, x in enumerate(leaves)}
  temporary = path.with_name("checkpoint.tmp.npz")
  np.savez(
    temporary,
    step=progress.step,
    position=progress.position,
    examples=progress.examples,
    **arrays,
  )
  os.replace(temporary, path)


def load_checkpoint(path, state) -> Progress:
  """Reads a checkpoint whose state is a tree like `state`.

  Raises:
    ValueError: the file is not such a checkpoint.
  """
  expected, treedef = jax.tree.flatten(state)
  with (
    errors.reading(path, "a checkpoint of pretraining"),
    np.load(path) as file,
  ):
    names = sorted(name for name in file.files if name.startswith("leaf"))
    leaves = [jnp.asarray(file[name]) for name in names]
    found, wanted = ([np.shape(x) for x in xs] for xs in (leaves, expected))
    if found != wanted:
      raise ValueError(
        f"{path} has the arrays of another T5 or optimizer: {len(found)} of"
        f" {sum(map(math.prod, found))} numbers, expected {len(wanted)} of"
        f" {sum(map(math.prod, wanted))}"
      )
    return Progress(
      jax.tree.unflatten(treedef, leaves),
      int(file["step"]),
      tuple(map(int, file["position"])),
      int(file["examples"]),
    )


def _step(line):
  """The step of a line, or infinity if a killed run did not finish the line."""
  try:
    return json.loads(line)["step"] + 0
  except (ValueError, KeyError, TypeError, RecursionError):
    return math.inf


class Log:
  """Means of the metrics since the last line, as lines of JSON."""

  def __init__(self, path, step):
    self._path = path
    if path.exists():  # Drop what the interrupted run did after its checkpoint.
      text = path.read_text(encoding="utf-8", errors="replace")
      lines = text.splitlines(keepends=True)
      files.write_text(path, "".join(x for x in lines if _step(x) <= step))
    self._clear()

  def _clear(self):
    self._waiting, self._tokens, self._positions = [], 0, 0
    self._start = time.monotonic()

  def add(self, metrics, batch):
    self._waiting.append(metrics)
    for name in ("encoder", "decoder"):
      segments = batch[f"{name}_segment_ids"]
      self._tokens += int(np.count_nonzero(segments))
      self._positions += segments.size

  def write(self, progress, factor):
    waiting = jax.device_get(self._waiting)
    seconds = time.monotonic() - self._start
    line = {
      "step": progress.step,
      "examples": progress.examples,
      "loss": float(np.mean([m["loss"] for m in waiting])),
      "grad_norm": float(np.mean([m["grad_norm"] for m in waiting])),
      "rate_factor": factor,
      "tokens_per_second": round(self._tokens / seconds, 1),
      "fill": round(self._tokens / self._positions, 4),
      "seconds": round(seconds, 1),
    }
    if not np.isfinite(line["loss"]):
      raise FloatingPointError(
        f"the loss is {line['loss']} at step {progress.step}"
      )
    with open(self._path, "a") as file:
      file.write(json.dumps(line) + "\n")
    print(line, flush=True)
    self._clear()
