"""Errors that a user can fix become one line. Imports are light."""

import contextlib
import enum
import os
import re
import sys
import traceback
import warnings

from mpt_jax.process import signals


class ExitCode(enum.IntEnum):
  """What the exit codes of all commands mean; docs/troubleshooting.md too."""

  DONE = 0
  DAMAGED = 1  # `mpt verify` found damage.
  MISTAKE = 2  # Something that the user can fix; one line says what.
  DIVERGED = 3  # Slots diverged; those that did not are trained and saved.
  HUNG_UP = 129  # The terminal closed (SIGHUP); the work is saved.
  INTERRUPTED = 130  # Ctrl-C (SIGINT); the work is saved.
  PIPE_CLOSED = 141  # Nobody reads the output any more (SIGPIPE).
  TERMINATED = 143  # SIGTERM; the work is saved.


class TrainingDiverged(RuntimeError):
  """The loss became NaN or infinite; the last checkpoint is still good."""


# What requirements/light.txt leaves out, by the names that are imported.
NOT_LIGHT = ("clu", "gin", "seqio", "tensorflow", "tensorflow_datasets")


def one_line(error, most: int = 500) -> str:
  """Returns the text of an error in one line of at most so many characters."""
  return " ".join(str(error).split())[:most]


@contextlib.contextmanager
def reading(path, what: str):
  """Turns whatever a library raises over a file into one line with its name.

  The caller reads a file of somebody else inside the block. An `OSError` or a
  `ValueError` that names the file passes.

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
  except Exception as error:
    name = os.path.basename(os.fspath(path)) or str(path)
    # The name of a file may be as short as a letter, so it has to be a word.
    is_in_text = re.search(rf"(?<![\w\\]){re.escape(name)}(?!\w)", str(error))
    named = is_in_text or getattr(error, "filename", None)
    if isinstance(error, ValueError | OSError) and named:
      raise
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    raise ValueError(
      f"{path} cannot be read as {what}: {kind}{one_line(error)}"
    ) from error


@contextlib.contextmanager
def writing(path):
  """Names the file in an error over it; a full disk is one without a name.

  >>> with writing("a.txt"):
  ...   raise OSError(28, "No space left on device")
  Traceback (most recent call last):
  ...
  OSError: [Errno 28] No space left on device: 'a.txt'
  """
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = os.fspath(path)
    raise


@contextlib.contextmanager
def calling(what: str):
  """Turns whatever a function of a user raises into one line with its name.

  `OSError` passes, because it names a file.

  Args:
    what: names the function, such as "the metric function f of task 'a'".

  Raises:
    ValueError: the function raised an exception.

  >>> with calling("the function f"):
  ...   {}["x"]
  Traceback (most recent call last):
  ...
  ValueError: the function f failed: KeyError: 'x'
  """
  try:
    yield
  except OSError:
    raise
  except Exception as error:
    text = " ".join(str(error).split())
    # TensorFlow puts the cause last, behind a traceback of its own.
    text = text if len(text) <= 400 else f"... {text[-400:]}"
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    raise ValueError(f"{what} failed: {kind}{text}") from error


def run_and_report(function, *args, show=False) -> int:
  """Calls a function and prints an error that a user can fix as one line.

  Meanwhile the first SIGTERM, SIGINT or SIGHUP stops the work, see `signals`.

  Args:
    function: the function of a command. It returns an `ExitCode`, or None for
      `ExitCode.DONE`.
    *args: its arguments.
    show: print the traceback too.

  Returns:
    The exit code, see `ExitCode`. Errors that a user cannot fix are programming
    mistakes and are raised.
  """
  warnings.formatwarning = _format_warning
  with signals.of_command() as stop:
    try:
      code = function(*args)
      sys.stdout.flush()
      return ExitCode.DONE if code is None else code
    except (Exception, KeyboardInterrupt, signals.Stopped) as error:
      # Libraries turn an interrupt of their imports into other errors.
      ended = signals.Stopped(stop.signum) if stop.has_raised else error
      return _report(ended, show)


def _report(error, show) -> int:
  """Prints an error; returns the exit code. Raises what a user cannot fix."""
  if isinstance(error, signals.Stopped):
    command = signals.typed_command()
    print(f"{error}; the same command goes on: {command}", file=sys.stderr)
    return error.code
  if isinstance(error, KeyboardInterrupt):
    print("interrupted", file=sys.stderr)
    return ExitCode.INTERRUPTED
  if isinstance(error, BrokenPipeError):
    # Python flushes stdout once more when it ends, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.PIPE_CLOSED
  if isinstance(error, (ValueError, TypeError, OSError, TrainingDiverged)):
    if show:
      traceback.print_exception(error)
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    diverged = isinstance(error, TrainingDiverged)
    return ExitCode.DIVERGED if diverged else ExitCode.MISTAKE
  missing = isinstance(error, ModuleNotFoundError) and error.name or ""
  if (package := missing.partition(".")[0]) in NOT_LIGHT:
    print(
      f"error: this command needs {package}, which requirements/light.txt"
      " leaves out; install all requirements with pip install -e . in a clone",
      file=sys.stderr,
    )
    return ExitCode.MISTAKE
  raise error


def _format_warning(message, *args, **kwargs) -> str:
  """A warning as one line, without the line of code that it comes from."""
  return "warning: " + " ".join(str(message).split()) + "\n"
