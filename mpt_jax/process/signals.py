"""SIGTERM, SIGINT and SIGHUP: the first ends the work well, a second at once.

A command handles them from its beginning to its end, see `of_command`. There
the first signal raises `Stopped` where Python is. A run that has something to
save defers it, see `deferred`: it looks at `Stop.signum` after each step.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import sys
import threading
import time

from mpt_jax.process import stderr

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# `timeout` and some shells send a signal twice. The second one of a user comes
# later than this many seconds.
TOGETHER = 0.2


class Stopped(SystemExit):
  """A signal ended the work.

  Handlers of ordinary errors let it pass. A script that does not catch it ends
  with the exit code that shells give to this signal.

  Attributes:
    signum: the signal.
    code: the exit code, 128 + signum.
  """

  def __init__(self, signum: int):
    super().__init__(128 + signum)
    self.signum = signal.Signals(signum)

  def __str__(self):
    return f"stopped by {self.signum.name}"


class Stop:
  """The handler of the signals; it remembers the first one.

  Attributes:
    signum: the first signal; None before it comes.
    is_deferred: whether the work goes on after the first signal until it looks
      at `signum`. Otherwise the signal raises `Stopped`.
    has_raised: whether the signal raised `Stopped`.
  """

  def __init__(self, at_once):
    """Makes a handler.

    Args:
      at_once: called with the number of the second signal.
    """
    self.signum = None
    self.is_deferred = False
    self.has_raised = False
    self._at_once = at_once
    self._first = self._time = None
    # The work goes on only after the line of `notice` is out.
    self._noticing = threading.RLock()
    # Handlers of C++ code: those that this one replaced, and those to call.
    self._replaced, self._native = {}, {}

  def __call__(self, signum, frame=None):
    if self.signum is not None:
      if self.is_second(signum):
        self._at_once(signum)
      return
    self.notice(signum)
    self.signum = signum
    if signum == signal.SIGHUP:
      stderr.leave_terminal()
    for handler in self._native.values():
      handler(signal.SIGTERM)
    if not self.is_deferred:
      self.has_raised = True
      raise Stopped(signum)

  def notice(self, signum):
    """Takes note of the first signal, and says what happens if it is deferred.

    A thread calls this at once; Python's handlers come later if a library
    computes.
    """
    with self._noticing:
      if self._time is not None:
        return
      self._first, self._time = signum, time.monotonic()
      if self.is_deferred:
        stderr.say(
          f"{signal.Signals(signum).name}: stopping after this step; a second"
          " signal stops at once"
        )

  def is_second(self, signum) -> bool:
    """Whether a signal is another one than the first."""
    # A terminal that closes sends two.
    hung_up = signum == self._first == signal.SIGHUP
    return (
      self._time is not None
      and time.monotonic() - self._time > TOGETHER
      and not hung_up
    )

  def replace(self, signum):
    """Remembers a handler of C++ code before this one takes its place."""
    # Python thinks that there is none.
    if signal.getsignal(signum) == signal.SIG_DFL:
      found = _handler(signum)
      if found != signal.SIG_IGN.value:
        self._replaced[signum] = found

  def take_over(self):
    """Puts itself before handlers that C++ code installed.

    Python does not see those. JAX's distributed runtime has one of SIGTERM,
    through which processes agree on the step to stop at, whichever of the two
    was installed first. From now on the first signal of any kind calls it; if
    that has come already, it is called now.
    """
    if signal.getsignal(signal.SIGTERM) is not self:
      return  # Not in the main thread, or the signal is ignored.
    found = _handler(signal.SIGTERM)
    signal.signal(signal.SIGTERM, self)
    if found == _handler(signal.SIGTERM):
      found = self._replaced.get(signal.SIGTERM)
    if found is not None:
      call = ctypes.CFUNCTYPE(None, ctypes.c_int)(found)
      self._native[signal.SIGTERM] = call
      if self.signum is not None:
        call(signal.SIGTERM)

  def give_back(self):
    """Restores what `take_over` replaced."""
    for signum, handler in self._native.items():
      _libc_signal()(signum, ctypes.cast(handler, ctypes.c_void_p))
    self._native = {}


@contextlib.contextmanager
def of_command():
  """Handles the signals of a whole process, from its main thread.

  A second signal ends the process at once, also while a library compiles or
  computes.

  Yields:
    The process's `Stop`.
  """
  outer = current()
  if outer is not None or not _is_main_thread():
    yield outer or Stop(_exit)
    return
  stop = Stop(_exit)
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  watcher = threading.Thread(target=_watch, args=(stop, reader), daemon=True)
  watcher.start()
  old = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  try:
    with _installed(stop):
      yield stop
  finally:
    signal.set_wakeup_fd(old)
    os.close(writer)
    watcher.join()
    os.close(reader)


@contextlib.contextmanager
def deferred():
  """Lets the work inside go on after the first signal.

  Within a command, this is the command's own `Stop`. Elsewhere, such as in a
  notebook, the handlers are installed for this block, and the second signal
  goes to the handlers that were there before. In a thread nothing is handled.

  Yields:
    The `Stop` to look at.

  Raises:
    Stopped: a signal came, and the block has ended.
  """

  def again(signum):
    handlers.close()
    os.kill(os.getpid(), signum)

  with contextlib.ExitStack() as handlers:
    stop = current()
    if stop is None:
      stop = Stop(again)
      if _is_main_thread():
        handlers.enter_context(_installed(stop))
    handlers.callback(setattr, stop, "is_deferred", stop.is_deferred)
    stop.is_deferred = True
    yield stop
  if stop.signum is not None and not stop.is_deferred:
    raise Stopped(stop.signum)


def current() -> Stop | None:
  """Returns the `Stop` that handles the signals now, or None."""
  if not _is_main_thread():
    return None
  handlers = map(signal.getsignal, SIGNALS)
  return next((h for h in handlers if isinstance(h, Stop)), None)


def typed_command() -> str:
  """Returns the command line of this process as the user typed it."""
  interpreter, *rest = sys.orig_argv
  if rest and os.path.basename(rest[0]) == "mpt":
    # The system started the interpreter for the script.
    found = shutil.which("mpt")
    own = found is not None and os.path.samefile(found, rest[0])
    return shlex.join(["mpt" if own else rest[0], *rest[1:]])
  return shlex.join([interpreter, *rest])


@contextlib.contextmanager
def _installed(stop):
  before = {}
  for signum in SIGNALS:
    # `nohup` and shells in the background ignore a signal on purpose.
    if signal.getsignal(signum) not in (signal.SIG_IGN, None):
      stop.replace(signum)
      before[signum] = signal.signal(signum, stop)
  try:
    yield
  finally:
    stop.give_back()
    for signum, handler in before.items():
      signal.signal(signum, handler)


def _is_main_thread():
  return threading.current_thread() is threading.main_thread()


def _watch(stop, reader):
  """Ends the process at the second signal.

  Python's handlers wait while a library computes; this thread does not.
  """
  while numbers := os.read(reader, 1):
    if numbers[0] in SIGNALS:
      if stop.is_second(numbers[0]):
        _exit(numbers[0])
      stop.notice(numbers[0])


def _exit(signum):
  show_cursor = "\x1b[?25h" if stderr.is_terminal() else ""
  stderr.say(f"{show_cursor}{signal.Signals(signum).name}: stopped at once")
  os._exit(128 + signum)


def _libc_signal():
  function = ctypes.CDLL(None).signal
  function.restype = ctypes.c_void_p
  function.argtypes = [ctypes.c_int, ctypes.c_void_p]
  return function


def _handler(signum):
  """Returns the address of the handler of a signal; None for the default."""
  found = _libc_signal()(signum, None)
  _libc_signal()(signum, found)
  return found
