"""What a page shows: data alone, without files and without HTML.

The readers make it from the files of runs, and each section is a function of a
part of it.
"""

import dataclasses
from collections.abc import Mapping

from mpt_jax.judgement.verdicts import Comparison

# Stands in the place of a target for the mean over all targets.
MEAN = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """One measured number.

  Attributes:
    method: name of the method.
    target: name of the task.
    shots: training examples of each class, None for all.
    seed: the draw of these examples; None if the method does not use them.
    value: the score, in the unit of the results that it belongs to.
    examples: number of test examples, None if it is not known.
  """

  method: str
  target: str
  shots: int | None
  seed: int | None
  value: float
  examples: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A method on a target, or its mean over all targets.

  Attributes:
    mean: mean over draws.
    interval: ends of the 95 % interval; None if it cannot be computed.
    draws: (seed, score) of each draw; empty if they are not known.
    constant: number of draws that gave one label to every example.
  """

  mean: float
  interval: tuple[float, float] | None = None
  draws: tuple[tuple[int | None, float], ...] = ()
  constant: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """A variant minus its method, in the unit of the results."""

  mean: float
  interval: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdicts:
  """The main method against others, on some targets.

  Attributes:
    title: which targets and how many examples, "" if there is no choice.
    sentences: one for each pair.
    comparisons: what the sentences say, in numbers.
  """

  title: str
  sentences: tuple[str, ...] = ()
  comparisons: tuple[Comparison, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
  """The scores of methods on targets.

  Attributes:
    title: what they are, such as "Target tasks".
    metric: name of the metric for people.
    methods: in the order in which they are shown.
    targets: in their order.
    shots: numbers of shots, None last.
    cells: {(method, target or MEAN, shots): Cell}; missing ones are left out.
    main: the method that the page is about.
    digits: digits after the point; with 1, scores are in percent.
    related: targets whose skill a source task shares; None if it is not known.
    examples: {target: number of test examples}.
    names: {method: its name for people}.
    parameters: {method: trained parameters of a task}.
    differences: {(variant of the main method, shots): Difference}.
    published: {(method, target or MEAN): the published score}.
    verdicts: sentences about pairs of methods.
    how: how the intervals were computed, "" if there are none.
    notes: what else a reader has to know.
    average: heading of the mean over targets.
  """

  title: str
  metric: str
  methods: tuple[str, ...]
  targets: tuple[str, ...]
  shots: tuple[int | None, ...]
  cells: Mapping[tuple[str, str, int | None], Cell]
  main: str
  digits: int = 1
  related: frozenset[str] | None = None
  examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
  names: Mapping[str, str] = dataclasses.field(default_factory=dict)
  parameters: Mapping[str, float] = dataclasses.field(default_factory=dict)
  differences: Mapping[tuple[str, int | None], Difference] = dataclasses.field(
    default_factory=dict
  )
  published: Mapping[tuple[str, str], float] = dataclasses.field(
    default_factory=dict
  )
  verdicts: tuple[Verdicts, ...] = ()
  how: str = ""
  notes: tuple[str, ...] = ()
  average: str = "mean"

  def name(self, method: str) -> str:
    return self.names.get(method, method)

  def form(self, value: float) -> str:
    """A score as a page shows it."""
    return f"{value:.{self.digits}f}".replace("-", "−")

  def shown_shots(self, wanted: int | None = None) -> int | None:
    """The number of shots that pictures of targets show.

    Args:
      wanted: the reader's wish, which counts if there are such scores; else it
        is 16, or the largest number.
    """
    for shots in (wanted, 16):
      if shots is not None and shots in self.shots:
        return shots
    return self.shots[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
  """A value over the steps of a run, for one slot.

  Attributes:
    name: the slot's name.
    method: its label, "" if it has none.
    points: (step, value) pairs, in their order.
  """

  name: str
  method: str
  points: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """What a run of training has logged.

  Attributes:
    name: the run's name on the page.
    metric: the name of the score.
    digits: digits after the point of a score; with 1, it is in percent.
    loss: the mean loss over the steps, named "mean".
    score: the mean score over the steps.
    losses: the loss of each slot.
    scores: the score of each slot.
    steps: steps done.
    total_steps: steps that the run is to do.
    settings: {name: value} that tell runs apart, with dots in the names.
  """

  name: str
  metric: str
  loss: Curve
  score: Curve
  losses: tuple[Curve, ...] = ()
  scores: tuple[Curve, ...] = ()
  digits: int = 1
  steps: int = 0
  total_steps: int | None = None
  settings: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """A test example and what a method answered.

  Attributes:
    text: the example.
    truth: the right answer.
    answer: the method's.
    probability: how sure it was, None if that is not known.
  """

  text: str
  truth: str
  answer: str
  probability: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
  """Right and wrong answers of a method on a target.

  Attributes:
    target: name of the task.
    method: the method, its shots and its draw, for people.
    right: right answers.
    wrong: wrong answers.
    order: how they were chosen.
  """

  target: str
  method: str
  right: tuple[Answer, ...]
  wrong: tuple[Answer, ...]
  order: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confusion:
  """How often each class was taken for which one.

  Attributes:
    target: name of the task.
    method: the method, for people.
    labels: the classes.
    answers: the columns: the classes, and perhaps "(no label)".
    counts: [labels][answers] numbers of examples: true class, answer.
  """

  target: str
  method: str
  labels: tuple[str, ...]
  answers: tuple[str, ...]
  counts: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompts:
  """The prompts of a bank: names, and [N, P, D] floats."""

  names: tuple[str, ...]
  composed: object


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
  """Everything that a page shows of one run.

  Attributes:
    name: the run's name, which tells it apart from others.
    kind: what it is, such as "training run".
    title: the heading of its page.
    notes: what is missing, and what its writer has to say.
    results: its scores.
    views: other ways to look at the methods of the first results.
    trainings: the runs of training in it.
    answers: right and wrong answers.
    confusions: confusion by class.
    prompts: its prompts, None if they are not shown.
    facts: (name, value) pairs of what was run.
    data: (task, where it is from and its licence) pairs.
    config: the launcher's configuration, "" if there is none.
    commands: shell commands to go on with.
  """

  name: str
  kind: str
  title: str
  notes: tuple[str, ...] = ()
  results: tuple[Results, ...] = ()
  views: tuple[Results, ...] = ()
  trainings: tuple[Training, ...] = ()
  answers: tuple[Answers, ...] = ()
  confusions: tuple[Confusion, ...] = ()
  prompts: Prompts | None = None
  facts: tuple[tuple[str, object], ...] = ()
  data: tuple[tuple[str, str], ...] = ()
  config: str = ""
  commands: tuple[str, ...] = ()
