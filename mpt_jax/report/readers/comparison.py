"""Reads the answers of methods: outcomes.json, and the texts beside it."""

from collections.abc import Mapping

import numpy as np
from etils import epath

from mpt_jax.judgement import texts as example_texts
from mpt_jax.judgement.bootstrap import find_draws, find_trial
from mpt_jax.judgement.outcomes import FILE, NO_LABEL, Outcomes
from mpt_jax.report import judging
from mpt_jax.report.material import Answer, Answers, Confusion, Material
from mpt_jax.report.sections.picture import shots_name

VIEWS = "views"
# Right and wrong answers of a target; texts are cut at this many letters.
MOST, LONGEST = 10, 280


def has_answers(folder) -> bool:
  """Whether a folder has an outcomes.json."""
  return (epath.Path(folder) / FILE).exists()


def read_comparison(
  folder, name: str, about: Mapping, shots: int | None, num_samples: int
) -> Material:
  """Reads the answers in a folder.

  Args:
    folder: the folder that has outcomes.json.
    name: the run's name on the page.
    about: the fields of about.json, see `mpt_jax.report.reading`.
    shots: see `Results.shown_shots`.
    num_samples: samples of the bootstrap.

  Raises:
    ValueError: a file is damaged.
  """
  outcomes = Outcomes.load(folder)
  results = _results(outcomes, "Methods on tasks", about, num_samples)
  shown = results.shown_shots(shots)
  texts = example_texts.read(folder)
  main = results.main
  return Material(
    name=name,
    kind="comparison of methods",
    title="Methods compared",
    results=(results,),
    views=tuple(
      _results(Outcomes.load(path), path.name, about, num_samples)
      for path in _views(folder)
    ),
    answers=tuple(
      answers
      for target in results.targets
      if (answers := _answers(outcomes, results, main, target, shown, texts))
    ),
    confusions=tuple(
      confusion
      for target in results.targets
      if (confusion := _confusion(outcomes, results, main, target, shown))
    ),
  )


def _views(folder) -> list:
  """The folders of other ways to look at the methods, in their order."""
  views = epath.Path(folder) / VIEWS
  if not views.is_dir():
    return []
  found = [path for path in views.iterdir() if has_answers(path)]
  # steps_30 comes before steps_100.
  return sorted(found, key=lambda path: (len(path.name), path.name))


def _results(outcomes, title, about, num_samples):
  methods = about.get("methods", {})
  return judging.from_outcomes(
    outcomes,
    title=title,
    given_names={
      method: fields["name"]
      for method, fields in methods.items()
      if "name" in fields
    },
    parameters={
      method: fields["parameters"]
      for method, fields in methods.items()
      if "parameters" in fields
    },
    num_samples=num_samples,
  )


def _trials(outcomes, method, target, shots) -> list:
  draws = find_draws(outcomes, (method,), target, shots)
  try:
    return [find_trial(outcomes, method, target, shots, s) for s in draws]
  except KeyError:
    return []


def _names(labels, answer) -> str:
  return "(no label)" if answer == NO_LABEL else labels[answer]


def _answers(outcomes, results, method, target, shots, texts) -> Answers | None:
  """The first right and the first wrong answers of the first draw."""
  trials = _trials(outcomes, method, target, shots)
  if not trials:
    return None
  known, labels = outcomes.targets[target], outcomes.targets[target].labels
  right, wrong = [], []
  predictions = outcomes.predictions[trials[0]]
  # The texts may go on after the examples that were tested.
  triples = zip(texts.get(target, ()), known.answers, predictions, strict=False)
  for text, truth, answer in triples:
    found = right if truth == answer else wrong
    if len(found) < MOST:
      found.append(
        Answer(
          text=cut(text), truth=labels[truth], answer=_names(labels, answer)
        )
      )
  if not (right or wrong):
    return None
  trial = trials[0]
  draw = "" if trial.seed is None else f", draw {trial.seed}"
  return Answers(
    target=target,
    method=f"{results.name(method)}, {shots_name(shots)}{draw}",
    right=tuple(right),
    wrong=tuple(wrong),
    order="the first ones of the test examples",
  )


def cut(text: str) -> str:
  """A text that is not too long for a page.

  >>> cut("a" * 500)[-3:], len(cut("a" * 500)), cut("short")
  ('aa…', 280, 'short')
  """
  return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _confusion(outcomes, results, method, target, shots) -> Confusion | None:
  """Counts of all draws together."""
  trials = _trials(outcomes, method, target, shots)
  if not trials:
    return None
  known = outcomes.targets[target]
  size = len(known.labels)
  counts = np.zeros((size, size + 1), np.int64)  # [labels, labels and none]
  for trial in trials:
    # The number of "no label" is -1, which is the last column.
    np.add.at(counts, (known.answers, outcomes.predictions[trial]), 1)
  answers = known.labels
  if counts[:, -1].any():
    answers = (*answers, "(no label)")
  draws = f", {len(trials)} draws together" if len(trials) > 1 else ""
  return Confusion(
    target=target,
    method=f"{results.name(method)}, {shots_name(shots)}{draws}",
    labels=known.labels,
    answers=answers,
    counts=tuple(map(tuple, counts[:, : len(answers)].tolist())),
  )
