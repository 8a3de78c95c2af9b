"""DPT: the prompt U V."""

import numpy as np
import pytest

from mpt_jax.prompts.kind import RANK
from mpt_jax.prompts.other_kinds.dpt import DecomposedPrompt


def test_the_prompt_by_hand():
  params = {
    "prompt_left": np.array([[[1.0, 2.0], [0.0, -1.0]]]),
    "prompt_right": np.array([[[1.0, 0.0, 3.0], [10.0, 20.0, 30.0]]]),
  }
  # (1, 0, 3) + 2 (10, 20, 30) and -(10, 20, 30).
  expected = [[[21.0, 40.0, 63.0], [-10.0, -20.0, -30.0]]]
  assert DecomposedPrompt().compose(params, (0,)).tolist() == expected


def test_a_slot_starts_at_the_nearest_product():
  rows = np.random.default_rng(0).normal(size=(6, 10)).astype("f4")
  made = DecomposedPrompt().start(rows, {RANK: 2}, None)
  # Eckart and Young: what is left out are the last singular values.
  left_out = np.linalg.svd(rows, compute_uv=False)[2:]
  error = np.sum((rows - made["prompt_left"] @ made["prompt_right"]) ** 2)
  np.testing.assert_allclose(error, np.sum(left_out**2), rtol=1e-4)
  # Both factors of a singular value have one root mean square.
  np.testing.assert_allclose(
    np.mean(np.square(made["prompt_left"]), axis=0),
    np.mean(np.square(made["prompt_right"]), axis=1),
    rtol=1e-4,
  )


def test_a_rank_that_no_prompt_has_is_refused():
  with pytest.raises(ValueError, match="rank=7 .* 6 rows .* at most 6"):
    DecomposedPrompt().start(np.ones((6, 10), "f4"), {RANK: 7}, None)
