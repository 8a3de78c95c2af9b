"""From folders to what a page shows.

A page is made of these files of a folder. Each is optional:

- `experiment.json`, `metrics.jsonl`, `config.gin`, `prompts/`: a run of
  training, see `mpt_jax.training.loop.train`. Folders below, such as the stages
  of a quickstart and the runs of a sweep, count too.
- `results.json`: the rows of a quickstart; or, in the folder of a run of
  training, those of `mpt eval --out`.
- `NAME.json` beside `NAME.md`: a table of `mpt sweep`.
- `fit.json`, `scores.json`: those of `mpt fit`.
- `outcomes.json`: the answers of methods to test examples, see
  `mpt_jax.judgement.outcomes.Outcomes`. A method whose name goes on after that
  of another, such as "mpt_no_distill" or "mpt-rank_2", is a variant of it, and
  the page shows the difference as an ablation.
- `examples.jsonl`: the texts of these test examples, see
  `mpt_jax.judgement.texts`. They may go on after these.
- `views/NAME/outcomes.json`: answers of the same methods in another way, such
  as after fewer steps.
- `predictions.jsonl`: lines of `mpt predict --out`, of rows that have the right
  answer in a field `target`, `label` or `answer`.
- `about.json`: what has no other place. {"title": heading of the page, "notes":
  [paragraphs at its top], "methods": {method: {"name": for people,
  "parameters": trained parameters of a task}}, "data": {task: where it is from
  and its licence}, "starts": [what `mpt_jax.io.provenance.describe` gives, at
  each start of the run]}; all other fields are shown as they are.

Files in JSON may carry a digest, see `mpt_jax.io.digests`.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from etils import epath

from mpt_jax.io import paths, provenance
from mpt_jax.io.errors import reading
from mpt_jax.judgement.outcomes import FILE as OUTCOMES
from mpt_jax.prompts import run_settings
from mpt_jax.report.material import Material, Training
from mpt_jax.report.readers import (
  comparison,
  fits,
  predictions,
  quickstarts,
  sweeps,
  training,
)

# Folders in a run's folder that hold no runs.
_NO_RUNS = ("checkpoints", "prompts", "backbone", "data", "damaged_checkpoints")
# Runs of a sweep are at most so many folders below it.
_DEPTH = 4
# Runs below a folder whose curves are shown.
MOST_RUNS = 12
_NO_FACTS = ("title", "notes", "methods", "data", "starts")


def read(
  path,
  *,
  shots: int | None = None,
  num_samples: int = 2000,
  licences: Callable[[str], str | None] | None = None,
  name: str | None = None,
) -> Material:
  """Reads everything that a page shows of a run.

  Args:
    path: the folder of a run, or an outcomes.json.
    shots: see `Results.shown_shots`.
    num_samples: samples of the bootstrap.
    licences: from a task's name to where its data is from and its licence.
    name: the run's name on the page, that of its folder by default.

  Raises:
    FileNotFoundError: there is nothing at the path.
    ValueError: the folder is no run, or a file is damaged.
  """
  folder = epath.Path(paths.absolute(path))
  if not folder.exists():
    raise FileNotFoundError(f"there is no run at {path}")
  if not folder.is_dir():
    if folder.name != OUTCOMES:
      raise ValueError(f"{path} is a file; give the folder of a run")
    folder = folder.parent
  name = name or folder.name
  about = provenance.read(folder)
  with reading(folder / provenance.FILE, "what is said about a run"):
    _check_about(about)
  parts = list(_parts(folder, name, about, shots, num_samples))
  if not parts:
    raise ValueError(
      f"{path} is no run: it has none of {run_settings.FILE}, {OUTCOMES},"
      f" {fits.SCORES}, a quickstart's {training.RESULTS}, a sweep's table, or"
      " runs in folders below it"
    )
  merged = _merge(parts)
  return _with_about(merged, about, _tasks(merged, folder), licences)


def _check_about(about: Mapping):
  for name in ("methods", "data"):
    if not isinstance(about.get(name, {}), dict):
      raise ValueError(f"{name} must be an object, got {about[name]!r:.40}")
  if not all(isinstance(x, dict) for x in about.get("methods", {}).values()):
    raise ValueError("methods must have an object for each method")
  if not isinstance(about.get("notes", []), list):
    raise ValueError(f"notes must be a list, got {about['notes']!r:.40}")


def _parts(folder, name, about, shots, num_samples):
  """Yields the `Material` of each kind of file in a folder."""
  is_alone = True
  if comparison.has_answers(folder):
    is_alone = False
    yield comparison.read_comparison(folder, name, about, shots, num_samples)
  fields = quickstarts.read_results(folder)
  if fields is not None:
    is_alone = False
    yield quickstarts.read_quickstart(folder, fields, name)
  tables = sweeps.find_tables(folder)
  if tables:
    is_alone = False
    yield sweeps.read_sweep(tables, name)
  if fits.is_fit(folder):
    is_alone = False
    yield fits.read_fit(folder, name)
  if (folder / run_settings.FILE).exists():
    found = training.read_run(folder, name)
    # Scores of validation rows step back behind those of test rows.
    yield found if is_alone else dataclasses.replace(found, results=())
  elif below := find_runs(folder):
    yield _runs_below(folder, below, name)
  answers, confusions, notes = predictions.read_predictions(folder)
  if answers or notes:
    yield Material(
      name=name,
      kind="predictions",
      title=f"Predictions of {name}",
      notes=tuple(notes),
      answers=tuple(answers),
      confusions=tuple(confusions),
    )


def find_runs(folder, depth: int = _DEPTH) -> list:
  """The folders of runs below a folder, in their order."""
  found = []
  for path in sorted(epath.Path(folder).iterdir(), key=lambda p: p.name):
    if path.name in _NO_RUNS or path.name.startswith("."):
      continue
    if not path.is_dir():
      continue
    if (path / run_settings.FILE).exists():
      found.append(path)
    elif depth > 1:
      found += find_runs(path, depth - 1)
  # A quickstart's stages come in the order in which they were made.
  order = {"teach": 0, "distill": 1, "adapt": 2}
  return sorted(found, key=lambda p: order.get(p.name, 3))


def _runs_below(folder, below, name) -> Material:
  trainings, notes = [], []
  for path in below[:MOST_RUNS]:
    short = os.path.relpath(path, folder)
    made, own = training.read_training(path, short)
    trainings.append(made)
    notes += own
  if len(below) > MOST_RUNS:
    notes.append(
      f"Curves of the first {MOST_RUNS} of {len(below)} runs are shown; mpt"
      f" report FOLDER shows any other."
    )
  banks = {path.name: path for path in below}
  prompts = training.read_prompts(banks.get("distill", below[-1]))
  return Material(
    name=name,
    kind="runs",
    title=f"Runs in {name}",
    notes=tuple(notes),
    trainings=tuple(trainings),
    prompts=prompts,
  )


def _merge(parts: Sequence[Material]) -> Material:
  """Puts what several kinds of files say into one, the first one's name."""
  first = parts[0]
  names = ("notes", "results", "views", "trainings", "answers")
  several = {
    name: tuple(x for one in parts for x in getattr(one, name))
    for name in (*names, "confusions", "data", "facts", "commands")
  }
  found = [one.prompts for one in parts if one.prompts is not None]
  return dataclasses.replace(
    first,
    prompts=found[0] if found else None,
    config="".join(one.config for one in parts),
    **several,
  )


def _tasks(material: Material, folder) -> list[str]:
  """The names of the tasks, for their licences."""
  found = []
  if (folder / OUTCOMES).exists():
    found += [t for results in material.results for t in results.targets]
  for path in [folder, *find_runs(folder)]:
    settings = run_settings.read(path)
    # Rows in memory are the user's own.
    if run_settings.ROWS_SHA256 not in settings:
      found += [str(slot.get("task")) for slot in settings.get("slots", ())]
  return list(dict.fromkeys(found))


def _with_about(material, about, tasks, licences) -> Material:
  data = {**dict(material.data), **about.get("data", {})}
  if licences is not None:
    for task in tasks:
      text = None if task in data else licences(task)
      if text:
        data[task] = text
  others = [(k, v) for k, v in about.items() if k not in _NO_FACTS]
  known = {name for name, _ in material.facts}
  starts = about.get("starts") or [{}]
  if isinstance(starts[-1], dict):
    others += [(k, v) for k, v in starts[-1].items() if k not in known]
  return dataclasses.replace(
    material,
    title=str(about.get("title", material.title)),
    notes=(*map(str, about.get("notes", ())), *material.notes),
    facts=(*material.facts, *others),
    data=tuple(data.items()),
  )


def names_of(all_paths: Sequence) -> list[str]:
  """Short names of several runs that tell them apart.

  >>> names_of(["a/runs/x", "b/runs/x", "runs/y"])
  ['a/runs/x', 'b/runs/x', 'y']
  """
  parts = [paths.absolute(path).split("/") for path in all_paths]
  made = []
  for own in parts:
    size = 1
    while size < len(own) and (
      sum(other[-size:] == own[-size:] for other in parts) > 1
    ):
      size += 1
    made.append("/".join(own[-size:]))
  return made


def trainings_of(materials: Sequence[Material]) -> list[Training]:
  """The runs of training of several materials, under the names of these."""
  made = []
  for one in materials:
    for run in one.trainings:
      name = one.name if len(one.trainings) == 1 else f"{one.name}: {run.name}"
      made.append(dataclasses.replace(run, name=name))
  return made
