"""The journal: which tasks were added and removed, on disk.

The state folder has a file of prompts for each added task and `journal.jsonl`,
a line for each change with its own digest. A change counts once its line is on
the disk; only then is it acknowledged. A line that a kill cut off is the last
one and was never acknowledged. From time to time the journal is written anew,
in one move, without what is no longer true.
"""

import contextlib
import json
import os
import pathlib

from mpt_jax.io import digests, files, locks
from mpt_jax.prompts.bank import PromptBank, load_bank

FILE = "journal.jsonl"
# Lines of changes that are no longer true before the journal is written anew.
STALE = 1000


class Journal:
  """The changes of a state folder. One process at a time holds the folder.

  Args:
    folder: the folder, which is made if it does not exist.

  Attributes:
    changes: {name: file name, or None for a removed task}, in order.

  Raises:
    ValueError: the journal is damaged, or another process holds the folder.
  """

  def __init__(self, folder):
    self.folder = pathlib.Path(folder)
    self._stack = contextlib.ExitStack()
    self._stack.enter_context(locks.hold(self.folder))
    self.changes, self._stale = {}, 0
    try:
      self._read()
      self._rewrite()
    except BaseException:
      self._stack.close()
      raise

  def close(self):
    """Gives the folder back."""
    self._file.close()
    self._stack.close()

  def _read(self):
    path = self.folder / FILE
    if not path.is_file():
      return
    lines = list(digests.read_lines(path))
    for number, fields in lines:
      if fields is None:
        if number == len(lines):
          break  # A kill cut it off.
        raise ValueError(
          f"{path}, line {number}: the line is damaged; remove it to go on"
          " without that change"
        )
      self._note(fields["name"], fields["file"])

  def _note(self, name, file):
    self._stale += name in self.changes
    self.changes.pop(name, None)
    self.changes[name] = file

  def _rewrite(self):
    """Writes the journal without stale lines, and removes unused files."""
    text = "".join(_line(*change) for change in self.changes.items())
    path = self.folder / FILE
    with files.replacing(path) as temporary:
      temporary.write_text(text)
      _sync(temporary)
    _sync(self.folder)
    used = {name for name in self.changes.values() if name}
    for found in self.folder.glob("*.safetensors*"):
      if found.name not in used:
        found.unlink()
    self._stale = 0
    self._file = path.open("a", encoding="utf-8")

  def load(self, name: str) -> PromptBank:
    """Reads the prompt of an added task.

    Raises:
      ValueError, FileNotFoundError: its file is damaged or missing.
    """
    return load_bank(self.folder / self.changes[name])

  def put(self, name: str, bank: PromptBank, number: int):
    """Adds or replaces a task; returns once that is on the disk.

    Args:
      name: the task's name.
      bank: a bank of its one prompt.
      number: a number that no other change of this folder has.
    """
    file = f"task-{number:012d}.safetensors"
    path = self.folder / file
    bank.save(path)
    _sync(path)
    _sync(self.folder)
    old = self.changes.get(name)
    self._append(name, file)
    if old:
      (self.folder / old).unlink(missing_ok=True)

  def remove(self, name: str, forget: bool):
    """Removes a task; returns once that is on the disk.

    Args:
      name: the task's name.
      forget: whether the task exists in the journal alone, so that nothing has
        to be remembered about it.
    """
    old = self.changes.get(name)
    self._append(name, None)
    if forget:
      del self.changes[name]
      self._stale += 1
    if old:
      (self.folder / old).unlink(missing_ok=True)

  def _append(self, name, file):
    self._file.write(_line(name, file))
    self._file.flush()
    os.fsync(self._file.fileno())
    self._note(name, file)
    if self._stale >= max(STALE, len(self.changes)):
      self._file.close()
      self._rewrite()

  def next_number(self) -> int:
    """Returns a number larger than those of all files of the folder."""
    found = self.folder.glob("task-*.safetensors")
    return 1 + max((int(p.name[5:17]) for p in found), default=0)


def _line(name, file):
  return json.dumps(digests.seal({"name": name, "file": file})) + "\n"


def _sync(path):
  """Brings a file, or the names of a folder, to the disk."""
  number = os.open(path, os.O_RDONLY)
  try:
    os.fsync(number)
  finally:
    os.close(number)
