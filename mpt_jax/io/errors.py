"""How a command ends: one line for what a user can mend. Imports are light."""

import os
import pathlib
import sys
import traceback


class TrainingDiverged(RuntimeError):
  """The loss is not a number any more; the last checkpoint is still good."""


def check_free(path, folder=True) -> pathlib.Path:
  """Returns the path of what is to be written.

  Args:
    path: the path.
    folder: it is to be a folder, which may be there if it is empty.

  Raises:
    ValueError: there is something already.
  """
  path = pathlib.Path(path)
  if path.is_dir() and not folder:
    raise ValueError(f"{path} is a folder; name a file with --out")
  if path.is_dir() and any(path.iterdir()):
    raise ValueError(f"the folder {path} is not empty; name another --out")
  if path.exists() and not path.is_dir():
    raise ValueError(f"{path} exists; remove it, or name another --out")
  return path


def run_and_report(function, *args, show=False) -> int:
  """Calls a function; an error that a user can mend becomes one line.

  Args:
    function: what to call.
    *args: its arguments.
    show: print the traceback too.

  Returns:
    0; 2 after such an error; 130 after an interrupt; 141 where nobody reads
    the output any more. Other errors are programming mistakes and keep their
    traceback.
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
