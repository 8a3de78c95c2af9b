"""Says on stderr what the quickstart does, and measures how long it takes."""

import contextlib
import time

import rich.console


class Clock:
  """The parts of a run, timed.

  Attributes:
    seconds: {name: seconds}; a name that occurs again adds to its seconds.
  """

  def __init__(self):
    self.seconds = {}
    self._start = time.monotonic()
    self._console = rich.console.Console(stderr=True)

  @contextlib.contextmanager
  def part(self, name, text=None):
    """Times what happens inside, after it has said what that is."""
    if text is not None:
      space = "\n" if self.seconds else ""
      self._console.print(f"{space}[bold]{name}[/]: {text}", highlight=False)
    start = time.monotonic()
    yield
    passed = time.monotonic() - start
    self.seconds[name] = self.seconds.get(name, 0.0) + passed

  def end(self, text):
    """Says how long everything took."""
    whole = time.monotonic() - self._start
    self._console.print(f"\n{whole:.0f} s in all; {text}", highlight=False)
