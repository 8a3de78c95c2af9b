"""Errors that a user can fix become one line. Imports are light."""

import os
import sys
import traceback


class TrainingDiverged(RuntimeError):
  """The loss became NaN or infinite; the last checkpoint is still good."""


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
