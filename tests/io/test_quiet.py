"""What is printed to stderr inside of `silenced`, and after it."""

import os
import threading

from mpt_jax.io import quiet


def test_prints_are_dropped_and_what_is_said_is_not(capfd):
  with quiet.silenced():
    os.write(2, b"lost\n")
    with quiet.silenced():
      quiet.say("said")
    os.write(2, b"lost too\n")
  os.write(2, b"kept\n")
  quiet.say("said at the end")
  assert capfd.readouterr().err == "said\nkept\nsaid at the end\n"


def test_overlapping_threads_restore_stderr(capfd):
  inside, leave = threading.Event(), threading.Event()

  def stay():
    with quiet.silenced():
      inside.set()
      leave.wait()

  thread = threading.Thread(target=stay)
  with quiet.silenced():
    thread.start()
    inside.wait()
  os.write(2, b"lost\n")
  leave.set()
  thread.join()
  os.write(2, b"kept\n")
  assert capfd.readouterr().err == "kept\n"
