"""Tasks over rows in memory as files, so that a run can be evaluated later.

A folder `data` in the run's folder holds tasks.json and, for each task and
split, NAME.SPLIT.jsonl with the fields that the task reads.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable

from mpt_jax.data import rows, templates
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.io import digests, files

FOLDER, INDEX = "data", "tasks.json"


def file_name(task: str, split: str) -> str:
  """Returns the name of the file of a task's split."""
  return f"{task}.{split}.jsonl"


def save_tasks(run, tasks: Iterable[RowTask]):
  """Writes tasks into the folder `data` of a run's folder."""
  folder = pathlib.Path(run) / FOLDER
  index = {}
  for task in tasks:
    fields = [*dict.fromkeys(templates.fields(task.template)), task.target]
    for split, own in task.rows.items():
      lines = (
        json.dumps({k: row[k] for k in fields}, ensure_ascii=False)
        for row in own
      )
      text = "".join(f"{line}\n" for line in lines)
      files.write_text(folder / file_name(task.name, split), text)
    index[task.name] = {
      **{
        field.name: getattr(task, field.name)
        for field in dataclasses.fields(task)
        if field.name not in ("rows", "vocabulary_path")
      },
      "splits": list(task.splits),
    }
  text = json.dumps(digests.seal(index), indent=2) + "\n"
  files.write_text(folder / INDEX, text)


def has_tasks(run) -> bool:
  """Whether a path is the folder of a run over rows in memory."""
  return (pathlib.Path(run) / FOLDER / INDEX).is_file()


def load_tasks(run) -> dict[str, RowTask] | None:
  """Reads the tasks of a run's folder; None if it has none.

  Raises:
    FileNotFoundError: a file of rows is missing.
    ValueError: a file is damaged.
  """
  folder = pathlib.Path(run) / FOLDER
  if not has_tasks(run):
    return None
  index = digests.read_sealed(folder / INDEX, "the tasks of a run")
  made = {}
  for name, fields in index.items():
    if name == digests.FIELD:
      continue
    settings = {
      k: tuple(v) if isinstance(v, list) else v
      for k, v in fields.items()
      if k != "splits"
    }
    own = {
      split: [row for _, row in rows.read_file(folder / file_name(name, split))]
      for split in fields["splits"]
    }
    made[name] = RowTask(**settings, rows=own)
  return made
