"""Reads the folder of `mpt fit`: scores.json beside the run's own files."""

from collections.abc import Mapping

from etils import epath

from mpt_jax.io import digests
from mpt_jax.io.errors import reading
from mpt_jax.report.material import (
  Answer,
  Answers,
  Cell,
  Confusion,
  Material,
  Results,
  Verdicts,
)
from mpt_jax.report.readers.training import CORRELATIONS, IN_PERCENT

NOTES, SCORES = "fit.json", "scores.json"
PROMPT = "prompt"
_NAMES = {PROMPT: "this prompt", "tfidf": "tf-idf", "majority": "majority"}


def is_fit(folder) -> bool:
  """Whether a folder is that of `mpt fit`."""
  folder = epath.Path(folder)
  return (folder / NOTES).exists() or (folder / SCORES).exists()


def read_fit(folder, name: str) -> Material:
  """Reads the scores of a fit; an unfinished one has none.

  Raises:
    ValueError: the file is damaged.
  """
  path = epath.Path(folder) / SCORES
  if not path.exists():
    note = f"{name} is not finished: it has no {SCORES}."
    return Material(
      name=name, kind="fit", title=f"mpt fit: {name}", notes=(note,)
    )
  fields = digests.read_sealed(path, "the scores of a fit")
  with reading(path, "the scores of a fit"):
    tasks = fields["tasks"]
    best = fields.get("best_steps", {})
    notes = [
      f"{task}: the prompt of step {step:,} is kept, the best one on the"
      " validation rows."
      for task, step in best.items()
    ]
    return Material(
      name=name,
      kind="fit",
      title=f"mpt fit: {', '.join(tasks)}",
      notes=tuple(notes),
      results=tuple(
        task_results(own, fields.get("verdicts", {}).get(task))
        for task, own in tasks.items()
      ),
      answers=tuple(
        _answers(own)
        for own in tasks.values()
        if own["mistakes"] or own.get("right")
      ),
      confusions=tuple(
        _confusion(own) for own in tasks.values() if own.get("confusion")
      ),
      facts=tuple(fields.get("facts", {}).items()),
      commands=tuple(fields.get("commands", ())),
    )


def _values(own: Mapping):
  """(digits, function from a score to what is shown)."""
  metric = own["metric"]
  if metric in CORRELATIONS:
    return 3, lambda value: value
  return 1, lambda value: value if metric in IN_PERCENT else 100 * value


def task_results(own: Mapping, verdict: str | None = None) -> Results:
  """The score of a task's prompt beside the baselines.

  Args:
    own: the fields of `mpt_jax.fitting.measuring.Scores`.
    verdict: a sentence that compares them.
  """
  digits, scale = _values(own)
  task = own["task"]
  cells = {
    (PROMPT, task, None): Cell(
      mean=scale(own["score"]), interval=tuple(map(scale, own["interval"]))
    ),
    ("tfidf", task, None): Cell(mean=scale(own["tfidf"])),
    ("majority", task, None): Cell(mean=scale(own["majority"])),
  }
  others = "; ".join(
    f"{name.replace('_', ' ')} {value:.3f}"
    for name, value in own["metrics"].items()
    if name != own["metric"] and value is not None
  )
  notes = [f"Other metrics of the prompt: {others}."] if others else []
  if own["split"] == "validation":
    notes.append(
      "These rows chose the best step too, so the score is a little too good."
    )
  return Results(
    title=f"{task}, {own['split']} rows",
    metric=own["metric"].replace("_", " "),
    methods=tuple(_NAMES),
    targets=(task,),
    shots=(None,),
    cells=cells,
    main=PROMPT,
    digits=digits,
    examples={task: own["examples"]},
    names=_NAMES,
    how=f"95 % interval over the {own['examples']:,} rows: {own['method']}.",
    verdicts=(Verdicts(title="", sentences=(verdict,)),) if verdict else (),
    notes=tuple(notes),
  )


def _answers(own) -> Answers:
  def made(found):
    return tuple(
      Answer(
        text=one["input"],
        truth=one["target"],
        answer=one["prediction"],
        probability=one.get("probability"),
      )
      for one in found
    )

  found = (*own.get("right", ()), *own["mistakes"])
  sure = all("probability" in one for one in found)
  return Answers(
    target=own["task"],
    method=f"this prompt, {own['split']} rows",
    right=made(own.get("right", ())),
    wrong=made(own["mistakes"]),
    order="the most confident ones" if sure else "the first ones",
  )


def _confusion(own) -> Confusion:
  labels = tuple(own["labels"])
  return Confusion(
    target=own["task"],
    method=f"this prompt, {own['split']} rows",
    labels=labels,
    answers=labels,
    counts=tuple(map(tuple, own["confusion"])),
  )
