"""Checkpoints: trainable parameters, optimizer, best prompts, data position.

One orbax step holds all four. A run that is killed therefore resumes with a
state and a data position that belong together.
"""

import dataclasses
import warnings

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from mpt_jax.io import paths


class StreamHandler(ocp.CheckpointHandler):
  """Reads and writes the position in the data, the same for all processes."""

  def save(self, directory: epath.Path, args: "StreamSave"):
    if jax.process_index() == 0:
      args.stream.save(directory / "position")

  def restore(self, directory: epath.Path, args: "StreamRestore"):
    args.stream.restore(directory / "position")


@ocp.args.register_with_handler(StreamHandler, for_save=True)
@dataclasses.dataclass
class StreamSave(ocp.args.CheckpointArgs):
  """Saves the position of a `pipeline.ExampleStream`."""

  stream: object


@ocp.args.register_with_handler(StreamHandler, for_restore=True)
@dataclasses.dataclass
class StreamRestore(ocp.args.CheckpointArgs):
  """Moves a `pipeline.ExampleStream` to the saved position."""

  stream: object


class Checkpoints:
  """The checkpoints of one run.

  Args:
    model_dir: the run's folder; steps go into its `checkpoints/`.
    keep: newest steps to keep.
  """

  def __init__(self, model_dir, keep: int = 1):
    self._manager = ocp.CheckpointManager(
      epath.Path(paths.absolute(model_dir)) / "checkpoints",
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False
      ),
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "best": ocp.StandardCheckpointHandler(),
        "stream": StreamHandler(),
      },
    )

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, step: int, state, best, stream):
    """Writes one step; readers see all of it or nothing.

    Args:
      step: steps done.
      state: a `TrainState`.
      best: tree of NumPy arrays.
      stream: a `pipeline.ExampleStream`.
    """
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state),
      best=ocp.args.StandardSave(best),
      stream=StreamSave(stream),
    )
    try:
      self._manager.save(step, args=args)
    except OSError as error:
      # If one item fails, orbax drops the coroutines of the others. Python then
      # prints a warning for each of them below the one line that matters. The
      # traceback keeps them alive, so drop it while the filter is in place.
      warnings.filterwarnings(
        "ignore", "coroutine 'StandardCheckpointHandler.async_save' was never"
      )
      error.__traceback__ = None
      raise error

  def restore(self, state, best, stream):
    """Reads the latest step.

    Args:
      state: a `TrainState` of the right shapes and shardings.
      best: a tree of the right shapes.
      stream: a new stream, which is moved to the saved position.

    Returns:
      (state, best).

    Raises:
      ValueError: the names or shapes of the parameters differ.
    """
    step = self.latest_step
    saved = self._manager.item_metadata(step)["state"]
    _check_shapes(saved.tree if hasattr(saved, "tree") else saved, state)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(state),
        best=ocp.args.StandardRestore(best),
        stream=StreamRestore(stream),
      ),
    )
    return restored["state"], jax.tree.map(np.asarray, restored["best"])

  def close(self):
    self._manager.close()


def _flat_shapes(tree):
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
    for path, leaf in flat
  }


def _check_shapes(saved, wanted):
  saved = _flat_shapes(saved)
  wanted = _flat_shapes(wanted)
  lines = [f"{k}: only in the checkpoint" for k in saved.keys() - wanted.keys()]
  lines += [f"{k}: not in the checkpoint" for k in wanted.keys() - saved.keys()]
  lines += [
    f"{k}: {saved[k]} in the checkpoint, {wanted[k]} wanted"
    for k in saved.keys() & wanted.keys()
    if saved[k] != wanted[k]
  ]
  if lines:
    shown = "; ".join(sorted(lines)[:5])
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    raise ValueError(
      "the checkpoint does not fit this model or this bank of prompts: "
      f"{shown}{more}"
    )
