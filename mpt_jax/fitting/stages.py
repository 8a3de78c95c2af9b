"""The three stages of the method over rows: teach, distill, adapt."""

import pathlib

from mpt_jax.data.in_memory import task_files
from mpt_jax.fitting.config import FitConfig
from mpt_jax.fitting.problem import restore_problem
from mpt_jax.fitting.run import Fit, FitRun, fit
from mpt_jax.fitting.showing import Printer
from mpt_jax.io import paths
from mpt_jax.prompts import run_settings


def teach(*data, out, **settings) -> FitRun:
  """Trains a plain prompt for each source task, all in one bank.

  Args:
    *data: the rows of each source task, see `fit`.
    out: the folder of the run.
    **settings: see `fit`.

  Raises:
    ValueError: see `fit`; or the tasks share a prompt.

  Example::

    teach("mails.csv", "headlines.csv", out="runs/teach")
    distill("runs/teach", out="runs/distill")
    adapt("reviews.csv", start="runs/distill", out="runs/adapt")
  """
  if settings.get("share"):
    raise ValueError("share=True: each source task has a teacher of its own")
  return fit(*data, out=out, **settings)


def distill(
  teachers, *, out, printer: Printer | None = None, **settings
) -> FitRun:
  """Distills teachers into one shared prompt and two factors for each task.

  Args:
    teachers: the run of `teach`; its rows and its T5 are used again.
    out: the folder of the run.
    printer: where to print; by default standard error.
    **settings: fields of `FitConfig`, such as steps=500.

  Raises:
    FileNotFoundError: there is no such run.
    ValueError: the run has no rows, or the settings do not fit it.
  """
  teachers = paths.expand(teachers)
  tasks = task_files.load_tasks(teachers)
  if tasks is None:
    raise ValueError(
      f"{teachers} is no run of mpt.teach or mpt fit: it has no"
      f" {task_files.FOLDER}/{task_files.INDEX}"
    )
  own = {
    "backbone": run_settings.backbone(run_settings.read(teachers)),
    "share": True,
    "teachers": teachers,
  }
  config = FitConfig(**{**own, **settings})
  job = Fit(config, pathlib.Path(paths.expand(out)), printer or Printer())
  job.problems = [
    restore_problem(task, f"those of {teachers}") for task in tasks.values()
  ]
  return job.run()


def adapt(*data, start, out, **settings) -> FitRun:
  """Trains prompts for new tasks that start from a distilled P*.

  Args:
    *data: the rows of each target task, see `fit`.
    start: the run of `distill`, or another prompt file or run.
    out: the folder of the run.
    **settings: see `fit`. `share=True` lets several targets share one P*.

  Raises:
    ValueError: see `fit`.
  """
  return fit(*data, out=out, start=start, **settings)
