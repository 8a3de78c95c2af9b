"""The service: tasks, their table and journal, and the scheduler over them.

It knows nothing of HTTP. Methods may be called from any thread.
"""

import pathlib
import threading
import time
from typing import NamedTuple

import numpy as np

from mpt_jax.inference.engine import ragged
from mpt_jax.prompts.bank import PromptBank, check_backbone
from mpt_jax.serve.journal import Journal
from mpt_jax.serve.scheduler import Scheduler
from mpt_jax.serve.table import Composed, Table
from mpt_jax.serve.tasks import Task, make_task, one_slot, read_bank
from mpt_jax.serve.waiting import Queue, Request


class UnknownTask(LookupError):
  """There is no task of this name."""


class Limits(NamedTuple):
  """Limits of a service.

  Attributes:
    queue: the most texts that wait.
    tasks: the most tasks.
    seconds: the longest that a text may take, in seconds.
    characters: the longest text of a request, in characters.
  """

  queue: int = 1024
  tasks: int = 100_000
  seconds: float = 60.0
  characters: int = 100_000


class Service:
  """Serves the tasks of some banks with one engine.

  Args:
    engine: the `Engine`.
    tokenizer: the `Tokenizer` of its T5.
    backbone: "default" or the folder of the T5.
    fingerprint: the T5's fingerprint.
    limits: the limits.
    ranks: whether labels are ranked; otherwise all tasks generate.
    state: the state folder, or None to forget added tasks at the end.
    folder: the only folder from which a request may name files, or None.
    observe: see `Scheduler`.

  Raises:
    ValueError: the state folder is damaged or in use.
  """

  def __init__(
    self,
    engine,
    tokenizer,
    backbone: str,
    fingerprint: str,
    *,
    limits: Limits,
    ranks: bool = True,
    state=None,
    folder=None,
    observe=lambda name, amount=1: None,
  ):
    self.engine, self.tokenizer, self.limits = engine, tokenizer, limits
    self.backbone, self.fingerprint, self.ranks = backbone, fingerprint, ranks
    self.folder = None if folder is None else pathlib.Path(folder).resolve()
    self.table = Table(engine.prompt_length, engine.config.emb_dim)
    self.queue = Queue(limits.queue)
    self.scheduler = Scheduler(engine, self.queue, observe)
    self._tasks, self._given = {}, set()
    self._lock = threading.RLock()
    self._journal = None if state is None else Journal(state)
    self._number = self._journal.next_number() if self._journal else 0

  @property
  def is_durable(self) -> bool:
    """Whether added tasks survive a restart."""
    return self._journal is not None

  def close(self):
    """Gives the state folder back."""
    with self._lock:
      if self._journal is not None:
        self._journal.close()
        self._journal = None

  # ------------------------------------------------------------------ tasks

  def load(self, banks):
    """Takes the tasks of the command line, and then those of the journal.

    Args:
      banks: `PromptBank`s, which must not share a name.

    Raises:
      ValueError: they do not fit each other or the T5, or a file is damaged.
    """
    for bank in banks:
      check_backbone(bank, self.fingerprint, f"the prompts {bank.names[0]!r}")
      composed = Composed(bank)
      for i, name in enumerate(bank.names):
        if name in self._tasks:
          raise ValueError(
            f"several prompts are called {name}; export them under different"
            " names with mpt import --task"
          )
        self._tasks[name] = self._make(name, bank, i, composed)
        self._given.add(name)
    if self._journal is None:
      return
    for name, file in self._journal.changes.items():
      if file is None:
        self._set(name, None)
      else:
        bank = self._journal.load(name)
        check_backbone(bank, self.fingerprint, f"the prompts of {file}")
        self._set(name, self._make(name, bank, 0, Composed(bank)))

  def _make(self, name, bank, slot, composed):
    return make_task(
      name, bank, slot, composed, self.table, self.tokenizer, self.ranks
    )

  def _set(self, name, task):
    """Replaces a task; its row stays while a request uses it."""
    old = self._tasks.pop(name, None)
    if task is not None:
      self._tasks[name] = task
    if old is not None:
      old.entry.release()

  def names(self) -> list[str]:
    with self._lock:
      return list(self._tasks)

  def find(self, name: str) -> Task:
    """Finds a task by its name.

    Raises:
      UnknownTask: there is none.
    """
    with self._lock:
      task = self._tasks.get(name)
    if task is None:
      raise UnknownTask(f"there is no task {name!r:.200}")
    return task

  def add(
    self, bank: PromptBank, names=None, changes=None, replace=False
  ) -> list[Task]:
    """Adds the slots of a bank; returns once that is on the disk.

    Args:
      bank: the bank.
      names: new names of its slots, or None for their own.
      changes: fields that replace those of all slots: "label_names",
        "template".
      replace: whether tasks of these names may exist.

    Raises:
      ValueError: a slot does not fit, or a limit is reached.
      FileExistsError: a task exists and must not be replaced.
    """
    check_backbone(bank, self.fingerprint, "the prompts", "that of this server")
    names = bank.names if names is None else names
    if len(names) != len(bank.names) or len(set(names)) < len(names):
      raise ValueError(
        f"the file has {len(bank.names)} prompts; give as many different"
        f" names, got {len(names)}"
      )
    banks = [
      one_slot(bank, i, name, changes or {}) for i, name in enumerate(names)
    ]
    with self._lock:
      exist = [name for name in names if name in self._tasks]
      if exist and not replace:
        raise FileExistsError(
          f"there is a task {exist[0]!r:.200}; replace it with PUT"
        )
      count = len(self._tasks) + len(names) - len(exist)
      if count > self.limits.tasks:
        raise ValueError(
          f"there are {len(self._tasks)} tasks; this server takes"
          f" {self.limits.tasks}"
        )
      return self._add(names, banks)

  def _add(self, names, banks):
    made = []
    try:
      for name, one in zip(names, banks, strict=True):
        made.append(self._make(name, one, 0, Composed(one)))
      if self._journal is not None:
        for name, one in zip(names, banks, strict=True):
          self._journal.put(name, one, self._number)
          self._number += 1
    except BaseException:
      for task in made:
        task.entry.release()
      raise
    for task in made:
      self._set(task.name, task)
    return made

  def remove(self, name: str):
    """Removes a task; requests that came before are still answered.

    Raises:
      UnknownTask: there is none.
    """
    with self._lock:
      self.find(name)
      if self._journal is not None:
        self._journal.remove(name, forget=name not in self._given)
      self._set(name, None)

  def read_path(self, path: str) -> PromptBank:
    """Reads prompts that a request names by a path within `folder`.

    Raises:
      PermissionError: the path leads out of the folder, or there is no folder.
      ValueError, FileNotFoundError: there are no prompts at the path.
    """
    if self.folder is None:
      raise PermissionError(
        "this server reads no files; start it with --task-folder, or upload"
      )
    found = (self.folder / path).resolve()
    if not found.is_relative_to(self.folder):
      raise PermissionError("the path leads out of the folder of tasks")
    for below in found.rglob("*") if found.is_dir() else ():
      if not below.resolve().is_relative_to(self.folder):
        raise PermissionError("a link leads out of the folder of tasks")
    return self.read_bank(found)

  def read_bank(self, path) -> PromptBank:
    """Reads prompts of any format, see `tasks.read_bank`."""
    return read_bank(path, self.backbone)

  # --------------------------------------------------------------- requests

  def request(
    self,
    row: dict,
    name: str,
    *,
    max_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    seconds: float | None = None,
    on_tokens=None,
  ) -> Request:
    """Makes a request, which `submit` puts into the queue.

    Args:
      row: the fields of the task's template, or "text".
      name: the task's name.
      max_tokens: longest output in tokens, at most the engine's.
      temperature: 0 is greedy.
      seed: seed of sampling, as `mpt predict --seed` for its first row.
      seconds: time to the deadline, at most the limit.
      on_tokens: see `Request`.

    Raises:
      UnknownTask: there is no such task.
      ValueError: the row does not fit the task, or a text is too long.
    """
    longest = max(
      (len(value) for value in row.values() if isinstance(value, str)),
      default=0,
    )
    if longest > self.limits.characters:
      raise ValueError(
        f"a text has {longest} characters; this server takes"
        f" {self.limits.characters}"
      )
    task = self.find(name)
    ids = task.texts.input_ids(row)
    most = self.engine.targets_length
    key = np.zeros(2, np.uint32)
    if temperature:
      first = np.zeros(1, np.int32)
      key = np.asarray(ragged.row_keys(np.int32(seed), first))[0]
    seconds = min(seconds or self.limits.seconds, self.limits.seconds)
    return Request(
      task,
      ids,
      self.ranks and bool(task.texts.labels),
      max_tokens=min(max_tokens or most, most),
      temperature=temperature,
      key=key,
      deadline=time.monotonic() + seconds,
      on_tokens=on_tokens,
    )

  def submit(self, requests):
    """Puts requests into the queue, all or none; see `Queue.put`.

    A request keeps its row of the table until it is answered.
    """
    with self._lock:
      for request in requests:
        if self._tasks.get(request.task.name) is not request.task:
          raise UnknownTask(f"the task {request.task.name!r:.200} has gone")
      entries = [request.task.entry.lease() for request in requests]
    try:
      self.queue.put(requests)
    except BaseException:
      for entry in entries:
        entry.release()
      raise
    for request, entry in zip(requests, entries, strict=True):
      request.future.add_done_callback(lambda _, entry=entry: entry.release())
