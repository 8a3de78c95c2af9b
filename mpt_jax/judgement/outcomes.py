"""What methods answered on test examples: every score is computed from it.

Axis letters: E test examples of a target.
"""

import dataclasses
import json

import numpy as np
from etils import epath

from mpt_jax.data import metrics
from mpt_jax.io import digests, files

FILE = "outcomes.json"
# The number of an answer that is none of the labels.
NO_LABEL = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """The test examples of a target task.

  Attributes:
    labels: the names of the labels.
    answers: [E] int, the number of each example's right label.
    related: whether a source task shares the target's skill.
  """

  labels: tuple[str, ...]
  answers: np.ndarray
  related: bool = False

  def __post_init__(self):
    answers = np.asarray(self.answers, np.int64)
    object.__setattr__(self, "answers", answers)
    object.__setattr__(self, "labels", tuple(self.labels))
    if answers.ndim != 1 or not answers.size:
      raise ValueError("a target needs test examples")
    if answers.min() < 0 or answers.max() >= len(self.labels):
      raise ValueError(
        f"answers must be in [0, {len(self.labels)}), the numbers of the"
        f" labels, got {answers.min()} to {answers.max()}"
      )


@dataclasses.dataclass(frozen=True, order=True)
class Trial:
  """One trained method on one target.

  Attributes:
    method: its name, such as "mpt".
    target: name of the target task.
    shots: training examples of each class, None for all.
    seed: the draw of these examples; None if the method does not use them.
  """

  method: str
  target: str
  shots: int | None
  seed: int | None


class Outcomes:
  """The answers of all trials.

  >>> spam = Target(labels=("ham", "spam"), answers=[0, 1])
  >>> outcomes = Outcomes({"spam": spam})
  >>> outcomes.add(Trial("mpt", "spam", 16, 0), [0, 0])
  >>> outcomes.score(Trial("mpt", "spam", 16, 0))
  0.5
  """

  def __init__(self, targets: dict[str, Target]):
    self.targets = dict(targets)
    self.predictions: dict[Trial, np.ndarray] = {}
    # Thousands of trials are looked up by the bootstrap again and again.
    self._seeds: dict[tuple, set] = {}
    self._scores: dict[Trial, float] = {}

  def add(self, trial: Trial, predictions):
    """Adds the answers of a trial.

    Args:
      trial: which.
      predictions: [E] int, numbers of labels, or `NO_LABEL`.

    Raises:
      ValueError: the target is unknown, its examples are others, the trial is
        there already, or a number is no label's.
    """
    if trial in self.predictions:
      raise ValueError(f"the answers of {trial} are there already")
    if trial.target not in self.targets:
      raise ValueError(
        f"{trial} has an unknown target; there are {', '.join(self.targets)}"
      )
    target = self.targets[trial.target]
    predictions = np.asarray(predictions, np.int64)
    if predictions.shape != target.answers.shape:
      raise ValueError(
        f"{trial} must have {target.answers.size} answers, one for each test"
        f" example, got {predictions.shape}"
      )
    if predictions.min() < NO_LABEL or predictions.max() >= len(target.labels):
      raise ValueError(
        f"{trial}: an answer must be in [{NO_LABEL}, {len(target.labels)})"
      )
    self.predictions[trial] = predictions
    where = (trial.method, trial.target, trial.shots)
    self._seeds.setdefault(where, set()).add(trial.seed)

  def seeds(self, method: str, target: str, shots: int | None) -> frozenset:
    """The seeds of a method's trials on a target."""
    return frozenset(self._seeds.get((method, target, shots), ()))

  @property
  def methods(self) -> list[str]:
    """The names of the methods, in the order in which they were added."""
    return list(dict.fromkeys(trial.method for trial in self.predictions))

  @property
  def shots(self) -> list[int | None]:
    """The numbers of shots of trials that depend on a draw, None last."""
    found = {k for (_, _, k), seeds in self._seeds.items() if seeds != {None}}
    return sorted(found or {None}, key=lambda k: (k is None, k))

  def score(self, trial: Trial) -> float:
    """Balanced accuracy of a trial: the mean over classes of their recall."""
    if trial not in self._scores:
      target = self.targets[trial.target]
      made = metrics.balanced_accuracy(
        target.answers.tolist(), self.predictions[trial].tolist()
      )
      self._scores[trial] = made["balanced_accuracy"]
    return self._scores[trial]

  def only_answer(self, trial: Trial) -> str | None:
    """The label that a trial gave to every example, if there is one."""
    found = np.unique(self.predictions[trial])
    if found.size > 1:
      return None
    number = int(found[0])
    labels = self.targets[trial.target].labels
    return "(no label)" if number == NO_LABEL else labels[number]

  def rows(self) -> list[dict]:
    """One dict per trial: method, k, target, related, seed, score, examples."""
    return [
      {
        "method": trial.method,
        "k": trial.shots,
        "target": trial.target,
        "related": self.targets[trial.target].related,
        "seed": trial.seed,
        "score": self.score(trial),
        "examples": int(self.targets[trial.target].answers.size),
      }
      for trial in self.predictions
    ]

  def merge(self, other: "Outcomes"):
    """Adds the targets and trials of others, whose targets must be equal.

    Raises:
      ValueError: a target has other labels or examples, or a trial is there
        already.
    """
    for name, target in other.targets.items():
      known = self.targets.setdefault(name, target)
      same = known.labels == target.labels and np.array_equal(
        known.answers, target.answers
      )
      if not same:
        raise ValueError(
          f"the target {name!r} has other labels or test examples in one file"
          " than in another; answer it again"
        )
    for trial, predictions in other.predictions.items():
      self.add(trial, predictions)

  def save(self, folder):
    """Writes `outcomes.json` into a folder, with its digest."""
    fields = {
      "targets": {
        name: {
          "labels": list(target.labels),
          "answers": target.answers.tolist(),
          "related": target.related,
        }
        for name, target in self.targets.items()
      },
      "trials": [
        {**dataclasses.asdict(trial), "predictions": answers.tolist()}
        for trial, answers in self.predictions.items()
      ],
    }
    text = json.dumps(digests.seal(fields), separators=(",", ":"))
    files.write_text(epath.Path(folder) / FILE, text + "\n")

  @classmethod
  def load(cls, path) -> "Outcomes":
    """Reads `outcomes.json`, or a folder that has it.

    Raises:
      FileNotFoundError: there is none.
      ValueError: the file is damaged.
    """
    path = epath.Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.exists():
      raise FileNotFoundError(f"no file {path}")
    fields = digests.read_sealed(path, "the answers of methods")
    try:
      made = cls({k: Target(**v) for k, v in fields["targets"].items()})
      for trial in fields["trials"]:
        trial = dict(trial)
        predictions = trial.pop("predictions")
        made.add(Trial(**trial), predictions)
    except (KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"{path} does not describe the answers of methods: {error!r:.200}"
      ) from error
    return made
