"""One progress bar, which fits narrow terminals and is silent in pipes."""

from collections.abc import Sequence

import rich.console
import rich.measure
import rich.progress
import rich.table
from rich.text import Text


class Progress:
  """A line on stderr: description, bar, count, remaining time, values.

  `with Progress(...) as bar:` draws it. In a narrow terminal the values go
  first, from the last one on; the bar and the description become shorter, and
  count and time stay. Nothing is drawn where there is no terminal.

  Args:
    description: the words before the bar.
    total: the number of items, or None if it is not known yet.
    completed: items done before.
    in_bytes: the items are bytes.
    transient: the line vanishes at the end.
    console: where to draw; stderr by default.
    show: False draws nothing.
  """

  def __init__(
    self,
    description: str,
    total: int | None = None,
    completed: int = 0,
    *,
    in_bytes: bool = False,
    transient: bool = False,
    console: rich.console.Console | None = None,
    show: bool = True,
  ):
    self._console = console or rich.console.Console(stderr=True)
    whole = rich.table.Column(no_wrap=True)
    count = rich.progress.MofNCompleteColumn(table_column=whole)
    if in_bytes:
      count = rich.progress.DownloadColumn(table_column=whole)
    width = self._console.width
    longest = max(8, min(width // 3, width - 40))
    self._drawn = rich.progress.Progress(
      rich.progress.TextColumn(
        "{task.description}",
        markup=False,
        table_column=rich.table.Column(
          no_wrap=True, max_width=longest, overflow="ellipsis"
        ),
      ),
      rich.progress.BarColumn(min(20, width // 6), table_column=whole),
      count,
      rich.progress.TimeRemainingColumn(table_column=whole),
      _ValuesColumn(),
      console=self._console,
      transient=transient,
      disable=not (show and self._console.is_terminal),
    )
    self._task = self._drawn.add_task(
      description, total=total, completed=completed, values=()
    )

  def __enter__(self):
    self._drawn.start()
    return self

  def __exit__(self, *exception):
    self._drawn.stop()

  def advance(self, count: int = 1):
    """Adds to the number of items that are done."""
    self._drawn.advance(self._task, count)

  def update(
    self,
    completed: int,
    total: int | None = None,
    values: Sequence[str] | None = None,
  ):
    """Sets the number of items that are done.

    Args:
      completed: that number.
      total: the number of all items; None keeps it.
      values: texts to show behind the time, the most important one first;
        None keeps them.
    """
    fields = {} if values is None else {"values": tuple(values)}
    self._drawn.update(self._task, completed=completed, total=total, **fields)

  def print(self, text: str):
    """Prints a line above the bar."""
    self._console.print(
      text, highlight=False, markup=False, emoji=False, soft_wrap=True
    )


class _ValuesColumn(rich.progress.ProgressColumn):
  """As many of the field `values` as there is room for."""

  def render(self, task):
    return _Values(task.fields["values"])


class _Values:
  def __init__(self, values):
    self._values = values

  def __rich_measure__(self, console, options):
    return rich.measure.Measurement(0, len("  ".join(self._values)))

  def __rich_console__(self, console, options):
    values = list(self._values)
    while values and len("  ".join(values)) > options.max_width:
      values.pop()
    yield Text("  ".join(values), no_wrap=True)
