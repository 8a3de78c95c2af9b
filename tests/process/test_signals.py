"""Signals of a command and of a part of it, in processes of their own."""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from mpt_jax.process import signals

ROOT = pathlib.Path(__file__).parents[2]
SAYS = "stopping after this step; a second signal stops at once"


def begin(body, *prefix):
  """Starts a script, and waits for its line "ready"."""
  code = f"""
import signal, sys, time
from mpt_jax.io import errors
from mpt_jax.process import signals, stderr
def ready():
  print("ready", flush=True)
def wait(seconds=60):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    time.sleep(0.01)
{body}
"""
  process = subprocess.Popen(
    [*prefix, sys.executable, "-c", code],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n", process.communicate()
  return process


def finish(process, code):
  out, err = process.communicate(timeout=60)
  assert process.returncode == code, (out, err)
  return out, err


COMMAND = """
def work():
  try:
    ready()
    wait()
  finally:
    print("cleaned")
sys.exit(errors.run_and_report(work))
"""
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


@pytest.mark.parametrize("signum", CODES)
def test_a_command_ends_where_it_is(signum):
  process = begin(COMMAND)
  process.send_signal(signum)
  out, err = finish(process, CODES[signum])
  assert out == "cleaned\n"
  start = (
    f"stopped by {signum.name}; the same command goes on: {sys.executable}"
  )
  assert err.startswith(start) and " -c " in err


DEFERRED = """
def work():
  with signals.deferred() as stop:
    ready()
    while stop.signum is None:
      time.sleep(0.01)
    wait({seconds})
    print("saved")
  print("not reached")
sys.exit(errors.run_and_report(work))
"""


@pytest.mark.parametrize("signum", CODES)
def test_a_deferred_signal_lets_the_work_end(signum):
  process = begin(DEFERRED.format(seconds=0))
  process.send_signal(signum)
  out, err = finish(process, CODES[signum])
  assert out == "saved\n"
  assert err.splitlines()[0] == f"{signum.name}: {SAYS}"


def test_a_signal_is_answered_while_stderr_is_silenced():
  process = begin(
    """
def work():
  with signals.deferred() as stop, stderr.silenced():
    print("lost", file=sys.stderr)
    ready()
    while stop.signum is None:
      time.sleep(0.01)
sys.exit(errors.run_and_report(work))
"""
  )
  process.send_signal(signal.SIGTERM)
  _, err = finish(process, 143)
  first, second, *_ = err.splitlines()
  assert first == f"SIGTERM: {SAYS}" and second.startswith("stopped by SIGTERM")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(second):
  process = begin(DEFERRED.format(seconds=60))
  process.send_signal(signal.SIGTERM)
  time.sleep(2 * signals.TOGETHER)
  process.send_signal(second)
  out, err = finish(process, CODES[second])
  assert out == ""
  assert err.endswith(f"{second.name}: stopped at once\n")


def test_a_second_signal_ends_what_does_not_return_to_python():
  # A mutex that is locked twice blocks for ever, and no signal interrupts it.
  process = begin(
    """
import ctypes
def work():
  with signals.deferred():
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    ready()
    lock(mutex)
sys.exit(errors.run_and_report(work))
"""
  )
  for _ in range(2):
    time.sleep(2 * signals.TOGETHER)
    process.send_signal(signal.SIGTERM)
  assert finish(process, 143)[1].splitlines() == [
    f"SIGTERM: {SAYS}",
    "SIGTERM: stopped at once",
  ]


def test_two_signals_together_are_one():
  # `timeout` signals its child, and then its process group.
  process = begin(DEFERRED.format(seconds=0.5), "timeout", "2")
  out, err = finish(process, 124)
  assert out == "saved\n"
  assert "at once\nstopped by SIGTERM" in err


def test_a_library_cannot_turn_the_end_into_its_own_error():
  process = begin(
    """
def work():
  try:
    ready()
    wait()
  except BaseException as error:
    raise ImportError("initialization failed") from error
sys.exit(errors.run_and_report(work))
"""
  )
  process.send_signal(signal.SIGTERM)
  assert finish(process, 143)[1].startswith("stopped by SIGTERM;")


def test_an_error_after_a_deferred_signal_is_reported():
  process = begin(
    """
def work():
  with signals.deferred() as stop:
    ready()
    while stop.signum is None:
      time.sleep(0.01)
    raise OSError("no space left")
sys.exit(errors.run_and_report(work))
"""
  )
  process.send_signal(signal.SIGTERM)
  assert finish(process, 2)[1].splitlines()[-1] == "error: no space left"


def test_an_ignored_signal_stays_ignored():
  process = begin("signal.signal(signal.SIGHUP, signal.SIG_IGN)" + COMMAND)
  process.send_signal(signal.SIGHUP)
  time.sleep(0.3)
  assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  finish(process, 143)


def test_outside_a_command_the_second_signal_is_the_callers():
  process = begin(
    """
try:
  with signals.deferred() as stop:
    ready()
    while stop.signum is None:
      time.sleep(0.01)
    wait()
except KeyboardInterrupt:
  print("as before")
"""
  )
  process.send_signal(signal.SIGTERM)
  time.sleep(2 * signals.TOGETHER)
  process.send_signal(signal.SIGINT)
  assert finish(process, 0)[0] == "as before\n"


def test_a_script_ends_with_the_code_and_no_traceback():
  process = begin(
    """
with signals.deferred() as stop:
  ready()
  while stop.signum is None:
    time.sleep(0.01)
"""
  )
  process.send_signal(signal.SIGTERM)
  assert finish(process, 143)[1] == f"SIGTERM: {SAYS}\n"


def test_handlers_come_back():
  before = [signal.getsignal(s) for s in signals.SIGNALS]
  with signals.of_command() as stop:
    assert signals.current() is stop
    with signals.deferred() as inner:
      assert inner is stop and stop.is_deferred
    assert not stop.is_deferred
  with signals.deferred() as alone:
    assert signals.current() is alone
  assert [signal.getsignal(s) for s in signals.SIGNALS] == before
  assert signals.current() is None


def test_nothing_is_handled_in_a_thread():
  found = []

  def work():
    with signals.deferred() as stop:
      found.append((stop.signum, signals.current()))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [(None, None)]


@pytest.fixture
def install():
  """C's function `signal`: the runtime of JAX calls it behind Python's back."""
  function = ctypes.CDLL(None).signal
  function.restype = ctypes.c_void_p
  function.argtypes = [ctypes.c_int, ctypes.c_void_p]
  before = signal.getsignal(signal.SIGTERM)
  yield function
  signal.signal(signal.SIGTERM, before)


def test_a_handler_of_c_code_is_called_and_comes_back(install):
  calls = []
  native = ctypes.CFUNCTYPE(None, ctypes.c_int)(calls.append)
  address = ctypes.cast(native, ctypes.c_void_p).value
  with pytest.raises(signals.Stopped) as stopped:
    with signals.deferred() as stop:
      outer = install(signal.SIGTERM, address)
      stop.take_over()
      os.kill(os.getpid(), signal.SIGINT)
      assert calls == [signal.SIGTERM] and stop.signum == signal.SIGINT
      stop.give_back()
      assert install(signal.SIGTERM, outer) == address
  assert stopped.value.code == 130


def test_a_handler_of_c_code_that_was_there_before_is_called(install):
  """t5x starts the runtime before the gin files import this library."""
  calls = []
  native = ctypes.CFUNCTYPE(None, ctypes.c_int)(calls.append)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  install(signal.SIGTERM, ctypes.cast(native, ctypes.c_void_p).value)
  with pytest.raises(signals.Stopped) as stopped:
    with signals.deferred() as stop:
      stop.take_over()
      os.kill(os.getpid(), signal.SIGTERM)
      assert calls == [signal.SIGTERM] and stop.signum == signal.SIGTERM
  assert stopped.value.code == 143


def test_the_command_as_the_user_typed_it(monkeypatch, tmp_path):
  script = tmp_path / "bin" / "mpt"
  script.parent.mkdir()
  script.write_text("#!/usr/bin/python\n")
  script.chmod(0o755)
  typed = ["train", '--gin.MODEL_DIR="a b"']
  monkeypatch.setattr(
    sys, "orig_argv", ["/usr/bin/python", str(script), *typed]
  )
  monkeypatch.setenv("PATH", str(script.parent))
  assert signals.typed_command() == "mpt train '--gin.MODEL_DIR=\"a b\"'"
  monkeypatch.setenv("PATH", "")
  assert signals.typed_command().startswith(f"{script} train ")
  monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "mpt_jax.train", "-x"])
  assert signals.typed_command() == "python -m mpt_jax.train -x"
