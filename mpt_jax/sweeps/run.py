"""Runs all runs of a table and prints it beside the paper's: `mpt sweep`.

A table (gin/tables/) says which runs it needs and which of their slots make
its rows. Each run is an ordinary experiment, trained in a folder of its own
that resumes as any run does; what is done is not done again.
"""

import functools
import json

import rich.console

import mpt_jax.io.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import open_backbone
from mpt_jax.io import files
from mpt_jax.sweeps import report, results
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
) -> list:
  """Trains and evaluates what is missing of a table, and writes the table.

  Args:
    table: the table.
    model_dir: folder of the runs, which several tables may share. It gets
      NAME.md and NAME.json of the table.
    bindings: gin lines for all runs.
    paths: folders in which gin files are looked for.
    only: patterns of names of runs; the others are left as they are.
    console: where progress is told.

  Returns:
    The table's lines, see `sweep_results.table_lines`.

  Raises:
    FileNotFoundError: a T5 is not there.
    ValueError: settings that do not hold or are not those of a folder's run.
    TrainingDiverged: a run's loss became NaN or infinite.
  """
  console = console or rich.console.Console(stderr=True)
  say = functools.partial(
    console.print, highlight=False, markup=False, soft_wrap=True
  )
  planned = plan(table, model_dir, bindings, paths)
  for name in table.missing_variants:
    say(table.left_out(name))
  todo = choose_runs(planned, only)
  # Before hours of training, not between them.
  for run in todo:
    results.check_run(table, run, planned)
    settings = {**run.experiment.to_json(), "launcher": "mpt_jax"}
    run_folder.check_model_dir(run.folder, settings)
  needed = [run.experiment.backbone for run in todo if not run.finished]
  for name in dict.fromkeys(needed):
    if name is not None:
      open_backbone(name)
  for number, run in enumerate(todo, 1):
    where = f"run {number} of {len(todo)}, {run.name}"
    if run.finished:
      say(f"{where}: finished before")
    else:
      say(f"{where}: {run.folder}")
      loop.train(
        **run.arguments, description=run.name, config_text=run.config_text
      )
      finished = {"total_steps": run.experiment.total_steps}
      files.write_text(run.folder / FINISHED, json.dumps(finished) + "\n")
    if results.evaluate_run(table, run, console):
      lines = results.table_lines(table, planned)
      report.write_files(table, lines, model_dir)
  lines = results.table_lines(table, planned)
  report.write_files(table, lines, model_dir)
  return lines
