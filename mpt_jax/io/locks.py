"""One writer for a folder at a time."""

import contextlib
import datetime
import json
import os
import socket
import uuid

import filelock
from etils import epath

from mpt_jax.io import errors

FILE = "run.lock"


@contextlib.contextmanager
def hold(folder):
  """Keeps other processes from writing to a folder.

  The kernel releases the lock of a process that dies, however it dies. An
  address such as gs://... has no such locks: there the lock is a file that must
  not exist. If its process died on this host, the file is taken over;
  otherwise somebody has to delete it.

  Args:
    folder: the folder, which is made if it does not exist.

  Yields:
    A text that the file `FILE` has and no other lock has.

  Raises:
    ValueError: another process holds the folder; the message names it.
    OSError: the folder cannot be written.
  """
  folder = epath.Path(folder)
  path = folder / FILE
  existed = folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  holding = _remote if "://" in os.fspath(folder) else _local
  try:
    with holding(path):
      token = uuid.uuid4().hex
      with errors.writing(path):
        path.write_text(json.dumps(_holder(token)) + "\n")
      yield token
  finally:
    if not existed and folder.exists() and not any(folder.iterdir()):
      folder.rmdir()


def read_token(folder) -> str | None:
  """Returns what `hold` yielded to the process that holds a folder, or None."""
  return _read(epath.Path(folder) / FILE).get("token")


@contextlib.contextmanager
def _local(path):
  lock = filelock.FileLock(path, timeout=0)
  try:
    lock.acquire()
  except filelock.Timeout:
    raise ValueError(_refusal(path)) from None
  try:
    yield
  finally:
    # While it is held: a process that has opened it notices.
    path.unlink(missing_ok=True)
    lock.release()


@contextlib.contextmanager
def _remote(path):
  holder = _read(path)
  if path.exists() and not _has_died(holder):
    raise ValueError(
      f"{_refusal(path)}. If that process is dead, delete {path}"
    )
  try:
    yield
  finally:
    path.unlink(missing_ok=True)


def _holder(token):
  now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
  host = socket.gethostname()
  return {"host": host, "pid": os.getpid(), "started": now, "token": token}


def _read(path) -> dict:
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError):
    return {}
  pid = found.get("pid") if isinstance(found, dict) else None
  return found if type(pid) is int and 0 < pid < 2**31 else {}


def _has_died(holder) -> bool:
  if holder.get("host") != socket.gethostname():
    return False
  try:
    os.kill(holder["pid"], 0)
  except ProcessLookupError:
    return True
  except PermissionError:
    return False
  return False


def _refusal(path):
  holder = _read(path)
  who = "another process"
  if holder:
    who = (
      f"process {holder.get('pid')} on {holder.get('host')}, which started"
      f" {holder.get('started')}"
    )
  return f"{path.parent} is in use by {who}; wait for it, or use another folder"
