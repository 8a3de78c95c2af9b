"""ULPT: the prompt (Z B) ∘ s + b."""

import numpy as np

from mpt_jax.prompts.kind import RANK
from mpt_jax.prompts.other_kinds import ulpt


def test_the_prompt_is_the_formula():
  rng = np.random.default_rng(1)
  codes, scale, shift = (
    rng.normal(size=shape).astype("f4") for shape in ((2, 4, 3), (2, 6), (2, 6))
  )
  basis = ulpt.random_basis(3, 6)
  made = ulpt.UltraLowDimensionalPrompt().compose(
    {"prompt_codes": codes, "prompt_scale": scale, "prompt_shift": shift},
    (0, 1),
  )
  for k in range(2):
    for row in range(4):
      wide = sum(codes[k, row, r] * basis[r] for r in range(3))
      expected = wide * scale[k] + shift[k]
      np.testing.assert_allclose(made[k, row], expected, rtol=1e-4, atol=1e-5)


def test_the_basis_never_changes():
  basis = ulpt.random_basis(2, 3)
  # The first numbers of NumPy's RandomState(0), by √2. NumPy promises them.
  first = [1.764052345967664, 0.4001572083672233, 0.9787379841057392]
  np.testing.assert_allclose(basis[0] * np.sqrt(2), first, rtol=1e-6)
  large = ulpt.random_basis(64, 768)
  np.testing.assert_allclose(np.var(large), 1 / 64, rtol=0.02)


def test_a_slot_starts_at_the_nearest_codes():
  rows = np.random.default_rng(0).normal(size=(4, 10)).astype("f4")
  kind = ulpt.UltraLowDimensionalPrompt()

  def start(rank):
    made = kind.start(rows, {RANK: rank}, None)
    bank = {name: array[None] for name, array in made.items()}
    return made, np.asarray(kind.compose(bank, (0,)))[0]

  made, prompt = start(3)
  np.testing.assert_allclose(made["prompt_shift"], rows.mean(0), atol=1e-6)
  # Least squares: what is missing is orthogonal to the basis.
  missing = (rows - prompt) @ ulpt.random_basis(3, 10).T
  np.testing.assert_allclose(missing, 0, atol=1e-5)
  # As many codes as numbers give every prompt.
  np.testing.assert_allclose(start(10)[1], rows, atol=1e-4)
