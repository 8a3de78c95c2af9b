"""Residual prompt tuning: E + MLP(E), compared with PyTorch's layers."""

import jax
import numpy as np
import torch
from prompt_fixtures import random_params

from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kind import EMBED, RANK
from mpt_jax.prompts.other_kinds.residual import ResidualPrompt


def test_the_prompt_is_that_of_pytorchs_layers():
  config = PromptConfig(
    num_slots=2, prompt_length=3, rank=4, kind="residual", groups=(0, 1)
  )
  params = random_params(config, 6)
  made = ResidualPrompt().compose(params, (0, 1))
  for k in range(2):
    own = {name: torch.tensor(array[k]) for name, array in params.items()}
    rows = own["residual_prompt"]
    x = torch.nn.functional.linear(
      rows, own["mlp_down"].T, own["mlp_down_bias"]
    )
    x = torch.nn.functional.linear(
      torch.relu(x), own["mlp_up"].T, own["mlp_up_bias"]
    )
    x = torch.nn.functional.layer_norm(
      x, (6,), own["mlp_norm_scale"], own["mlp_norm_shift"]
    )
    expected = (rows + x).numpy()
    np.testing.assert_allclose(made[k], expected, rtol=1e-4, atol=1e-5)


def test_a_row_of_equal_numbers_is_finite():
  config = PromptConfig(num_slots=1, prompt_length=3, rank=4, kind="residual")
  params = random_params(config, 6)
  params["mlp_up"][:] = 0
  params["mlp_up_bias"][:] = 1e4
  assert np.isfinite(ResidualPrompt().compose(params, (0,))).all()


def test_a_slot_starts_exactly_where_it_should_and_can_move():
  rows = np.random.default_rng(0).normal(size=(3, 6)).astype("f4")
  kind = ResidualPrompt()
  made = kind.start(rows, {RANK: 4, EMBED: 6}, jax.random.key(1))
  bank = {name: array[None] for name, array in made.items()}
  np.testing.assert_array_equal(kind.compose(bank, (0,))[0], rows)
  assert np.abs(made["mlp_down"]).max() <= 6**-0.5
  assert np.abs(made["mlp_up"]).max() <= 4**-0.5
  # Two steps: the norm's scale leaves 0, and then the matrices have a gradient.
  weights = np.random.default_rng(2).normal(size=(3, 6)).astype("f4")
  gradient = jax.grad(lambda p: (kind.compose(p, (0,))[0] * weights).sum())
  assert np.abs(gradient(bank)["mlp_norm_scale"]).max() > 0.1
  bank["mlp_norm_scale"] += 0.1
  assert np.abs(gradient(bank)["mlp_down"]).max() > 1e-3
