"""Errors that a user can fix become one line. Imports are light."""

import contextlib
import os
import sys
import traceback


class TrainingDiverged(RuntimeError):
  """The loss became NaN or infinite; the last checkpoint is still good."""


@contextlib.contextmanager
def reading(path, what: str):
  """Turns whatever a library raises over a file into one line with its name.

  The caller reads a file of somebody else inside the block. `OSError` passes,
  because it names the file, and so does a `ValueError` that names it.

  Args:
    path: the file or folder.
    what: what was expected there, such as "a safetensors file".

  Raises:
    ValueError: the file cannot be read as what was expected.

  >>> with reading("a.json", "a JSON file"):
  ...   {}["model"]
  Traceback (most recent call last):
  ...
  ValueError: a.json cannot be read as a JSON file: KeyError: 'model'
  """
  try:
    yield
  except OSError:
    raise
  except Exception as error:
    text = " ".join(str(error).split())
    if isinstance(error, ValueError) and str(path) in text:
      raise
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    raise ValueError(
      f"{path} cannot be read as {what}: {kind}{text[:500]}"
    ) from error


def run_and_report(function, *args, show=False) -> int:
  """Calls a function and prints an error that a user can fix as one line.

  Args:
    function: the function of a command.
    *args: its arguments.
    show: print the traceback too.

  Returns:
    The exit code: 0; 2 after such an error; 130 after an interrupt; 141 if
    nobody reads the output any more. Other errors are programming mistakes and
    are raised.
  """
  try:
    function(*args)
    sys.stdout.flush()
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 130
  except BrokenPipeError:
    # Python flushes stdout once more when it ends, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
  except (ValueError, TypeError, OSError, TrainingDiverged) as error:
    if show:
      traceback.print_exc()
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return 2
  return 0
