"""Plans a table: each of its runs with all settings, before anything runs."""

import dataclasses
import fnmatch
import functools
import pathlib
import re
import shlex
from collections.abc import Mapping
from typing import Any

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.io import digests
from mpt_jax.io import paths as folders
from mpt_jax.io.paths import check_local
from mpt_jax.launchers import gin_config
from mpt_jax.sweeps.tables import Run, Table
from mpt_jax.training.experiment import Experiment

_OF_A_TABLE = re.compile(r"(^|[./])(Table|Row|Run)\.\w+$")
FINISHED = "finished.json"
# The function that `gin/tables/base.gin` configures.
SWEEP = "mpt_jax.sweeps.run.sweep"


@dataclasses.dataclass(frozen=True)
class PlannedRun:
  """A run with all its settings.

  Attributes:
    run: its entry in the table.
    variant: the table's variant that it belongs to.
    name: its folder, relative to MODEL_DIR.
    folder: its folder.
    bindings: gin lines that override the run's gin file.
    uses: names of the planned runs that it needs.
    arguments: the arguments of `loop.train`.
    config_text: its configuration, for config.gin.
  """

  run: Run
  variant: str
  name: str
  folder: pathlib.Path
  bindings: tuple[str, ...]
  uses: tuple[str, ...]
  arguments: Mapping[str, Any]
  config_text: str

  @property
  def experiment(self) -> Experiment:
    return self.arguments["experiment"]

  @property
  def finished(self) -> bool:
    return (self.folder / FINISHED).is_file()

  @property
  def diverged(self) -> dict:
    """Slots of a finished run that diverged: {name: {"step", "term"}}.

    Raises:
      ValueError: the mark of the run is damaged.
    """
    if not self.finished:
      return {}
    path = self.folder / FINISHED
    found = digests.read_sealed(path, "the mark of a finished run")
    found = found.get("diverged", {})
    faults = found.values() if isinstance(found, dict) else [None]
    if not all(
      isinstance(x, dict) and {"step", "term"} <= set(x) for x in faults
    ):
      raise ValueError(
        f"{path}: diverged must be like"
        f' {{"SLOT": {{"step": 3, "term": "..."}}}}, got {found!r:.100}'
      )
    return found

  @property
  def status(self) -> str:
    if self.finished:
      return "finished"
    return "started" if self.folder.exists() else "not started"

  def command(self, files=(), paths=()) -> str:
    """The shell command that trains it alone.

    Args:
      files: the table's gin files. Those of the user are part of the command,
        because they import the modules that register the user's tasks.
      paths: folders in which gin files are looked up.
    """
    gin_files = [*filter(_is_own, files), self.run.gin_file]
    known = gin_config.known_macros(gin_files, paths)
    bound = dict(line.split(" = ", 1) for line in self.bindings)
    words = ["python", "-m", "mpt_jax.train"]
    words += [f"--gin_search_paths={','.join(paths)}"] if paths else []
    words += [f"--gin_file={file}" for file in gin_files]
    words += [
      f"--gin.{name}={value}"
      for name, value in bound.items()
      # Leave out the macros of other runs and the arguments of the table.
      if (name in known or not name.isidentifier())
      and not _OF_A_TABLE.search(name)
    ]
    return shlex.join(words)


def _is_own(file) -> bool:
  """Whether a gin file is the user's and not part of this package."""
  ours = folders.GIN.resolve()
  path = pathlib.Path(file).resolve()
  return path.is_file() and not path.is_relative_to(ours)


def _lines(values: Mapping[str, Any]) -> list[str]:
  """Gin lines. Strings are in double quotes if possible, for the shell."""
  lines = []
  for name, value in values.items():
    text = repr(value)
    lines.append(
      f"{name} = " + (text if '"' in text else text.replace("'", '"'))
    )
  return lines


def plan(
  table: Table, model_dir, bindings=(), paths=(), missing=False
) -> list[PlannedRun]:
  """All runs of a table with their settings; no T5 is loaded.

  Args:
    table: the table.
    model_dir: parent of the runs' folders.
    bindings: gin lines for all runs, from the command line.
    paths: folders in which gin files are looked up.
    missing: include variants that lack a value, with the name of the variant's
      preset in its place.

  Raises:
    ValueError: settings are wrong, a run uses one that does not come before
      it, or model_dir is on gs://.
  """
  check_local(model_dir, "a table's runs")
  model_dir = pathlib.Path(folders.expand(model_dir))
  bindings = [b for b in bindings if b.partition(" = ")[0] != "MODEL_DIR"]
  planned = []
  for variant, values in table.variants.items():
    if variant in table.missing_variants:
      if not missing:
        continue
      preset = table.preset(variant)
      values = {k: preset if v is None else v for k, v in values.items()}
    prefix = f"{variant}/" if values else ""
    before = []
    for run in table.runs:
      used = {k: _used(run, v, before, prefix) for k, v in run.uses.items()}
      lines = (
        *_lines(run.defaults),
        *bindings,
        *_lines({**run.bindings, **values}),
        *_lines({k: _folders(model_dir, v) for k, v in used.items()}),
      )
      load = functools.partial(
        _load, run, variant, model_dir, used, paths=paths
      )
      made = load(prefix + run.name, lines)
      before.append(run.name)
      if not run.per_slot:
        planned.append(made)
        continue
      for slot in made.experiment.slots:
        alone = {
          "MIXTURE_OR_TASK_NAME": slot.task,
          "SHOTS": (slot.shots,),
          "SEEDS": (slot.seed,),
        }
        planned.append(
          load(f"{made.name}/{slot.name}", (*lines, *_lines(alone)))
        )
  return planned


def _used(run, name, before, prefix):
  """The names of the planned runs that a value of `Run.uses` stands for."""
  if isinstance(name, Mapping):
    return {k: _used(run, v, before, prefix) for k, v in name.items()}
  if name not in before:
    raise ValueError(
      f"run {run.name!r} uses {name!r}, but no run before it has that name"
    )
  return prefix + name


def _folders(model_dir, names):
  if isinstance(names, Mapping):
    return {k: _folders(model_dir, v) for k, v in names.items()}
  return str(model_dir / names)


def _load(run, variant, model_dir, used, name, lines, paths):
  """The planned run with these gin lines."""
  folder = model_dir / name
  lines = (*lines, *_lines({"MODEL_DIR": str(folder)}))
  try:
    arguments, text = gin_config.load_config([run.gin_file], lines, list(paths))
  except ValueError as error:
    raise ValueError(f"run {name!r}: {error}") from error
  uses = []
  for names in used.values():
    uses += names.values() if isinstance(names, Mapping) else [names]
  return PlannedRun(
    run, variant, name, folder, lines, tuple(uses), arguments, text
  )


def find_runs(planned, only) -> list[PlannedRun]:
  """The runs that match some patterns.

  Args:
    planned: all runs.
    only: patterns of names; if there are none, all runs match.

  Raises:
    ValueError: a pattern matches no run.
  """
  names = [run.name for run in planned]
  for pattern in only:
    if not fnmatch.filter(names, pattern):
      raise ValueError(
        f"--only {pattern}: no run has such a name; there are"
        f" {', '.join(names)}"
      )
  return [
    run
    for run in planned
    if not only or any(fnmatch.fnmatch(run.name, p) for p in only)
  ]


def choose_runs(planned, only) -> list[PlannedRun]:
  """The runs to do now: those of `find_runs`.

  Raises:
    ValueError: a pattern matches no run, or a run needs an unfinished one.
  """
  chosen = find_runs(planned, only)
  by_name = {run.name: run for run in planned}
  for run in chosen:
    for name in run.uses:
      if by_name[name] not in chosen and not by_name[name].finished:
        raise ValueError(
          f"run {run.name!r} needs {name!r}, which is not finished; add"
          f" --only {name}"
        )
  return chosen


def load_table(files, bindings, paths=()) -> tuple[Table, str]:
  """Reads the gin files of a table.

  Returns:
    (the table, its MODEL_DIR).

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: a file has an error, binds a macro of the runs, or the files
      describe no table.
  """
  # Macros that these files do not know are for the runs.
  arguments, _ = gin_config.load_config(files, bindings, paths, SWEEP, True)
  if "table" not in arguments:
    raise ValueError(
      f"{', '.join(files)} describes no table (no sweep.sweep.table); tables"
      " are in gin/tables/, single experiments are run with mpt train"
    )
  given = {binding.partition("=")[0].strip() for binding in bindings}
  _check_unused(gin_config.unused_macros() - given, arguments["table"], paths)
  return arguments["table"], arguments["model_dir"]


def _check_unused(names, table, paths):
  """Refuses macros of runs in a table's files, where the runs do not see them.

  Args:
    names: macros that the table's files bind and do not use.
    table: the table.
    paths: folders in which gin files are looked up.
  """
  if not names:
    return
  for file in dict.fromkeys(run.gin_file for run in table.runs):
    for name in sorted(names & gin_config.known_macros([file], paths)):
      raise ValueError(
        f"{name} in the table's gin files is a setting of {file}, and the runs"
        f" do not see it there; --gin.{name}=VALUE sets it for all runs, and"
        " gin/tables/base.gin has the macros of a table, such as TEACH_STEPS"
      )
