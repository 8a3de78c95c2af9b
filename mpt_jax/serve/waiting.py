"""Requests, and the bounded queue in which they wait, fair between tasks."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable

import numpy as np


class Full(Exception):
  """The queue has no room.

  Attributes:
    retry_after: seconds after which there may be room, at least 1.
  """

  def __init__(self, retry_after: int):
    super().__init__("the queue is full; try again later")
    self.retry_after = retry_after


class Expired(Exception):
  """A request's deadline passed before its answer was ready."""


class Closed(Exception):
  """The server is stopping and takes no more requests."""


@dataclasses.dataclass(eq=False)
class Request:
  """One text of one task.

  Attributes:
    task: the `tasks.Task`, as it was when the request came.
    ids: [L] int32 token ids with the end of sequence.
    ranks: whether the task's labels are ranked; otherwise it generates.
    max_tokens: the longest output in tokens, at most the engine's.
    temperature: 0 is greedy.
    key: [2] uint32 key data of its draws, see `ragged.row_keys`.
    deadline: `time.monotonic()` after which nobody waits any more.
    on_tokens: called in the scheduler's thread with the list of all tokens so
      far, whenever there are new ones.
    future: gets [labels] float32 log-probabilities, or a list of token ids.
  """

  task: object
  ids: np.ndarray
  ranks: bool
  max_tokens: int = 1
  temperature: float = 0.0
  key: np.ndarray = dataclasses.field(
    default_factory=lambda: np.zeros(2, np.uint32)
  )
  deadline: float = float("inf")
  on_tokens: Callable | None = None
  future: concurrent.futures.Future = dataclasses.field(
    default_factory=concurrent.futures.Future
  )

  def __post_init__(self):
    self.arrived = time.monotonic()

  @property
  def is_wanted(self) -> bool:
    """Whether somebody still waits for the answer."""
    return not self.future.done()

  def tell(self, tokens):
    """Tells the tokens so far; a listener that fails harms no other request."""
    if self.on_tokens is None or not self.is_wanted:
      return
    try:
      self.on_tokens(tokens)
    except Exception as error:
      self.fail(error)

  def resolve(self, result):
    """Gives the answer, unless the client has left."""
    # The client may leave at any moment, which cancels the future.
    with contextlib.suppress(concurrent.futures.InvalidStateError):
      self.future.set_result(result)

  def fail(self, error: Exception):
    """Gives an error instead of the answer."""
    with contextlib.suppress(concurrent.futures.InvalidStateError):
      self.future.set_exception(error)


class Queue:
  """A bounded queue that serves the tasks in turn.

  Within a task, requests are served in the order of their arrival. All methods
  may be called from any thread.

  Args:
    capacity: the most requests that wait.
  """

  def __init__(self, capacity: int):
    self.capacity = capacity
    self.condition = threading.Condition()
    self._tasks = collections.OrderedDict()  # Task name: deque of requests.
    self._count, self._closed = 0, False
    # Seconds that requests have waited, averaged over the last ones.
    self._wait = 1.0

  def __len__(self):
    return self._count

  @property
  def is_closed(self) -> bool:
    return self._closed

  def put(self, requests):
    """Adds requests, all or none.

    Raises:
      Full: there is no room for all of them.
      Closed: the server is stopping.
    """
    with self.condition:
      if self._closed:
        raise Closed("the server is stopping")
      if self._count + len(requests) > self.capacity:
        raise Full(max(1, round(self._wait)))
      for request in requests:
        own = self._tasks.setdefault(request.task.name, collections.deque())
        own.append(request)
      self._count += len(requests)
      self.condition.notify()

  def close(self):
    """Takes no more requests; those that wait are still served."""
    with self.condition:
      self._closed = True
      self.condition.notify()

  def drop(self, now: float) -> list[Request]:
    """Takes out what nobody waits for; returns the expired requests."""
    expired = []
    with self.condition:
      for name in list(self._tasks):
        own = self._tasks[name]
        kept = [r for r in own if r.is_wanted and r.deadline > now]
        if len(kept) < len(own):
          expired += [r for r in own if r.is_wanted and r.deadline <= now]
          self._count -= len(own) - len(kept)
          self._replace(name, kept)
    return expired

  def peek(self, most: int) -> list[Request]:
    """Returns the first requests in the order of service: each task in turn."""
    with self.condition:
      waiting = [iter(own) for own in self._tasks.values()]
      rounds = itertools.zip_longest(*waiting)
      flat = (r for one in rounds for r in one if r is not None)
      return list(itertools.islice(flat, most))

  def take(self, requests):
    """Takes requests out; their tasks go to the end of the turn."""
    now = time.monotonic()
    with self.condition:
      names = dict.fromkeys(r.task.name for r in requests)
      gone = set(map(id, requests))
      for name in names:
        kept = [r for r in self._tasks[name] if id(r) not in gone]
        self._replace(name, kept)
        if kept:
          self._tasks.move_to_end(name)
      self._count -= len(requests)
      for request in requests:
        self._wait += 0.05 * (now - request.arrived - self._wait)

  def _replace(self, name, kept):
    if kept:
      self._tasks[name] = collections.deque(kept)
    else:
      del self._tasks[name]
