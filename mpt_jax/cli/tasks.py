"""The command `mpt tasks`.

One function declares its arguments. The other one runs it, and only that one
imports what the command needs.
"""

from mpt_jax.cli.arguments import add_modules, import_modules
from mpt_jax.io.errors import ExitCode


def add_tasks(command):
  sub = command(
    "tasks",
    _tasks,
    "Find tasks by a word; print their data, its licence, and whether it is"
    " here.",
  )
  sub.add_argument(
    "words",
    nargs="*",
    metavar="WORD",
    help="a task's name, or words of its name, its input, its labels or its"
    " source, such as 'sentiment' (default: all tasks)",
  )
  sub.add_argument(
    "--check",
    action="store_true",
    help="read the data that is here, and print counts beside the stated ones",
  )
  add_modules(sub)


def _tasks(arguments):
  import_modules(arguments.module)
  import rich.console

  import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before task_report.
  from mpt_jax.cli.printing import task_report

  console = rich.console.Console()
  words, check = arguments.words, arguments.check
  if len(words) == 1 and task_report.is_task(words[0]):
    task_report.describe_task(words[0], console, check)
  elif words:
    if check:
      raise ValueError("--check takes the name of one task, or none")
    task_report.list_tasks(console, words)
  else:
    task_report.list_tasks(console)
    console.print()
    if not task_report.list_datasets(console, check):
      return ExitCode.MISTAKE
  return ExitCode.DONE
