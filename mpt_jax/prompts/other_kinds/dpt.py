"""Decomposed prompt tuning: a prompt of low rank.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank.
"""

import jax.numpy as jnp

from mpt_jax.prompts.kind import (
  EMBED,
  LENGTH,
  RANK,
  SLOTS,
  Kind,
  Leaf,
  product_bound,
)


class DecomposedPrompt(Kind):
  """P_k = U_k V_k, both trained: DPT, Xiao et al. (2023), arXiv 2310.10094.

  `prompt_left` [N, P, R] is U, `prompt_right` [N, R, D] is V. The paper's rank
  is 10; T5-Base then trains 100·10 + 10·768 = 8,680 numbers per task.
  """

  name = "dpt"
  leaves = {
    "prompt_left": Leaf((SLOTS, LENGTH, RANK), "learning_rate"),
    "prompt_right": Leaf((SLOTS, RANK, EMBED), "learning_rate"),
  }
  default_rank = 10

  def compose(self, params, groups):
    del groups
    return jnp.matmul(
      params["prompt_left"], params["prompt_right"], precision="highest"
    )

  def bound(self, params, groups):
    del groups
    return product_bound(params["prompt_left"], params["prompt_right"])

  def start(self, rows, sizes, key):
    """The product of rank R that is nearest to `rows` (Eckart and Young).

    Both factors of each singular value have the same root mean square, because
    they train with the same rate. This start is ours: the paper draws both at
    random.

    Raises:
      ValueError: no product of [P, D] has such a rank.
    """
    del key
    rank, (length, emb_dim) = sizes[RANK], rows.shape
    if rank > min(rows.shape):
      raise ValueError(
        f"Experiment.rank={rank} is more than a prompt of {length} rows and"
        f" width {emb_dim} can have; choose a rank of at most"
        f" {min(rows.shape)}, or longer prompts"
      )
    left, values, right = jnp.linalg.svd(rows, full_matrices=False)
    root = jnp.sqrt(values[:rank])
    balance = (length / emb_dim) ** 0.25
    return {
      "prompt_left": left[:, :rank] * root[None] * balance,
      "prompt_right": root[:, None] * right[:rank] / balance,
    }
