"""The settings of the quickstart."""

import dataclasses
import functools

from mpt_jax.data.batches import BatchConfig
from mpt_jax.io import checks

BATCH = BatchConfig(
  inputs_length=64, targets_length=6, row_length=160, row_multiple=4
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
  """The settings of the quickstart.

  Attributes:
    backbone: the T5: "default" or a folder.
    sources: source tasks, in the T5's pretraining too.
    targets: tasks of which the T5 has seen neither labels nor texts.
    shots: training examples per class of a target.
    seeds: seeds of the draws of these examples.
    prompt_length: P.
    teach_steps: steps of stage 1.
    distill_steps: steps of stage 2.
    adapt_steps: steps of stage 3.
    teach_examples: examples of each slot in a batch of stage 1.
    adapt_examples: examples of each slot in a batch of stage 3.
    distill_batch: examples of a batch of stage 2.
    test_examples: examples of each task in the tables.
    learning_rate: the learning rate of P*; that of the factors is 4/3 of it.
  """

  backbone: str = "default"
  sources: tuple[str, ...] = (
    "rotten_tomatoes",
    "sarcasm",
    "newsgroups",
    "privacy_policy",
  )
  targets: tuple[str, ...] = ("vader_amazon", "vader_tweets", "bbc_topic")
  shots: tuple[int, ...] = (64,)
  seeds: tuple[int, ...] = (0, 1, 2)
  prompt_length: int = 16
  teach_steps: int = 140
  distill_steps: int = 140
  adapt_steps: int = 80
  teach_examples: int = 12
  adapt_examples: int = 3
  distill_batch: int = 32
  test_examples: int = 300
  learning_rate: float = 0.09

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    check(checks.path, "backbone")
    names = dict(of=checks.text, what="tasks")
    check(checks.sequence, "sources", "targets", **names)
    numbers = dict(what="whole numbers")
    check(checks.sequence, "shots", of=checks.whole, low=1, **numbers)
    check(checks.sequence, "seeds", of=checks.seed, **numbers)
    steps = ("teach_steps", "distill_steps", "adapt_steps")
    sizes = ("teach_examples", "adapt_examples", "distill_batch")
    check(checks.whole, "prompt_length", *steps, *sizes, low=1)
    check(checks.whole, "test_examples", low=1)
    check(checks.number, "learning_rate", low=0)


SHORT = QuickstartConfig(
  seeds=(0, 1),
  shots=(16,),
  teach_steps=12,
  distill_steps=8,
  adapt_steps=8,
  test_examples=48,
)
