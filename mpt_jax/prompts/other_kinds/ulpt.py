"""Ultra-low-dimensional prompt tuning: codes that a random matrix widens.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank.
"""

import jax.numpy as jnp
import numpy as np

from mpt_jax.prompts.kind import EMBED, LENGTH, RANK, SLOTS, Kind, Leaf


class UltraLowDimensionalPrompt(Kind):
  """P_k = (Z_k B) ∘ s_k + b_k: ULPT, Wu et al. (2025), arXiv 2502.04501.

  `prompt_codes` [N, P, R] is Z, `prompt_scale` [N, D] is s and `prompt_shift`
  [N, D] is b. B [R, D] is random, the same for all slots, and does not train;
  see `random_basis`. With the paper's rank of 64, T5-Base trains
  100·64 + 2·768 = 7,936 numbers per task, with a rank of 2 1,736.
  """

  name = "ulpt"
  leaves = {
    "prompt_codes": Leaf((SLOTS, LENGTH, RANK), "learning_rate"),
    "prompt_scale": Leaf((SLOTS, EMBED), "learning_rate"),
    "prompt_shift": Leaf((SLOTS, EMBED), "learning_rate"),
  }
  default_rank = 64

  def compose(self, params, groups):
    del groups
    codes, scale, shift = (jnp.asarray(params[name]) for name in self.leaves)
    basis = random_basis(codes.shape[-1], scale.shape[-1])
    wide = jnp.matmul(codes, basis, precision="highest")
    return wide * scale[:, None] + shift[:, None]

  def bound(self, params, groups):
    del groups
    codes, scale, shift = (jnp.abs(params[name]) for name in self.leaves)
    basis = random_basis(codes.shape[-1], scale.shape[-1])
    wide = jnp.max(codes, axis=1) @ np.abs(basis).max(axis=1)
    return wide * jnp.max(scale, axis=1) + jnp.max(shift, axis=1)

  def start(self, rows, sizes, key):
    """The mean of `rows`, and the codes that come nearest to what it lacks.

    s is 1, b the mean, and Z the least-squares solution. This start is ours: it
    depends on `rows` alone, so all starts of a slot work.
    """
    del key
    shift = jnp.mean(rows, axis=0)
    basis = random_basis(sizes[RANK], rows.shape[1])
    return {
      "prompt_codes": (rows - shift[None]) @ np.linalg.pinv(basis),
      "prompt_scale": jnp.ones_like(shift),
      "prompt_shift": shift,
    }


def random_basis(rank: int, emb_dim: int) -> np.ndarray:
  """Returns B [R, D] float32, normal with variance 1/R, always the same.

  The variance of Z B is then that of Z, for any rank.
  """
  drawn = np.random.RandomState(0).normal(size=(rank, emb_dim))
  return (drawn / np.sqrt(rank)).astype(np.float32)
