"""What is printed is dropped while stderr is silenced, what is said is not."""

import os
import subprocess
import sys
import threading

import pytest

from mpt_jax.process import stderr


def test_prints_are_dropped_and_what_is_said_is_not(capfd):
  with stderr.silenced():
    os.write(2, b"lost\n")
    with stderr.silenced():
      stderr.say("said")
    os.write(2, b"lost too\n")
  os.write(2, b"kept\n")
  stderr.say("said at the end")
  assert capfd.readouterr().err == "said\nkept\nsaid at the end\n"


def test_overlapping_threads_restore_stderr(capfd):
  inside, leave = threading.Event(), threading.Event()

  def stay():
    with stderr.silenced():
      inside.set()
      leave.wait()

  thread = threading.Thread(target=stay)
  with stderr.silenced():
    thread.start()
    inside.wait()
  os.write(2, b"lost\n")
  leave.set()
  thread.join()
  os.write(2, b"kept\n")
  assert capfd.readouterr().err == "kept\n"


@pytest.mark.parametrize(
  "code",
  [
    "from mpt_jax.cli.main import main; main(['tasks', 'vader_nyt'])",
    "import mpt_jax.quickstart.run",
    "import mpt_jax.sweeps.run",
  ],
)
def test_tensorflow_says_nothing_when_it_is_imported(code):
  # The settings of the tests silence a part of it.
  environment = {
    name: value
    for name, value in os.environ.items()
    if name not in ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES")
  }
  done = subprocess.run(
    [sys.executable, "-c", code],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0
  assert "absl::InitializeLog" not in done.stderr, done.stderr
