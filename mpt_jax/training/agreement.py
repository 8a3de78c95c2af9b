"""What the processes of a run agree on: their inputs, when to save and stop.

Everything here does nothing, or decides alone, where a run has one process.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import socket
import time
import zlib

import jax
import numpy as np
from jax.experimental import multihost_utils

from mpt_jax.io import locks, paths
from mpt_jax.process import signals

# Seconds in which every process must see what process 0 wrote to MODEL_DIR.
SHARED_WAIT = 60


def is_alone() -> bool:
  """Whether the run has one process."""
  return jax.process_count() == 1


def gather(text: str) -> list[str]:
  """Returns the text of each process. All of them must call this."""
  own = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array([own.size], np.int32))
  padded = np.zeros(max(1, sizes.max()), np.uint8)
  padded[: own.size] = own
  rows = multihost_utils.process_allgather(padded)
  return [
    bytes(row[: size[0]]).decode()
    for row, size in zip(rows, sizes.reshape(-1, 1), strict=True)
  ]


@contextlib.contextmanager
def together():
  """All processes leave the block, or all raise an error.

  The processes do not wait for each other inside the block.

  Raises:
    ValueError: another process failed; the message has its error.
  """
  if is_alone():
    yield
    return
  failure = None
  try:
    yield
  except Exception as error:
    failure = error
  texts = gather("" if failure is None else f"{failure or 'it failed'}")
  if failure is not None:
    raise failure
  for index, text in enumerate(texts):
    if text:
      raise ValueError(f"process {index} cannot go on: {text}")


@contextlib.contextmanager
def stopping():
  """Lets the processes of a run go on until they all stop at one step.

  JAX's distributed runtime tells all processes of a SIGTERM that one of them
  gets; here it tells them of the other signals too. A single process has
  nothing to agree on.
  """
  if is_alone():
    yield
    return
  with signals.deferred() as stop:
    stop.take_over()
    yield


def compare(settings: dict, contents: dict):
  """Refuses processes that were started with different things.

  Args:
    settings: JSON values by their names; the message shows those that differ.
    contents: digests by what they are of.

  Raises:
    ValueError: a process differs from process 0; the message says in what.
  """
  if is_alone():
    return
  texts = gather(json.dumps([dict(_flat(settings)), contents]))
  first, *others = [json.loads(text) for text in texts]
  for index, other in enumerate(others, 1):
    differ = [_difference(name, first[0], other[0]) for name in first[0]]
    differ += [
      _difference(name, {}, other[0])
      for name in other[0].keys() - first[0].keys()
    ]
    differ += [name for name in contents if first[1][name] != other[1][name]]
    differ = [text for text in differ if text]
    if differ:
      raise ValueError(
        "the processes of a run need the same settings, code and data; process"
        f" {index} differs from process 0 in {', '.join(differ)}"
      )


def _flat(value, name=""):
  """Yields the names and the values of nested settings."""
  if isinstance(value, dict):
    for key, inner in value.items():
      yield from _flat(inner, f"{name}.{key}" if name else key)
  elif isinstance(value, list):
    yield f"len({name})", len(value)
    for i, inner in enumerate(value):
      yield from _flat(inner, f"{name}[{i}]")
  else:
    yield name, value


def _difference(name, first, other) -> str | None:
  one, two = first.get(name), other.get(name)
  return None if one == two else f"{name} ({two!r}, not {one!r})"


@contextlib.contextmanager
def hold(model_dir):
  """Holds a run's folder, and checks that all processes see the same one.

  Raises:
    ValueError: another run holds it, or a process sees another folder.
  """
  with contextlib.ExitStack() as stack:
    token = ""
    with together():
      if jax.process_index() == 0:
        token = stack.enter_context(locks.hold(model_dir))
    if not is_alone():
      token = gather(token)[0]
      with together():
        _wait_for(model_dir, token)
    yield


def _wait_for(model_dir, token):
  end = time.monotonic() + SHARED_WAIT
  while locks.read_token(model_dir) != token:
    if time.monotonic() > end:
      raise ValueError(
        f"{model_dir} on {socket.gethostname()} is not the folder that process"
        " 0 writes to: all processes of a run need one MODEL_DIR that they"
        " share"
      )
    time.sleep(0.2)


class Agreement:
  """When a run saves and stops, the same in all of its processes.

  Args:
    stop: the process's `signals.Stop`.
    minutes: minutes between checkpoints; None or 0 for no such checkpoints.
  """

  def __init__(self, stop: signals.Stop, minutes: float | None):
    self._stop = stop
    self._is_alone = is_alone()
    self._seconds = 60 * minutes if minutes else math.inf
    self._digest, self._stops = 0, False
    self.begin(0)

  def begin(self, step):
    """Starts anew after a checkpoint, or where the run begins.

    Args:
      step: steps done.
    """
    self._saved, self._is_due = time.monotonic(), False
    # Orbax asks JAX for the sync point too while it saves, with this number. An
    # answer that was due at a higher one comes when the checks get there.
    self._num_checks = step

  def is_due(self) -> bool:
    """Whether the minutes have passed.

    In several processes the clock of process 0 counts, as of `meet`.
    """
    return self._clock() if self._is_alone else self._is_due

  def _clock(self):
    return time.monotonic() - self._saved >= self._seconds

  def see(self, batch):
    """Remembers a batch, a dict of arrays on the host, for `meet`."""
    if not self._is_alone:
      self._digest = digest(batch, self._digest)

  def meet(self, step):
    """Compares what all processes saw since the last call.

    Raises:
      ValueError: their batches differ.
    """
    if self._is_alone:
      return
    own = np.array([self._digest, self._clock()], np.uint32)
    digests, due = multihost_utils.process_allgather(own).T
    self._digest, self._is_due = 0, bool(due[0])
    differ = np.flatnonzero(digests != digests[0])
    if len(differ):
      raise ValueError(
        f"the batches of process {differ[0]} differ from those of process 0 at"
        f" step {step} or a little before: their training data differ. Give"
        " all processes the same files"
      )

  @property
  def signum(self) -> int | None:
    """The signal that this process got, or None."""
    return self._stop.signum

  def should_stop(self) -> bool:
    """Whether to stop after this step.

    All processes must call this equally often. If one of them got a signal,
    then one of the next calls returns True in all of them, and so do the calls
    after it.

    Raises:
      ValueError: JAX's preemption service is turned off.
    """
    if self._is_alone:
      return self._stop.signum is not None
    if not self._stops:
      self._num_checks += 1
      try:
        self._stops = multihost_utils.reached_preemption_sync_point(
          self._num_checks
        )
      except RuntimeError as error:
        raise ValueError(
          "several processes need JAX's preemption service; leave"
          " jax_enable_preemption_service on"
        ) from error
    return self._stops


def digest(arrays, start: int = 0) -> int:
  """Returns the CRC-32 of a dict of arrays.

  Args:
    arrays: {name: array}; each process must hold the whole array.
    start: the digest of what came before.
  """
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    start = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), start)
    start = zlib.crc32(array.reshape(-1).view(np.uint8), start)
  return start


def code_digest(package=paths.PACKAGE) -> str:
  """Returns a digest of this package's code and of the versions below it."""
  hashed = hashlib.sha256()
  for name in ("jax", "jaxlib", "flax", "optax", "seqio"):
    hashed.update(f"{name} {importlib.metadata.version(name)}\n".encode())
  for path in sorted(package.rglob("*.py")):
    hashed.update(f"{path.relative_to(package)}\n".encode())
    hashed.update(path.read_bytes())
  return hashed.hexdigest()
