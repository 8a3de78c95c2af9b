"""What a user may say to `mpt fit`, and what it settles itself."""

import dataclasses
import functools

from mpt_jax.data.in_memory.row_task import KINDS
from mpt_jax.io import checks

SCRATCH = "scratch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
  """The settings of `mpt fit`; None and () are for what it finds out.

  Attributes:
    text: the columns of the input, one or several (a pair).
    label: the column of the target.
    kind: "labels" for classes, "number" for a number between bounds, "text" for
      a text to generate.
    template: the input text with columns in braces, in place of `text`.
    metric: a name in `data.metrics.METRICS` that selects the best step and is
      the score.
    start: "scratch", or a run folder or prompt file to start from: P* and the
      mean of the factors of a distilled bank, or the best of plain prompts.
    share: several tasks share one P*.
    teachers: the run whose prompts teach the shared P*, see `stages.distill`.
    tune: train with three learning rates side by side and keep the best.
    backbone: "default", the folder of a T5 or its name on the hub.
    steps: the most steps.
    learning_rate: the learning rate of the prompts.
    prompt_length: P.
    inputs_length: the longest input in tokens; longer ones are cut.
    batch_size: examples of a batch and task.
    seed: seed of the held-out rows, the start and the order of examples.
  """

  text: tuple[str, ...] = ()
  label: str | None = None
  kind: str | None = None
  template: str | None = None
  metric: str | None = None
  start: str = SCRATCH
  share: bool = False
  teachers: str | None = None
  tune: bool = False
  backbone: str = "default"
  steps: int | None = None
  learning_rate: float | None = None
  prompt_length: int | None = None
  inputs_length: int | None = None
  batch_size: int | None = None
  seed: int = 0

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    if isinstance(self.text, str):
      object.__setattr__(self, "text", (self.text,))
    names = dict(of=checks.text, what="names of columns", empty=True)
    check(checks.sequence, "text", **names)
    optional = ("label", "template", "metric")
    check(checks.text, *optional, optional=True)
    check(checks.choice, "kind", choices=KINDS, optional=True)
    check(checks.path, "start", "backbone")
    check(checks.path, "teachers", optional=True)
    check(checks.flag, "share", "tune")
    sizes = ("steps", "prompt_length", "inputs_length", "batch_size")
    check(checks.whole, *sizes, low=1, optional=True)
    check(checks.number, "learning_rate", above=0, optional=True)
    check(checks.seed, "seed")
    if self.text and self.template:
      raise ValueError("FitConfig.text and FitConfig.template exclude another")
