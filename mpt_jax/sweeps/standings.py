"""The standings of a contest: its answers in one file, its scores in tables.

TABLE/outcomes.json has all answers of the main view, TABLE/views/VIEW those of
the others; `mpt compare` and `mpt report` read both. TABLE/TABLE.json has a row
of each score, and TABLE/standings.md the means.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np

from mpt_jax.io import files, paths, provenance
from mpt_jax.judgement import outcomes as outcomes_files
from mpt_jax.judgement import texts as example_texts
from mpt_jax.judgement.outcomes import Outcomes, Trial
from mpt_jax.sweeps import contest as contests
from mpt_jax.sweeps.answers import ANSWERS, BASELINE_FOLDER
from mpt_jax.sweeps.results import t5_config, trained_parameters

VIEWS, TABLES = "views", "standings.md"
MISSING = "–"


def collect(contest, planned, folder) -> dict[str, Outcomes]:
  """Reads all answers that there are.

  Args:
    contest: the `contest.Contest`.
    planned: all runs.
    folder: the contest's folder.

  Returns:
    {view name: answers}, the main view first; views without answers are left
    out.

  Raises:
    ValueError: a file is damaged, or two runs have other examples of a target.
  """
  folder, found = pathlib.Path(folder), {}
  for view in contest.all_views:
    merged = Outcomes({})
    places = [run.folder / ANSWERS for run in planned if run.finished]
    for place in (folder / BASELINE_FOLDER, *places):
      if (place / view.name / outcomes_files.FILE).is_file():
        merged.merge(Outcomes.load(place / view.name))
    if merged.predictions:
      found[view.name] = _in_order(contest, view, merged)
  return found


def _in_order(contest, view, merged) -> Outcomes:
  """The same answers, targets in the contest's order and with `related`."""
  made = Outcomes(
    {
      name: dataclasses.replace(
        merged.targets[name], related=name in contest.related
      )
      for name in view.targets
      if name in merged.targets
    }
  )
  for trial, predictions in merged.predictions.items():
    if trial.target in made.targets:
      made.add(trial, predictions)
  return made


def write(contest, name: str, planned, model_dir) -> dict[str, Outcomes]:
  """Writes the standings into the contest's folder.

  Args:
    contest: the `contest.Contest`.
    name: the table's name, which is that of the folder.
    planned: all runs.
    model_dir: parent of the folder.

  Returns:
    See `collect`.
  """
  folder = pathlib.Path(model_dir) / name
  found = collect(contest, planned, folder)
  texts = example_texts.read(folder)
  for view, outcomes in found.items():
    place = folder if view == contests.MAIN else folder / VIEWS / view
    outcomes.save(place)
    files.write_text(place / f"{name}.json", as_lines(outcomes.rows()))
    text = markdown(outcomes)
    files.write_text(place / TABLES, f"# {name}, {view}\n\n{text}")
    if view != contests.MAIN:
      example_texts.write(place, _shown(outcomes, texts))
  return found


def _shown(outcomes, texts) -> dict[str, list[str]]:
  """The texts of the examples that a view has."""
  return {
    name: texts[name][: target.answers.size]
    for name, target in outcomes.targets.items()
    if name in texts
  }


def read(name: str, model_dir) -> str:
  """The tables of the main view that `write` wrote last; "" if there are none.

  Args:
    name: the table's name.
    model_dir: parent of its folder.
  """
  path = pathlib.Path(paths.absolute(model_dir)) / name / TABLES
  return path.read_text() if path.is_file() else ""


def write_about(table, planned, folder):
  """Writes about.json: what the contest's report says besides the answers.

  Args:
    table: the table, with its contest.
    planned: all runs.
    folder: the contest's folder.
  """
  main, methods = table.contest.all_views[0], {}
  for run in planned:
    by_method = {}
    for slots in table.contest.slots(main, run).values():
      for slot in slots:
        method = contests.trial(slot).method
        by_method.setdefault(method, []).append(slot)
    if by_method:
      config, _ = t5_config(table.preset(run.variant), run.experiment)
    for method, slots in by_method.items():
      count = trained_parameters(run.experiment, slots, config) / len(slots)
      methods.setdefault(method, {"parameters": count})
  provenance.add_start(
    folder,
    jax.devices(),
    title=table.title,
    notes=list(table.notes),
    methods=methods,
  )


def as_lines(rows) -> str:
  """A JSON list with a line for each row.

  >>> print(as_lines([{"k": 4}, {"k": 16}]), end="")
  [
  {"k": 4},
  {"k": 16}
  ]
  """
  return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def scores(outcomes: Outcomes, method: str, target: str, shots) -> list[float]:
  """The scores in percent of a method on a target, one for each draw.

  A method that learns from no draw has one score for all of them.
  """
  found = [
    trial
    for trial in outcomes.predictions
    if (trial.method, trial.target, trial.shots) == (method, target, shots)
    and trial.seed is not None
  ]
  of_all = Trial(method, target, None, None)
  if of_all in outcomes.predictions:
    found = [of_all]
  return [100 * outcomes.score(trial) for trial in found]


def markdown(outcomes: Outcomes) -> str:
  """Tables of the mean balanced accuracy over draws, one for each k.

  ± is the sample standard deviation over draws. The means count a method only
  if it has a score on all of their targets. "!" marks a mean that is that of
  answering always the same.
  """
  related = [k for k, v in outcomes.targets.items() if v.related]
  others = [k for k in outcomes.targets if k not in related]
  shots = {t.shots for t in outcomes.predictions if t.seed is not None}
  parts = []
  for k in sorted(shots or {None}, key=lambda k: (k is None, k)):
    parts.append("## " + ("all examples" if k is None else f"k = {k}") + "\n")
    groups = {"related": related, "others": others}
    head = ["method", *outcomes.targets, *(g for g in groups if groups[g])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for method in outcomes.methods:
      by_target = {
        name: scores(outcomes, method, name, k) for name in outcomes.targets
      }
      if any(by_target.values()):
        cells = [_cell(outcomes, name, v) for name, v in by_target.items()]
        means = [
          _mean([by_target[name] for name in names])
          for names in groups.values()
          if names
        ]
        lines.append([method, *cells, *means])
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
  parts.append(
    "Balanced accuracy in percent, the mean ± the standard deviation over"
    " draws. !: the score of always giving one answer.\n"
  )
  return "\n".join(parts)


def _cell(outcomes, target, values) -> str:
  if not values:
    return MISSING
  text = f"{np.mean(values):.1f}"
  if len(values) > 1:
    text += f" ± {np.std(values, ddof=1):.1f}"
  constant = 100 / np.unique(outcomes.targets[target].answers).size
  return text + ("!" if np.isclose(np.mean(values), constant) else "")


def _mean(by_target) -> str:
  if not all(by_target):
    return MISSING
  return f"{np.mean([np.mean(values) for values in by_target]):.1f}"
