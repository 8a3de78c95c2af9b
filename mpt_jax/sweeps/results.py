"""Evaluates a table's runs and makes its numbers.

Validation chooses among a row's slots, and only the chosen ones are evaluated
on the test split. The scores stay in the run's results.json and are not
measured again.
"""

import dataclasses
import hashlib
import json
from typing import NamedTuple

import numpy as np

import mpt_jax.process.tensorflow_quietly  # noqa: F401  Before all that import it.
from mpt_jax.backbones.backbone import open_backbone
from mpt_jax.backbones.shapes import num_backbone_parameters
from mpt_jax.data import text_tasks
from mpt_jax.inference.evaluator import EvalConfig, evaluate
from mpt_jax.io import digests, files
from mpt_jax.model.config import T5Config
from mpt_jax.process.progress import Progress
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import GROUPS, SLOTS
from mpt_jax.sweeps.tables import Row

RESULTS = "results.json"
# Metrics in percent; all others are fractions.
IN_PERCENT = ("bleu", "bleu_e2e", "bleu_webnlg")


class Cell(NamedTuple):
  """A method's score in percent over seeds; std is None for a single seed."""

  mean: float
  std: float | None
  num_seeds: int


@dataclasses.dataclass(frozen=True)
class Line:
  """A row of a table, of one variant.

  Attributes:
    row: its entry in the table.
    method: its name, with that of the variant.
    cells: {heading: Cell}, with the average. Missing scores are left out.
    labels: {heading: label of the slots that validation chose}.
    metrics: {heading: name of the metric}.
    parameters: trained parameters per task, None if there is no run.
    diverged: {heading: names of the slots in its cell that diverged}. They
      count with the last good state of their prompts.
    draws: {heading: {seed: score in percent}} of the columns.
  """

  row: Row
  method: str
  cells: dict[str, Cell]
  labels: dict[str, str]
  metrics: dict[str, str]
  parameters: float | None
  diverged: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  draws: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)


def row_slots(table, row, run) -> list:
  """The slots of a planned run that belong to a row."""
  if row.run != run.run.name:
    return []

  def labelled(label):
    return row.label in ("", label) or label.startswith(row.label + "-")

  return [
    slot
    for slot in run.experiment.slots
    if slot.task in table.columns
    and slot.shots == row.shots
    and labelled(slot.label)
  ]


def check_run(table, run, planned):
  """Checks, before a run is trained, that the table can show it.

  Args:
    table: the table.
    run: one of `planned`.
    planned: all runs.

  Raises:
    ValueError: the table has no cell for any of the run's slots, or validation
      has to choose among them but the run has no evaluation.
  """
  of_rows = [row_slots(table, row, run) for row in table.rows]
  rows = [row for row in table.rows if row.run == run.run.name]
  if rows and not any(of_rows):
    shots = dict.fromkeys(str(row.shots) for row in rows)
    raise ValueError(
      f"run {run.name!r} would train"
      f" {', '.join(slot.name for slot in run.experiment.slots[:3])}, ..., of"
      f" which the table has no cell: its columns are"
      f" {', '.join(table.columns)} and its rows have {', '.join(shots)} shots"
    )
  used = any(run.name in other.uses for other in planned)
  if not rows and not used:
    raise ValueError(
      f"run {run.name!r} is in no row of the table, and no other run uses it"
    )
  for slots in of_rows:
    if run.experiment.eval is None:
      # Raises a ValueError if there are several candidates.
      choose(slots, {})


def choose(slots, validation) -> dict[str, str]:
  """Chooses each task's candidate by validation.

  Args:
    slots: the slots of a row.
    validation: {slot name: score}.

  Returns:
    {task: label}: the label with the best mean over seeds; of equal ones, the
    first. A mean that is not a number is the worst.

  Raises:
    ValueError: a task has several candidates, and one lacks a validation score.
  """
  candidates = {}
  for slot in slots:
    labels = candidates.setdefault(slot.task, {})
    labels.setdefault(slot.label, []).append(validation.get(slot.name))
  chosen = {}
  for task, labels in candidates.items():
    if len(labels) > 1 and any(None in scores for scores in labels.values()):
      raise ValueError(
        f"task {task!r} has the candidates {', '.join(labels)}, and no"
        " validation score to choose by; train with an evaluation"
      )
    if len(labels) == 1:
      (chosen[task],) = labels
    else:
      means = {label: np.mean(scores) for label, scores in labels.items()}
      means = {k: v if np.isfinite(v) else -np.inf for k, v in means.items()}
      chosen[task] = max(means, key=means.get)
  return chosen


def _chosen_slots(table, row, run):
  """The slots of a row that validation chose, in the bank's order."""
  slots = row_slots(table, row, run)
  validation = {}
  if len({slot.label for slot in slots}) > 1:
    loaded = load_bank(run.folder)
    for name, slot in zip(loaded.names, loaded.slots, strict=True):
      scores = [v for k, v in slot["metrics"].items() if k != "step"]
      # A score that was not a number is kept as None.
      scores = [np.nan if v is None else v for v in scores]
      validation[name] = scores[0] if scores else None
  labels = choose(slots, validation)
  return [slot for slot in slots if slot.label == labels[slot.task]]


def _fingerprint(run) -> str:
  """SHA-256 of the trained files."""
  names = ("prompts/best.safetensors", "backbone/params.safetensors")
  digest = hashlib.sha256()
  for name in names:
    if (run.folder / name).is_file():
      with (run.folder / name).open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
  return digest.hexdigest()


def read_results(run) -> dict:
  """The run's results.json: {"eval", "trained", "rows"}, or an empty dict.

  Raises:
    ValueError: the file is damaged.
  """
  path = run.folder / RESULTS
  if not path.is_file():
    return {}
  found = digests.read_sealed(path, "the results of a run")
  rows = found.get("rows")
  if not isinstance(rows, list) or not all(map(_is_row, rows)):
    raise ValueError(
      f"{path} is damaged: its rows must each have a prompt, a metric and a"
      " value; move it away to evaluate again"
    )
  return found


def _is_row(row) -> bool:
  """Whether a value of a file is a row of `evaluator.evaluate`."""
  if not isinstance(row, dict):
    return False
  names = (row.get("prompt"), row.get("metric"))
  is_number = type(row.get("value")) in (int, float)
  return is_number and all(isinstance(name, str) for name in names)


def evaluate_run(table, run, console) -> bool:
  """Evaluates the slots of a run that the table needs, unless it was done.

  Returns:
    Whether the table has rows of this run.

  Raises:
    ValueError: results.json was made with other settings or other prompts.
  """
  chosen = [s for row in table.rows for s in _chosen_slots(table, row, run)]
  wanted = {slot.name: slot for slot in chosen}
  if not wanted:
    return False
  config = dataclasses.replace(
    run.experiment.eval or EvalConfig(), split=table.split, max_examples=None
  )
  settings = {"eval": dataclasses.asdict(config), "trained": _fingerprint(run)}
  old = read_results(run)
  differ = [k for k in settings if old and old.get(k) != settings[k]]
  if differ:
    raise ValueError(
      f"{run.folder / RESULTS} was made with other settings ({differ[0]}"
      " differs); move it away to evaluate again"
    )
  done = {row["prompt"] for row in old.get("rows", [])}
  missing = [name for name in wanted if name not in done]
  if missing:
    made = _evaluate(run, [wanted[n] for n in missing], config, console)
    # JSON has no NaN, which a metric may be.
    made = [
      {**row, "value": row["value"] if np.isfinite(row["value"]) else None}
      for row in made
      if row["prompt"] in missing
    ]
    result = {**settings, "rows": [*old.get("rows", []), *made]}
    text = json.dumps(digests.seal(result), indent=2) + "\n"
    files.write_text(run.folder / RESULTS, text)
  return True


def _evaluate(run, slots, config, console):
  """Rows of `evaluator.evaluate`, "prompt" being the slot's name."""
  prompts, backbone = run.folder, None
  names = [slot.name for slot in slots]
  if run.experiment.prompt_length == 0:
    prompts, backbone = None, run.folder / "backbone"
    names = [slot.task for slot in slots]
  with Progress(f"evaluate {run.name}", transient=True, console=console) as bar:
    rows = evaluate(
      prompts,
      names,
      config,
      backbone=backbone,
      progress=bar.update,
      dtype=run.experiment.dtype,
      num_model_partitions=run.arguments.get("num_model_partitions", 1),
    )
  if prompts is None:
    of_task = {slot.task: slot.name for slot in slots}
    rows = [{**row, "prompt": of_task[row["task"]]} for row in rows]
  return rows


def main_metric(task_name: str, names) -> str:
  """The metric of a task that a table shows: the task's own, or the first."""
  own = getattr(text_tasks.get_task(task_name), "metric", None)
  return own if own in names else next(iter(names))


def in_percent(metric, value) -> float:
  return value if metric in IN_PERCENT else 100 * value


def _cell(values) -> Cell:
  std = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return Cell(float(np.mean(values)), std, len(values))


def table_lines(table, planned) -> list[Line]:
  """The table's lines with all scores so far.

  A cell appears once all seeds of the row have a score that is a number, the
  average once all cells are there. The deviation of the average is taken over
  the averages of each seed.
  """
  lines = []
  for variant in table.variants:
    runs = [run for run in planned if run.variant == variant]
    for row in table.rows:
      # The paper's numbers belong to no variant; list them once.
      if row.run is None and variant != next(iter(table.variants)):
        continue
      name = row.method
      if variant and row.run is not None:
        name = f"{row.method}, {variant}"
      lines.append(_line(table, row, name, runs))
  return lines


def _line(table, row, method, runs):
  scores, labels, metrics, expected, diverged = {}, {}, {}, {}, {}
  for run in runs:
    for slot in row_slots(table, row, run):
      expected.setdefault(slot.task, set()).add(slot.seed)
    results = read_results(run)
    if not results:
      continue
    for slot in _chosen_slots(table, row, run):
      found = {
        r["metric"]: r["value"]
        for r in results["rows"]
        if r["prompt"] == slot.name
      }
      if found:
        heading = table.columns[slot.task]
        metrics[heading] = metric = main_metric(slot.task, found)
        if found[metric] is not None:
          score = in_percent(metric, found[metric])
          scores.setdefault(slot.task, {})[slot.seed] = score
        labels[heading] = slot.label
        if slot.name in run.diverged:
          diverged.setdefault(heading, []).append(slot.name)
  complete = {t: s for t, s in scores.items() if set(s) == expected[t]}
  cells = {
    heading: _cell(list(complete[task].values()))
    for task, heading in table.columns.items()
    if task in complete
  }
  if len(complete) == len(table.columns):
    seeds = set.intersection(*(set(s) for s in complete.values()))
    by_seed = [np.mean([s[k] for s in complete.values()]) for k in seeds]
    mean = float(np.mean([cell.mean for cell in cells.values()]))
    cells[table.average] = _cell(by_seed)._replace(mean=mean)
    if diverged:
      diverged[table.average] = sum(diverged.values(), [])
  return Line(
    row,
    method,
    cells,
    labels,
    metrics,
    _parameters_per_task(table, row, runs),
    {heading: names for heading, names in diverged.items() if heading in cells},
    {table.columns[task]: draws for task, draws in complete.items()},
  )


def t5_config(preset, experiment) -> tuple[T5Config, bool]:
  """The shape of an experiment's T5.

  Returns:
    (the shape, whether the T5 is on this machine). If it is not, the shape is
    that of the preset.
  """
  if experiment.network is not None:
    return experiment.network, True
  try:
    return open_backbone(experiment.backbone).config, True
  except FileNotFoundError:
    return T5Config.preset(preset), False


def trained_parameters(experiment, slots, config) -> int:
  """The number of trained parameters of some slots of an experiment.

  Prompts have l·d for each P* and (l + d)·R for each task whose factors train,
  Wang et al. (2023), section 3.3: 77,668 for one target of T5-Base, 8 · 10,468
  for eight targets that share P*.

  Args:
    experiment: the settings.
    slots: those slots.
    config: the shape of the T5.
  """
  if experiment.trainable == "everything":
    return num_backbone_parameters(config)
  prompts = PromptConfig(
    num_slots=1,
    prompt_length=experiment.prompt_length,
    rank=experiment.rank,
    kind=experiment.prompt_kind,
    inputs_length=experiment.batch.inputs_length,
  )
  each = prompts.num_parameters_each(config.emb_dim)
  num_groups = len({slot.group or slot.name for slot in slots})
  num_slots = sum(slot.train_factors for slot in slots)
  return num_groups * each[GROUPS] + num_slots * each[SLOTS]


def _parameters_per_task(table, row, runs):
  for run in runs:
    slots = row_slots(table, row, run)
    if slots:
      config, _ = t5_config(table.preset(run.variant), run.experiment)
      return trained_parameters(run.experiment, slots, config) / len(slots)
  return None
