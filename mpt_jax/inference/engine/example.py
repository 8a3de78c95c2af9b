"""What the engine takes, and the error of an example without an answer.

Axis letters: L length, N prompts, P prompt_length, D emb_dim, S tokens whose
embeddings are added to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

METHODS = ("auto", "rank", "rank_per_token", "decode")


class Example(NamedTuple):
  """An input of the engine.

  Attributes:
    inputs: [L] int token ids with the end of sequence, without the prompt.
    prompt: the prompt before it: its index in [0, N), or the prompt itself,
      [P + S, D] float32.
    candidates: for ranking, the token ids of each candidate with the end of
      sequence.
  """

  inputs: np.ndarray
  prompt: int | np.ndarray = 0
  candidates: Sequence[np.ndarray] = ()


class NotFiniteError(ValueError):
  """The T5 gave scores that are not finite numbers.

  Attributes:
    index: the index of the example.
  """

  def __init__(self, index: int, name: str | None = None):
    """Makes the error.

    Args:
      index: the index of the example.
      name: what the user calls the example.
    """
    super().__init__(
      f"{name or f'example {index}'}: the scores are not finite numbers. The T5"
      " and the prompts are finite, but their products are too large; try dtype"
      " float32 (--dtype float32), or prompts of an earlier step"
    )
    self.index = index
