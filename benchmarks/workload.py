"""Random examples with the lengths of the paper's six source tasks.

The lengths are approximated, because no data comes with the benchmark. The
lengths of a source's inputs are log-normal around the mean length of its
training inputs in T5's text-to-text form ("mnli hypothesis: ... premise: ..."),
in pieces of T5's vocabulary, the end of sequence included, and are cut at 256
as the paper cuts them. The means are the datasets' mean numbers of words times
1.3 pieces a word plus the template's words:

| source | inputs before the cut | spread σ of the logarithm | targets |
| --- | --- | --- | --- |
| MNLI | 50 (premise 20 words, hypothesis 10) | 0.45 | a label, 2 to 3 |
| QNLI | 62 (question 11 words, sentence 28) | 0.40 | a label, 2 to 3 |
| QQP | 40 (two questions of 11 words) | 0.40 | a label, 2 to 3 |
| SST-2 | 20 (phrases of 9 words) | 0.60 | a label, 2 |
| SQuAD | 185 (paragraph 117 words, question 10) | 0.35 | mean 5, to 16 |
| ReCoRD | 330 (passage 190 words, entities, query) | 0.30 | mean 4, to 16 |

All six are drawn evenly, as the paper draws tasks, which gives a mean of about
100 tokens and, with a prompt of 100 rows, of about 200 positions.
"""

import dataclasses

import numpy as np

from mpt_jax.data.batches import EOS_ID

INPUTS_LENGTH, TARGETS_LENGTH, PROMPT_LENGTH = 256, 16, 100


@dataclasses.dataclass(frozen=True)
class Source:
  """Lengths of a task's examples, in tokens, end of sequence included.

  Attributes:
    name: the task's name.
    mean: mean length of the inputs, before they are cut.
    sigma: standard deviation of the logarithm of that length.
    labels: lengths of its label strings, drawn evenly; empty for free text.
    targets_mean: mean length of free text (log-normal, σ = 0.5).
  """

  name: str
  mean: float
  sigma: float
  labels: tuple[int, ...] = ()
  targets_mean: float = 0.0


SOURCES = (
  Source("mnli", 50, 0.45, labels=(3, 2, 3)),
  Source("qnli", 62, 0.40, labels=(2, 3)),
  Source("qqp", 40, 0.40, labels=(2, 3)),
  Source("sst2", 20, 0.60, labels=(2, 2)),
  Source("squad", 185, 0.35, targets_mean=5.0),
  Source("record", 330, 0.30, targets_mean=4.0),
)


def log_normal(rng, mean, sigma, least, most):
  """A length: log-normal with this mean, rounded and kept in the limits."""
  draw = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma)
  return int(np.clip(round(draw), least, most))


class Workload:
  """An endless, seeded stream of tokenised examples.

  Args:
    vocab_size: V; tokens are drawn evenly from [3, V).
    seed: seed of all draws.
    sources: the tasks to draw from.
    scale: factor on the lengths, below 1 for tests.
  """

  def __init__(self, vocab_size, seed, sources=SOURCES, scale=1.0):
    self.sources = tuple(sources)
    self.inputs_length = max(4, round(INPUTS_LENGTH * scale))
    self._vocab_size, self._scale = vocab_size, scale
    self._rng = np.random.default_rng(seed)

  def _ids(self, length):
    return np.append(
      self._rng.integers(3, self._vocab_size, length - 1, np.int32),
      np.int32(EOS_ID),
    )

  def example(self, slot_id):
    """{"inputs": ids, "targets": ids, "slot_id": int} of one source."""
    source, rng = self.sources[slot_id], self._rng
    length = log_normal(
      rng, source.mean * self._scale, source.sigma, 3, self.inputs_length
    )
    targets_length = (
      int(rng.choice(source.labels))
      if source.labels
      else log_normal(rng, source.targets_mean, 0.5, 2, TARGETS_LENGTH)
    )
    return {
      "inputs": self._ids(length),
      "targets": self._ids(targets_length),
      "slot_id": slot_id,
    }

  def one_prompt_batch(self, batch_size):
    """Examples of all sources, evenly drawn, for a bank of a single prompt."""
    ids = self._rng.integers(0, len(self.sources), batch_size)
    return [{**self.example(i), "slot_id": 0} for i in ids]

  def sampled_batch(self, batch_size):
    """A batch of distillation: K ~ U[2, κ], then K tasks in equal shares.

    It has `batch_size // K * K` examples; see `sampling.task_choices`.
    """
    num = len(self.sources)
    count = int(self._rng.integers(min(2, num), num + 1))
    chosen = self._rng.permutation(num)[:count]
    return [self.example(i) for i in np.repeat(chosen, batch_size // count)]

  def equal_batch(self, per_task):
    """`per_task` examples of each source, for a bank of independent slots."""
    ids = np.repeat(np.arange(len(self.sources)), per_task)
    return [self.example(i) for i in ids]
