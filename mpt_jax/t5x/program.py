"""What t5x's programs do as the native launcher does: errors and exit codes.

`gin/launchers/t5x.gin` imports this module, and the import installs what the
process needs to its end: the handlers of signals, the check of the settings'
names, which gin calls after it has parsed everything, and the report of an
error, which Python calls for an exception that nobody catches. With absl's
option --verbosity=1, the report has the traceback too.
"""

import atexit
import contextlib
import os
import sys
import tokenize

from absl import flags, logging

import gin
from mpt_jax.io.errors import TrainingDiverged, run_and_report
from mpt_jax.launchers import gin_names, launcher_files
from mpt_jax.process import signals
from mpt_jax.t5x import start, sums, trainer
from mpt_jax.training import agreement

# Errors of what a user gave; Python's own are those of gin's parser.
USERS = (ValueError, TypeError, OSError, SyntaxError, tokenize.TokenError)


def check_names(config):
  """Refuses misspelt and unused settings; a hook of `gin.finalize`."""
  del config
  # t5x.eval and t5x.infer take the settings of a run that t5x.train trained.
  describes = launcher_files.launcher_file().stem != "t5x.train"
  gin_names.check_used(flags.FLAGS["gin_bindings"].value, describes=describes)


def report(kind, error, trace):
  """Prints an error that a user can fix as one line, and ends the program.

  Python calls it for an exception that nobody catches.

  Raises:
    SystemExit: always, with the exit code of the native launcher.
  """
  atexit.unregister(say_stopped)
  if _waits_for_others():
    # The others may have ended, and this process's error is said in any case.
    with contextlib.suppress(RuntimeError):
      agreement.gather(gin_names.without_call(error)[0] or "it failed")
  if isinstance(error, trainer.Preempted):
    sums.write(error.model_dir)
    print(error.saved, file=sys.stderr)

  def fail():
    if isinstance(error, trainer.Preempted):
      raise signals.Stopped(error.signum)
    if isinstance(error, TrainingDiverged):
      raise TrainingDiverged(gin_names.without_call(error)[0])
    if isinstance(error, USERS):
      raise gin_names.explained(error)
    raise error

  try:
    code = run_and_report(fail)
  except BaseException:
    code = 1  # A programming mistake.
  if code == 1 or logging.level_debug():
    sys.__excepthook__(kind, error, trace)
  raise SystemExit(code)


def _waits_for_others():
  """Whether other processes wait to hear whether this one can start."""
  training = launcher_files.launcher_file().stem == "t5x.train"
  return training and not (agreement.is_alone() or start.START.has_met)


def say_stopped():
  """Says how to go on after a signal that came before there was a step."""
  if STOP.has_raised:
    stopped = signals.Stopped(STOP.signum)
    print(
      f"{stopped}; the same command goes on: {signals.typed_command()}",
      file=sys.stderr,
    )


# The handlers stay until the process ends.
HANDLERS = contextlib.ExitStack()
STOP = HANDLERS.enter_context(signals.of_command())
HANDLERS.enter_context(agreement.stopping())
atexit.register(start.START.release)
atexit.register(say_stopped)
for file in flags.FLAGS["gin_file"].value or ():
  # A gin file may include a file that lies beside it.
  gin.add_config_file_search_path(os.path.dirname(file))
gin.config.register_finalize_hook(check_names)
sys.excepthook = report
