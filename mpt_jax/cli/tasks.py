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
    "Print which data the tasks read, where it comes from, and whether it is"
    " here.",
  )
  sub.add_argument(
    "name", nargs="?", metavar="NAME", help="a task (default: all datasets)"
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

  from mpt_jax.cli import task_report

  console = rich.console.Console()
  if arguments.name is not None:
    task_report.describe_task(arguments.name, console, arguments.check)
  elif not task_report.list_datasets(console, arguments.check):
    return ExitCode.MISTAKE
  return ExitCode.DONE
