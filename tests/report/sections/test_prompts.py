"""Similarity of the prompts of a bank."""

import numpy as np
import pytest
from report_pages import Checker

from mpt_jax.report.material import Prompts
from mpt_jax.report.sections import prompts


def test_similarity_takes_the_mean_off():
  base = np.full((3, 2, 4), 5.0)
  base[0, 0, 0] += 1.0
  base[1, 0, 0] -= 1.0  # The opposite of slot 0; slot 2 is their mean.
  expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
  np.testing.assert_allclose(prompts.similarity(base), expected, atol=1e-9)
  assert prompts.similarity(base, centred=False).min() > 0.9
  with pytest.raises(ValueError, match="num_slots, prompt_length"):
    prompts.similarity(base[0])
  made = prompts.similarities(Prompts(names=("a", "b<", "c"), composed=base))
  (table,) = Checker(made.body).tables
  assert table[1] == ["a", "1.00", "−1.00", "0.00"]
  assert table[0][2] == "b<" and "b<" not in made.body


@pytest.mark.parametrize("num", [1, 2, 13])
def test_few_or_many_prompts_have_no_table(num):
  names = tuple(map(str, range(num)))
  bank = Prompts(names=names, composed=np.ones((num, 2, 2)))
  assert prompts.similarities(bank) is None
  assert prompts.similarities(None) is None
