"""Reads a run of training: its settings, its metrics, its evaluations."""

from collections.abc import Mapping

from etils import epath

from mpt_jax.io import digests, provenance
from mpt_jax.io.errors import reading
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import load_bank
from mpt_jax.prompts.slots import Slot
from mpt_jax.report import estimates
from mpt_jax.report.material import (
  Curve,
  Material,
  Prompts,
  Results,
  Score,
  Training,
)

METRICS, RESULTS = "metrics.jsonl", "results.json"
# Metrics in percent, and metrics that are no shares; all others are fractions.
IN_PERCENT = ("bleu", "bleu_e2e", "bleu_webnlg")
CORRELATIONS = ("pearson", "spearman", "matthews")
# Settings that say which files a run had, and not what it did.
_NO_SETTINGS = (
  *("slots", "backbone_fingerprint", "launcher", "network", "total_steps"),
)


def in_points(metric: str, value: float) -> float:
  """A score in percent.

  >>> in_points("accuracy", 0.5), in_points("bleu", 31.0)
  (50.0, 31.0)
  """
  return value if metric in IN_PERCENT else 100 * value


def read_metrics(folder) -> tuple[list[dict], int]:
  """Returns the rows of a folder's metrics.jsonl, and how many are damaged.

  A line that a killed run did not finish is left out and not counted.
  """
  path = epath.Path(folder) / METRICS
  if not path.exists():
    return [], 0
  lines = [row for _, row in digests.read_lines(path)]
  whole = [row for row in lines if row is not None and "step" in row]
  damaged = len(lines) - len(whole)
  return whole, damaged - (bool(lines) and lines[-1] is None)


def slot_labels(settings: Mapping) -> dict[str, Mapping]:
  """{name of the slot: its settings} of a run's experiment.json."""
  return {_slot(fields).name: fields for fields in settings.get("slots", ())}


def _slot(fields) -> Slot:
  known = ("task", "shots", "seed", "label")
  return Slot(**{name: fields[name] for name in known if name in fields})


def method_of(label: str) -> str:
  """The method of a slot's label, which may go on with a setting.

  >>> method_of("spot-from_glue_mnli-lr_x0.1"), method_of("mpt")
  ('spot', 'mpt')
  """
  return label.partition("-")[0]


def curves(lines, kind: str, metric: str, slots: Mapping):
  """The mean curve of a metric, and that of each slot.

  Args:
    lines: rows of metrics.jsonl.
    kind: "train" or "eval".
    metric: the name of the value.
    slots: see `slot_labels`.
  """
  mean, found = [], {}
  for line in lines:
    if line.get("kind") != kind:
      continue
    for key, value in line.items():
      if type(value) not in (
        int,
        float,
      ):  # JSON has null for what is no number.
        continue
      if key == metric:
        mean.append((line["step"], value))
      elif key.startswith(f"{metric}/"):
        slot = key.removeprefix(f"{metric}/")
        found.setdefault(slot, []).append((line["step"], value))
  name = next(iter(slots)) if len(slots) == 1 else "mean"
  return Curve(name=name, method="", points=tuple(mean)), tuple(
    Curve(
      name=slot,
      method=method_of(slots.get(slot, {}).get("label", "")),
      points=tuple(points),
    )
    for slot, points in found.items()
  )


def main_metric(lines, settings: Mapping) -> str:
  """The name of the score that a run is judged by."""
  asked = (settings.get("eval") or {}).get("metric")
  if asked:
    return asked
  for line in lines:
    if line.get("kind") == "eval":
      names = [k for k in line if k not in ("step", "kind", "seconds")]
      plain = [name for name in names if "/" not in name]
      for known in ("accuracy", "balanced_accuracy"):
        if known in plain:
          return known
      return next(iter(plain), "score")
  return "score"


def read_training(folder, name: str) -> tuple[Training, list[str]]:
  """Reads the settings and metrics of one run.

  Args:
    folder: the folder that has experiment.json.
    name: the run's name on the page.

  Returns:
    (what it logged, what a reader has to be told).

  Raises:
    ValueError: a file is damaged.
  """
  folder = epath.Path(folder)
  settings = run_settings.read(folder)
  with reading(folder / run_settings.FILE, "the settings of a run"):
    slots = slot_labels(settings)
    flat = dict(_flat(settings))
  lines, damaged = read_metrics(folder)
  with reading(folder / METRICS, "the metrics of a run"):
    metric = main_metric(lines, settings)
    loss, losses = curves(lines, "train", "loss", slots)
    score, scores = curves(lines, "eval", metric, slots)
    steps = max((line["step"] for line in lines), default=0)
  training = Training(
    name=name,
    metric=metric.replace("_", " "),
    loss=loss,
    score=score,
    losses=losses,
    scores=scores,
    digits=3 if metric in (*CORRELATIONS, *IN_PERCENT) else 1,
    steps=steps,
    total_steps=settings.get("total_steps"),
    settings=flat,
  )
  notes = []
  if damaged:
    notes.append(
      f"{name}: {damaged} of {len(lines) + damaged} lines of {METRICS} are"
      " damaged and left out."
    )
  if not lines:
    notes.append(f"{name} has no measurements yet.")
  elif steps < (training.total_steps or 0) and not _ended_early(
    folder, settings, steps
  ):
    notes.append(
      f"{name} is not finished: {steps:,} of {training.total_steps:,} steps."
    )
  faults = [line for line in lines if line.get("kind") == "fault"]
  if faults:
    names = ", ".join(str(line.get("slot")) for line in faults)
    notes.append(f"{name}: slots that diverged are frozen: {names}.")
  return training, notes


def _ended_early(folder, settings, steps) -> bool:
  """Whether a run ended because its score did not improve any more."""
  config = settings.get("eval") or {}
  patience, period = config.get("patience"), config.get("period")
  best = folder / "prompts" / "best.safetensors"
  if not (patience and period and best.exists()):
    return False
  found = [s.get("metrics", {}).get("step", 0) for s in load_bank(best).slots]
  return steps - max(found, default=0) >= patience * period


def _flat(values, name=""):
  """Yields (dotted name, value) of nested settings."""
  for key, value in values.items():
    if not name and (key in _NO_SETTINGS or key.endswith("sha256")):
      continue
    inner = f"{name}.{key}" if name else key
    if isinstance(value, Mapping):
      yield from _flat(value, inner)
    else:
      yield inner, value


# ---------------------------------------------------------------- the page


def read_run(folder, name: str) -> Material:
  """Reads a run's folder as a page shows it.

  Raises:
    ValueError: a file is damaged.
  """
  folder = epath.Path(folder)
  training, notes = read_training(folder, name)
  settings = run_settings.read(folder)
  found = _evaluated(folder, settings) or _last_scores(folder, settings)
  config = folder / "config.gin"
  return Material(
    name=name,
    kind="training run",
    title=f"Run {name}",
    notes=tuple(notes),
    results=(found,) if found else (),
    trainings=(training,),
    prompts=read_prompts(folder),
    facts=tuple(facts(folder, settings)),
    config=config.read_text(encoding="utf-8") if config.exists() else "",
  )


def read_prompts(folder) -> Prompts | None:
  """The prompts of a run at their best step; None if there are none.

  Prompts that also add to the embeddings of the input are left out, because
  their rows are only a part of them.
  """
  path = epath.Path(folder) / "prompts" / "best.safetensors"
  if not path.exists():
    return None
  bank = load_bank(path)
  if bank.config.find_kind().has_offsets:
    return None
  return Prompts(names=bank.names, composed=bank.composed)


def facts(folder, settings: Mapping):
  """Yields (name, value) pairs of what was run."""
  about = provenance.read(folder)
  starts = about.get("starts") or []
  if starts and isinstance(starts[-1], dict):
    yield from starts[-1].items()
    if len(starts) > 1:
      yield "started", f"{len(starts)} times; the above is the last start"
  slots = settings.get("slots", ())
  tasks = dict.fromkeys(slot.get("task") for slot in slots)
  yield "T5", settings.get("backbone") or "random parameters"
  yield "trains", settings.get("trainable", "prompt")
  for name in ("prompt_length", "rank", "prompt_kind", "total_steps"):
    if name in settings:
      yield name, settings[name]
  yield "tasks", ", ".join(map(str, tasks))
  yield "slots", len(slots)
  for name in ("batch", "mix", "optimizer", "loss", "eval"):
    if settings.get(name):
      yield name, settings[name]
  yield "seed", settings.get("seed", 0)


def _evaluated(folder, settings) -> Results | None:
  """The scores of `mpt eval --out results.json`, or of a sweep's run."""
  path = folder / RESULTS
  if not path.exists():
    return None
  fields = digests.read_sealed(path, "the results of a run")
  with reading(path, "the results of a run"):
    split = fields["eval"]["split"]
    return _results_of_rows(fields["rows"], settings, f"{split} split")


def _results_of_rows(rows, settings, title) -> Results | None:
  slots, found = slot_labels(settings), {}
  for row in rows:
    if row["value"] is not None:
      found.setdefault(row["prompt"], {})[row["metric"]] = row
  scores, metrics = [], {}
  for prompt, own in found.items():
    metric = _chosen_metric(own, settings)
    metrics[metric] = None
    value, count = own[metric]["value"], own[metric].get("num_examples")
    slot = slots.get(prompt) or {"task": prompt or own[metric]["task"]}
    scores.append(_score(slot, in_points(metric, value), count))
  return _results(scores, title, metrics)


def _chosen_metric(values, settings) -> str:
  asked = (settings.get("eval") or {}).get("metric")
  for name in (asked, "accuracy", "balanced_accuracy"):
    if name in values:
      return name
  return next(iter(values))


def _score(slot, value, count) -> Score:
  label = slot.get("label") or "prompt"
  return Score(
    method=label,
    target=slot["task"],
    shots=slot.get("shots"),
    seed=slot.get("seed", 0),
    value=value,
    examples=count,
  )


def _results(scores, title, metrics) -> Results | None:
  if not scores:
    return None
  return estimates.from_scores(
    scores,
    title=title[0].upper() + title[1:],
    metric=" or ".join(name.replace("_", " ") for name in metrics),
    given_names={"prompt": "prompt"},
  )


def _last_scores(folder, settings) -> Results | None:
  """The scores of each slot at the last evaluation in metrics.jsonl."""
  lines, _ = read_metrics(folder)
  lines = [line for line in lines if line.get("kind") == "eval"]
  if not lines:
    return None
  with reading(folder / METRICS, "the metrics of a run"):
    metric = main_metric(lines, settings)
    line, scores = lines[-1], []
    slots = slot_labels(settings)
    for name, slot in slots.items():
      # With one slot, the mean is its score.
      key = f"{metric}/{name}" if f"{metric}/{name}" in line else metric
      if key == metric and len(slots) > 1:
        continue
      if line.get(key) is not None:
        scores.append(_score(slot, in_points(metric, line[key]), None))
    split = (settings.get("eval") or {}).get("split", "validation")
    title = f"{split} split, step {line['step']:,}"
    return _results(scores, title, [metric])
