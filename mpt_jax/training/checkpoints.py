"""Checkpoints: trainable parameters, optimizer, best prompts, data position.

One orbax step holds all four and the digests of their files. A run that is
killed therefore resumes with a state and a data position that belong together,
and never with damaged ones.
"""

import contextlib
import dataclasses
import json
import threading

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from mpt_jax.io.files import literal
from mpt_jax.process import stderr
from mpt_jax.prompts import run_settings
from mpt_jax.training import checkpoint_files

# A file beside the position in the data: what the loop had begun at a step
# between two lines of metrics.
_PENDING = "pending.json"


class StreamHandler(ocp.CheckpointHandler):
  """Reads and writes the position in the data, the same for all processes.

  It writes in `finalize`, which orbax calls in process 0 alone. Orbax calls
  `save` between making the coroutines that save the arrays and awaiting them,
  so an error in `save` would drop them, and Python warns about each.
  """

  def save(self, directory: epath.Path, args: "StreamSave"):
    del directory
    self._args = args

  def finalize(self, directory: epath.Path):
    args, self._args = self._args, None
    args.stream.save(directory / "position")
    if args.pending:
      (directory / _PENDING).write_text(json.dumps(args.pending))

  def restore(self, directory: epath.Path, args: "StreamRestore"):
    args.stream.restore(directory / "position")
    path = directory / _PENDING
    return json.loads(path.read_text()) if path.exists() else {}


@ocp.args.register_with_handler(StreamHandler, for_save=True)
@dataclasses.dataclass
class StreamSave(ocp.args.CheckpointArgs):
  """Saves the position of a `pipeline.ExampleStream` and a dict for JSON."""

  stream: object
  pending: dict


@ocp.args.register_with_handler(StreamHandler, for_restore=True)
@dataclasses.dataclass
class StreamRestore(ocp.args.CheckpointArgs):
  """Moves a `pipeline.ExampleStream` to the saved position."""

  stream: object


class DigestsHandler(ocp.CheckpointHandler):
  """Writes the digests of the other items' files, and whose they are.

  Orbax finishes the items in the order in which `Checkpoints` names them and
  gives the step its name after that. The digests come last, so a step has its
  name only if it has its digests.
  """

  def save(self, directory: epath.Path, args: "DigestsSave"):
    del directory
    self._owner = args.owner

  def restore(self, directory: epath.Path, args=None):
    del directory, args

  def finalize(self, directory: epath.Path):
    checkpoint_files.write_sums(directory.parent, directory, self._owner)


@ocp.args.register_with_handler(DigestsHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class DigestsSave(ocp.args.CheckpointArgs):
  """Asks for the digests.

  Attributes:
    owner: the step and the settings of the run, for JSON.
  """

  owner: dict


@contextlib.contextmanager
def _one_error(folder):
  """Turns a failed save into one error.

  Orbax and TensorFlow print an error of each of their threads, also when the
  save has failed already.

  Raises:
    OSError: the step cannot be written.
  """
  before = set(threading.enumerate())
  with stderr.silenced():
    try:
      yield
    except Exception as error:
      for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
      text = " ".join(str(error).split())
      if isinstance(error, OSError):
        failure = error
      else:
        full = "No space left on device"
        reason = full if full in text else text[:300]
        failure = OSError(f"cannot write {folder}: {reason}")
      raise failure from None


class Checkpoints:
  """The checkpoints of one run.

  Args:
    model_dir: the run's folder; steps go into its `checkpoints/`.
    keep: newest steps to keep.

  Attributes:
    notes: lines for the user about the checkpoint that `restore` read.
    pending: the `pending` with which that checkpoint was saved.
  """

  def __init__(self, model_dir, keep: int = 2):
    self._model_dir = literal(model_dir)
    folder = self._model_dir / checkpoint_files.FOLDER
    # Orbax's own way is a thread, which fails if the program ends soon.
    if jax.process_index() == 0:
      checkpoint_files.clear_unfinished(folder)
    self._manager = ocp.CheckpointManager(
      folder,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False
      ),
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "best": ocp.StandardCheckpointHandler(),
        "stream": StreamHandler(),
        checkpoint_files.DIGESTS: DigestsHandler(),
      },
    )
    self._settings = run_settings.read(self._model_dir)
    self.notes, self.pending = [], {}

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, step: int, state, best, stream, pending=None):
    """Writes one step; readers see all of it or nothing.

    A checkpoint of the same step is replaced.

    Args:
      step: steps done.
      state: a `TrainState`.
      best: tree of NumPy arrays.
      stream: a `pipeline.ExampleStream`.
      pending: what the loop had begun at this step, a dict for JSON.
    """
    if step in self._manager.all_steps():
      self._manager.delete(step)
    args = ocp.args.Composite(
      state=ocp.args.StandardSave(state.checkpointed()),
      best=ocp.args.StandardSave(best),
      stream=StreamSave(stream, pending or {}),
      digests=DigestsSave({"step": step, "settings": self._settings}),
    )
    with _one_error(self.folder(step)):
      self._manager.save(step, args=args)

  def restore(self, state, best, stream):
    """Reads the newest step that is not damaged.

    Damaged newer steps are moved to `damaged_checkpoints/`, and `notes` names
    them. They stay where they are if no step can be read.

    Args:
      state: a `TrainState` of the right shapes and shardings.
      best: a tree of the right shapes.
      stream: a new stream, which is moved to the saved position.

    Returns:
      (state, best).

    Raises:
      ValueError: all steps are damaged, or the names or shapes of the
        parameters of an undamaged one differ.
    """
    damages = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      damage = self._find_damage(step)
      if damage is None:
        try:
          restored = self._restore(step, state, best, stream)
        except _MisfitError as error:
          if checkpoint_files.is_compared(self.folder(step)):
            raise  # It is as it was written, for another model.
          damage = str(error)
        except Exception as error:
          if jax.process_count() > 1:
            raise  # The others wait for this process in the same step.
          damage = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        else:
          self._set_aside(damages, step)
          return restored
      damages[step] = damage
    folder = self._model_dir / checkpoint_files.FOLDER
    each = "; ".join(f"step {k}: {v}" for k, v in damages.items())
    raise ValueError(
      f"no checkpoint in {folder} can be read ({each}); put an undamaged copy"
      " of one there, or name a new MODEL_DIR to start again"
    )

  def _find_damage(self, step) -> str | None:
    """What process 0 finds wrong with a step, for all processes."""
    damage = None
    if jax.process_index() == 0:
      damage = checkpoint_files.find_damage(self.folder(step))
    if jax.process_count() > 1:
      found = multihost_utils.broadcast_one_to_all(np.int32(damage is not None))
      damage = damage or ("process 0 says what is wrong" if found else None)
    return damage

  def _set_aside(self, damages, good):
    """Moves damaged steps away and notes what was read instead of them."""
    for step, damage in damages.items():
      self.notes.append(f"the checkpoint of step {step} is damaged: {damage}")
      if jax.process_index() == 0:
        moved = checkpoint_files.set_aside(self._model_dir, step)
        self.notes[-1] += f"; it was moved to {moved}"
    if damages:
      self.notes.append(f"resuming from the older checkpoint of step {good}")
      multihost_utils.sync_global_devices("damaged checkpoints were moved")
      self._manager.reload()
    if not checkpoint_files.is_compared(self.folder(good)):
      self.notes.append(
        f"the checkpoint of step {good} has no digests, because an earlier"
        " version wrote it; it could not be compared"
      )

  def folder(self, step) -> epath.Path:
    """Returns the folder of a step."""
    return self._model_dir / checkpoint_files.FOLDER / str(step)

  def _restore(self, step, state, best, stream):
    saved = self._manager.item_metadata(step)["state"]
    saved = saved.tree if hasattr(saved, "tree") else saved
    kept = state.checkpointed()
    if not saved.get("faults"):  # An earlier version wrote it.
      kept = kept.replace(faults=None)
    _check_shapes(saved, kept)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(kept),
        best=ocp.args.StandardRestore(best),
        stream=StreamRestore(stream),
      ),
    )
    self.pending = restored["stream"]
    new = state.resumed(restored["state"])
    return new, jax.tree.map(np.asarray, restored["best"])

  def close(self):
    self._manager.close()


def _flat_shapes(tree):
  flat = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
    for path, leaf in flat
  }


class _MisfitError(ValueError):
  """A checkpoint belongs to another model."""


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
    raise _MisfitError(
      "the checkpoint does not fit this model or this bank of prompts: "
      f"{shown}{more}"
    )
