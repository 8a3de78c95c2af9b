"""The scheduler: continuous batching in one thread over the engine.

Each round it gives the encoder the waiting requests that fit one compiled
shape, scores those that rank, puts those that generate into free rows of the
tables, and decodes a few steps in each table. Shapes are fixed, so requests
come and go without a compilation, and no answer depends on what shares a
batch.
"""

import collections
import threading
import time

import jax
import numpy as np

from mpt_jax.data.batches import EOS_ID
from mpt_jax.inference.engine import ragged
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import Example, NotFiniteError
from mpt_jax.inference.engine.shapes import TARGET_LENGTHS
from mpt_jax.serve.waiting import Closed, Expired, Queue, Request

# Steps of decoding between two looks at the queue.
STEPS = 4
# Requests that are looked at to fill a batch of the encoder.
LOOK_AHEAD = 256
# Longest wait for requests before deadlines are looked at again, in seconds.
PAUSE = 0.05


class Scheduler:
  """Serves requests with an engine, in a thread of its own.

  Args:
    engine: the `Engine`.
    queue: where requests wait.
    observe: called with (name of a count, amount) after each batch; see
      `metrics.Metrics`.

  Attributes:
    is_ready: whether all shapes are compiled.
    error: what ended the thread, or None.
  """

  def __init__(
    self,
    engine: Engine,
    queue: Queue,
    observe=lambda name, amount=1: None,
  ):
    self.engine, self.queue = engine, queue
    self.is_ready, self.error = False, None
    self._observe = observe
    self._tables = {
      n: _Table(engine, n, observe) for n in engine.shapes.lengths
    }
    self._halt = threading.Event()
    self._thread = threading.Thread(
      target=self._serve, name="scheduler", daemon=True
    )

  def start(self, warm_up: bool = True):
    """Starts the thread, which compiles first if `warm_up`."""
    self._warm_up = warm_up
    self._thread.start()

  def drain(self, timeout: float | None = None) -> bool:
    """Serves what waits, and ends; returns whether it ended in time."""
    self.queue.close()
    self._thread.join(timeout)
    return not self._thread.is_alive()

  def halt(self):
    """Ends after this round; what was not served fails."""
    self._halt.set()
    self.queue.close()
    self._thread.join()

  @property
  def num_decoding(self) -> int:
    """Requests that are in a table now."""
    return sum(len(table.holders) for table in self._tables.values())

  def _serve(self):
    try:
      if self._warm_up:
        warm_up(self.engine)
      self.is_ready = True
      while not self._halt.is_set() and self._wait():
        self._round()
    except BaseException as error:
      self.error = error
      raise
    finally:
      self.is_ready = False
      self.queue.close()
      for request in self.queue.peek(len(self.queue)):
        request.fail(Closed("the server stopped"))
      for table in self._tables.values():
        table.fail(Closed("the server stopped"))

  def _wait(self) -> bool:
    """Waits for work; returns whether the thread goes on."""
    with self.queue.condition:
      busy = any(table.is_busy for table in self._tables.values())
      if not busy and not len(self.queue):
        if self.queue.is_closed:
          return False
        self.queue.condition.wait(PAUSE)
    return True

  def _round(self):
    now = time.monotonic()
    for request in self.queue.drop(now):
      self._observe("expired")
      request.fail(Expired("the deadline passed"))
    chosen, shape = self._choose()
    if chosen:
      self._encode(chosen, shape)
    for table in self._tables.values():
      if table.is_busy:
        table.step(now)

  def _choose(self):
    """Chooses the requests of the next pass of the encoder, and its shape."""
    engine, room = self.engine, collections.Counter()
    for length, table in self._tables.items():
      room[length] = table.room
    able = []
    for request in self.queue.peek(LOOK_AHEAD):
      if not request.ranks:
        length = engine.shapes.row_length(engine.size(_example(request)))
        if not room[length]:
          continue
        room[length] -= 1
      able.append(request)
    if not able:
      return [], None
    sizes = [engine.size(_example(r)) for r in able]
    chosen, shape = engine.shapes.take_batch(sizes, few=True)
    return [able[i] for i in chosen], shape

  def _encode(self, requests, shape):
    self.queue.take(requests)
    try:
      self._encode_all(requests, shape)
    except Exception as error:  # The server outlives any batch.
      self._observe("failures")
      for request in requests:
        request.fail(error)

  def _encode_all(self, requests, shape):
    engine = self.engine
    prompts = {id(r.task): r.task for r in requests}
    prompts = {key: task.prompt() for key, task in prompts.items()}
    examples = [
      Example(
        r.ids,
        prompts[id(r.task)],
        r.task.texts.candidates if r.ranks else (),
      )
      for r in requests
    ]
    encoded = engine.encode(examples, shape)
    self._observe("batches")
    self._observe("positions", shape[0] * shape[1])
    self._observe("tokens_read", sum(encoded.sizes))
    for i, request in enumerate(requests):
      if not request.ranks:
        self._tables[engine.shapes.row_length(encoded.sizes[i])].add(
          request, encoded, i
        )
    ranked = [i for i, request in enumerate(requests) if request.ranks]
    for group in engine.divide(examples, ranked):
      made = engine.score(encoded, examples, group)
      for i, scores in zip(group, made, strict=True):
        _finish(requests[i], scores, np.isfinite(scores).all())
    self._observe("ranked", len(ranked))


class _Table:
  """The requests of one row length that are being decoded.

  Attributes:
    holders: {row: request}.
  """

  def __init__(self, engine, length, observe):
    self._engine, self._length, self._observe = engine, length, observe
    self.num_rows = engine.shapes.num_rows(length)
    self._new = collections.deque()  # (request, encoded, which example)
    self.holders, self._state = {}, None

  @property
  def is_busy(self) -> bool:
    return bool(self.holders or self._new)

  @property
  def room(self) -> int:
    return self.num_rows - len(self.holders) - len(self._new)

  def add(self, request, encoded, i):
    """Adds a request whose input is encoded; there must be room."""
    self._new.append((request, encoded, i))

  def fail(self, error):
    """Fails all requests, and forgets the table."""
    for request in [*self.holders.values(), *(new[0] for new in self._new)]:
      request.fail(error)
    self.holders, self._state = {}, None
    self._new.clear()

  def step(self, now):
    """Admits new requests, decodes some steps, and answers those that end."""
    try:
      self._leave(now)
      self._admit()
      if self.holders:
        self._run()
      else:
        self._state = None  # Its memory is free while nobody generates.
    except Exception as error:  # The server outlives any batch.
      self._observe("failures")
      self.fail(error)

  def _leave(self, now):
    """Frees the rows of requests that nobody waits for."""
    leave = np.zeros(self.num_rows, bool)
    for row, request in list(self.holders.items()):
      if request.is_wanted and request.deadline <= now:
        self._observe("expired")
        request.fail(Expired("the deadline passed"))
      if not request.is_wanted:
        leave[row] = True
        del self.holders[row]
    if leave.any():
      self._state = self._engine.table_programs().release(self._state, leave)

  def _admit(self):
    if self._new and self._state is None:
      self._state = self._engine.start_table(self._length)
    free = [row for row in range(self.num_rows) if row not in self.holders]
    while self._new and free:
      # One admission takes examples of one pass of the encoder.
      encoded, part = self._new[0][1], []
      most = min(len(free), self._engine.shapes.admit_rows)
      while self._new and self._new[0][1] is encoded and len(part) < most:
        part.append(self._new.popleft())
      rows, free = free[: len(part)], free[len(part) :]
      requests = [request for request, _, _ in part]
      self._state = self._engine.admit(
        self._state,
        encoded,
        [i for _, _, i in part],
        rows,
        [request.temperature for request in requests],
        np.stack([request.key for request in requests]),
      )
      self.holders.update(zip(rows, requests, strict=True))

  def _run(self):
    self._state = self._engine.run_table(self._state, STEPS, self.num_rows)
    names = ("done", "index", "tokens", "total")
    made = jax.device_get([self._state[name] for name in names])
    done, index, tokens, total = made
    leave = np.zeros(self.num_rows, bool)
    count = 0
    for row, request in list(self.holders.items()):
      length = int(index[row])
      if done[row]:
        length += 1
      so_far = tokens[row, : min(length, request.max_tokens)].tolist()
      ends = bool(done[row]) or length >= request.max_tokens
      finite = np.isfinite(total[row])
      count += len(so_far) if ends else 0
      if finite:
        request.tell(so_far)
      if ends or not finite:
        _finish(request, so_far, finite)
        leave[row] = not done[row]
        del self.holders[row]
    self._observe("tokens_written", count)
    if leave.any():
      self._state = self._engine.table_programs().release(self._state, leave)


def _example(request):
  return Example(request.ids)


def _finish(request: Request, result, is_finite):
  if is_finite:
    request.resolve(result)
  else:
    name = f"the text for {request.task.name!r}"
    request.fail(NotFiniteError(0, name))


def warm_up(engine: Engine):
  """Compiles all shapes that a scheduler uses, by running each of them once."""
  for length in engine.shapes.lengths:
    tokens = length - engine.size(Example(np.zeros(0, np.int32)))
    ids = np.ones(max(1, tokens), np.int32)
    prompt = np.zeros((engine.prompt_length, engine.config.emb_dim), np.float32)
    most = 1
    seen = set()
    while True:
      sizes = [engine.size(Example(ids))] * most
      chosen, shape = engine.shapes.take_batch(sizes, few=True)
      if shape not in seen:
        seen.add(shape)
        _run_once(engine, [Example(ids, prompt)] * len(chosen), shape, length)
      if len(chosen) < most:
        break
      most *= 2


def _run_once(engine, examples, shape, length):
  encoded = engine.encode(examples, shape)
  for targets in TARGET_LENGTHS:
    candidate = np.full(targets, 2, np.int32)
    candidate[-1] = EOS_ID
    own = [e._replace(candidates=[candidate]) for e in examples[:1]]
    engine.score(encoded, own, [0])
  table = engine.start_table(length)
  key = np.asarray(ragged.row_keys(0, np.zeros(1, np.int32)))
  table = engine.admit(table, encoded, [0], [0], [0.0], key)
  table = engine.run_table(table, 1, engine.shapes.num_rows(length))
  leave = np.ones(engine.shapes.num_rows(length), bool)
  jax.block_until_ready(engine.table_programs().release(table, leave))
