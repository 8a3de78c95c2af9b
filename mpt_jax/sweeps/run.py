"""Trains and evaluates the runs of a table: `mpt sweep`.

A table (gin/tables/) says which runs it needs and which of their slots make
its rows. Each run is an ordinary experiment in a folder of its own, and it
resumes as any run does. Finished runs and evaluations are not repeated.
"""

import functools
import json
import pathlib

import rich.console

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import open_backbone
from mpt_jax.io import digests, files
from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.io.paths import absolute
from mpt_jax.sweeps import (
  answers,
  checks,
  report,
  results,
  standings,
  tuning,
)
from mpt_jax.sweeps.plan import FINISHED, choose_runs, plan
from mpt_jax.sweeps.tables import Table
from mpt_jax.training import loop, run_folder


def sweep(
  table: Table,
  model_dir,
  bindings=(),
  paths=(),
  only=(),
  console: rich.console.Console | None = None,
) -> tuple[list, dict[str, str], list[str]]:
  """Trains and evaluates the missing runs of a table, and writes the table.

  Args:
    table: the table.
    model_dir: folder of the runs, which several tables may share. The table is
      written there as NAME.md and NAME.json, and a contest into NAME/, see
      `standings`.
    bindings: gin lines for all runs.
    paths: folders in which gin files are looked up.
    only: patterns of the names of the runs to do; the others are skipped.
    console: where progress is printed; stderr by default.

  A run that diverges, or that needs such a run, is left out; the others go on.

  Returns:
    The table's lines, see `results.table_lines`, {name: reason} of the runs
    that were left out, and the names of the runs with slots that diverged.

  Raises:
    FileNotFoundError: a T5 does not exist.
    ValueError: settings are wrong, or differ from those of the run in a folder.
  """
  console = console or rich.console.Console(stderr=True)
  say = functools.partial(
    console.print, highlight=False, markup=False, soft_wrap=True
  )
  model_dir = absolute(model_dir)
  planned = plan(table, model_dir, bindings, paths)
  for name in table.missing_variants:
    say(table.left_out(name))
  todo = choose_runs(planned, only)
  # Find mistakes before hours of training, not between them.
  checks.check_plan(table, todo, planned)
  for run in todo:
    settings = {**run.experiment.to_json(), "launcher": "mpt_jax"}
    run_folder.check_model_dir(run.folder, settings)
  needed = [run.experiment.backbone for run in todo if not run.finished]
  for name in dict.fromkeys(needed):
    if name is not None:
      open_backbone(name)
  checks.find_data([run for run in todo if not run.finished], fetch=True)
  left_out = {}
  for number, run in enumerate(todo, 1):
    where = f"run {number} of {len(todo)}, {run.name}"
    missing = [name for name in run.uses if name in left_out]
    if run.finished:
      say(f"{where}: finished before")
    elif missing:
      left_out[run.name] = f"it needs {missing[0]}, which diverged"
    else:
      say(f"{where}: {run.folder}")
      try:
        _train(run)
      except TrainingDiverged as error:
        left_out[run.name] = str(error)
    if run.name in left_out:
      say(f"{where}: left out: {left_out[run.name]}")
    else:
      _evaluate(table, run, planned, model_dir, console)
  lines = _write(table, planned, model_dir, say)
  for name, reason in left_out.items():
    say(f"{name} was left out: {reason}")
  for run in todo:
    for slot, fault in run.diverged.items():
      say(
        f"{run.name}: {slot} diverged at step {fault['step']}; the table marks"
        " its numbers"
      )
  return lines, left_out, [run.name for run in todo if run.diverged]


def _evaluate(table, run, planned, model_dir, console):
  """Evaluates what the table needs of a finished run, and writes the table."""
  if table.contest is not None:
    folder = pathlib.Path(model_dir) / table.name
    finished = [one for one in planned if one.finished]
    answers.answer_baselines(table.contest, finished, folder, console)
    answers.answer_run(table.contest, run, folder, console)
    standings.write(table.contest, table.name, planned, model_dir)
  elif results.evaluate_run(table, run, console):
    lines = results.table_lines(table, planned)
    report.write_files(table, lines, model_dir)


def _write(table, planned, model_dir, say) -> list:
  """Writes the table, or the standings of a contest; returns its lines."""
  if table.contest is None:
    lines = results.table_lines(table, planned)
    report.write_files(table, lines, model_dir)
    return lines
  found = standings.write(table.contest, table.name, planned, model_dir)
  folder = pathlib.Path(model_dir) / table.name
  standings.write_about(table, planned, folder)
  if table.contest.chooses and all(run.finished for run in planned):
    path = tuning.write(table.contest, found, folder)
    say(f"{path} has the settings that were chosen")
  say(f"{folder} has all answers and scores")
  return []


def _train(run):
  """Trains a run and marks it as finished.

  Raises:
    TrainingDiverged: no slot is left to train.
  """
  result = loop.train(
    **run.arguments, description=run.name, config_text=run.config_text
  )
  finished = {"total_steps": run.experiment.total_steps}
  if result.diverged:
    finished["diverged"] = {f.slot: f.fields for f in result.diverged}
  files.write_text(
    run.folder / FINISHED, json.dumps(digests.seal(finished)) + "\n"
  )
