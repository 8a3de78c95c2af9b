"""One writer for a folder, also after the death of another one."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from buckets import bucket

from mpt_jax.io import locks

__all__ = ["bucket"]
ROOT = pathlib.Path(__file__).parents[2]


def hold_elsewhere(folder):
  """A process that holds the folder until it is killed."""
  code = (
    "import sys, time; from mpt_jax.io import locks\n"
    "with locks.hold(sys.argv[1]):\n  print(flush=True); time.sleep(60)"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", code, str(folder)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "\n"
  return process


def test_the_second_writer_is_told_who_the_first_is(tmp_path):
  folder = tmp_path / "a" / "run"
  process = hold_elsewhere(folder)
  with pytest.raises(ValueError) as refused, locks.hold(folder):
    pass
  assert str(refused.value).startswith(
    f"{folder} is in use by process {process.pid} on {socket.gethostname()},"
    " which started 20"
  )
  # The file that the dead process leaves is no obstacle.
  process.send_signal(signal.SIGKILL)
  process.wait()
  process.stdout.close()
  assert (folder / locks.FILE).exists()
  with locks.hold(folder) as token:
    assert locks.read_token(folder) == token
    with pytest.raises(ValueError, match=f"process {os.getpid()} on"):
      with locks.hold(folder):
        pass
  assert list(folder.iterdir()) == []


def test_a_folder_stays_as_it_was(tmp_path):
  with pytest.raises(ZeroDivisionError), locks.hold(tmp_path / "new"):
    raise ZeroDivisionError
  assert not (tmp_path / "new").exists()
  with locks.hold(tmp_path):
    pass
  assert list(tmp_path.iterdir()) == []
  assert locks.read_token(tmp_path) is None


class TestWithoutLocksOfTheKernel:
  @pytest.fixture
  def folder(self, bucket):
    return bucket / "runs" / "teach"

  def test_the_file_is_the_lock(self, folder):
    with locks.hold(folder) as token:
      assert locks.read_token(folder) == token
      with pytest.raises(ValueError, match="dead, delete gs://.*/run.lock"):
        with locks.hold(folder):
          pass
      assert locks.read_token(folder) == token
    with locks.hold(folder):
      pass

  def test_a_process_that_died_here_is_no_obstacle(self, folder):
    process = subprocess.Popen(["true"])
    process.wait()
    holder = {"host": socket.gethostname(), "pid": process.pid}
    (folder / locks.FILE).write_text(json.dumps(holder))
    with locks.hold(folder):
      pass

  def test_a_process_of_another_host_counts_as_alive(self, folder):
    holder = {"host": "elsewhere", "pid": 1, "started": "today"}
    (folder / locks.FILE).write_text(json.dumps(holder))
    with pytest.raises(ValueError, match="process 1 on elsewhere"):
      with locks.hold(folder):
        pass
