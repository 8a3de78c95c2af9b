"""Finds, before the first run of a table, what would stop a later one."""

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.data import shots, slot_tasks, text_tasks
from mpt_jax.io.checks import near_misses
from mpt_jax.prompts.kind import start_names
from mpt_jax.sweeps import contest, results


def check_plan(table, runs, planned):
  """Checks runs that a table is going to do; reads no data and no T5.

  Args:
    table: the table.
    runs: those of `planned` to check.
    planned: all runs.

  Raises:
    TypeError: a task cannot give a few of its examples.
    ValueError: a task is unknown, lacks a split, does not fit the batch, or
      starts from a prompt that no earlier run trains; or the table or its
      contest cannot use the run. The message names the run.
  """
  if table.contest is not None:
    for view in table.contest.all_views:
      for task in view.targets:
        text_tasks.get_task(task)
    contest.check_contest(table.contest, planned)
  for run in runs:
    if table.contest is None:
      results.check_run(table, run, planned)
    try:
      if table.contest is not None:
        contest.check_run(table.contest, run, planned)
      _check_tasks(table, run)
      _check_batch(run.experiment)
      _check_starts(run.experiment, planned)
    except (ValueError, TypeError) as error:
      raise type(error)(f"run {run.name!r}: {error}") from error


def _check_tasks(table, run):
  """Checks that the tasks are known and have the splits that are used."""
  experiment = run.experiment
  if table.contest is not None:
    of_table, split = contest.tasks_of(table.contest, run), table.contest.split
  else:
    rows = [results.row_slots(table, row, run) for row in table.rows]
    of_table, split = {slot.task for row in rows for slot in row}, table.split
  for slot in experiment.slots:
    task = text_tasks.get_task(slot.task)
    slot_tasks.check_features(task)
    shots.few_shot(task, slot.shots, slot.seed)
    needed = ["train"]
    if experiment.eval is not None:
      needed.append(experiment.eval.split)
    if slot.task in of_table:
      needed.append(split)
    for split in needed:
      if split not in task.splits:
        raise ValueError(
          f"the task {slot.task!r} has no split {split!r}; it has"
          f" {', '.join(task.splits)}"
        )


def _check_batch(experiment):
  """Checks that slots which share a batch equally divide it."""
  slots, mix = experiment.slots, experiment.mix
  equal = len({slot.rate for slot in slots}) == 1
  if mix.mixing == "all" and equal and mix.batch_size % len(slots):
    raise ValueError(
      f"BATCH_SIZE={mix.batch_size} is not a multiple of the {len(slots)} slots"
      " that share it equally"
    )


def _check_starts(experiment, planned):
  """Checks what an experiment takes from runs of the same table."""
  by_folder = {str(run.folder): run for run in planned}
  for slot in experiment.slots:
    source = by_folder.get(str(slot.source))
    if source is None:
      continue
    theirs = source.experiment
    if theirs.prompt_length != experiment.prompt_length:
      raise ValueError(
        f"PROMPT_LENGTH={experiment.prompt_length}, but slot {slot.name!r}"
        f" starts from {source.name!r} with PROMPT_LENGTH="
        f"{theirs.prompt_length}"
      )
    names = [s.name for s in theirs.slots] + [s.task for s in theirs.slots]
    for name in start_names(slot.init):
      if name not in names:
        names = list(dict.fromkeys(names))
        raise ValueError(
          f"slot {slot.name!r} starts from {slot.init!r}, but {name!r} is none"
          f" of the tasks of {source.name!r}: {', '.join(names)}."
          + near_misses(name, names)
        )
  teachers = by_folder.get(str(experiment.teachers))
  if teachers is not None:
    known = {slot.task for slot in teachers.experiment.slots}
    for slot in experiment.slots:
      if slot.task not in known:
        raise ValueError(
          f"the task {slot.task!r} has no teacher in {teachers.name!r}, which"
          f" trains {', '.join(sorted(known))}"
        )


def find_data(runs, fetch: bool) -> dict[str, str]:
  """Looks for the data of all tasks of some runs.

  Args:
    runs: planned runs.
    fetch: fetch what TFDS has to fetch.

  Returns:
    {task: what is missing, and how to get it}; with fetch, an empty dict.

  Raises:
    OSError: with fetch, data is neither here nor can it be fetched.
  """
  names = dict.fromkeys(s.task for run in runs for s in run.experiment.slots)
  found = {}
  for name in names:
    source = text_tasks.get_task(name).source
    if isinstance(source, text_tasks.ExamplesSource):
      found[name] = source.find(fetch)
  return {name: text for name, text in found.items() if text}
