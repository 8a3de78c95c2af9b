"""Residual prompt tuning: a prompt that goes through a small network.

Axis letters: P prompt_length, D emb_dim, N num_slots, R rank.
"""

import jax
import jax.numpy as jnp

from mpt_jax.prompts.kind import EMBED, LENGTH, RANK, SLOTS, Kind, Leaf

# That of PyTorch's LayerNorm.
_EPSILON = 1e-5


class ResidualPrompt(Kind):
  """P_k = E_k + MLP_k(E_k): Razdaibiedina et al. (2023), arXiv 2305.03937.

  MLP(x) = LayerNorm(W_up relu(W_down x + c_down) + c_up) maps each row of a
  prompt by itself, and all rows of a prompt share it. It serves training alone:
  a merged prompt is the sum, [P, D], as of any other kind.

  The rank is the width of the bottleneck, 400 in the paper. T5-Large then
  trains 100·1024 + 2·1024·400 + 400 + 3·1024 = 925,072 numbers per task, which
  is the 925K that Xiao et al. (2023) count, and T5-Base 693,904.
  """

  name = "residual"
  leaves = {
    "residual_prompt": Leaf((SLOTS, LENGTH, EMBED), "learning_rate"),
    "mlp_down": Leaf((SLOTS, EMBED, RANK), "factor_learning_rate"),
    "mlp_down_bias": Leaf((SLOTS, RANK), "factor_learning_rate"),
    "mlp_up": Leaf((SLOTS, RANK, EMBED), "factor_learning_rate"),
    "mlp_up_bias": Leaf((SLOTS, EMBED), "factor_learning_rate"),
    "mlp_norm_scale": Leaf((SLOTS, EMBED), "factor_learning_rate"),
    "mlp_norm_shift": Leaf((SLOTS, EMBED), "factor_learning_rate"),
  }
  default_rank = 400

  def compose(self, params, groups):
    del groups
    rows, down, down_bias, up, up_bias, scale, shift = (
      jnp.asarray(params[name]) for name in self.leaves
    )
    x = jax.nn.relu(_linear(rows, down, down_bias))
    x = _linear(x, up, up_bias)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    x = x * jax.lax.rsqrt(variance + _EPSILON)
    return rows + x * scale[:, None] + shift[:, None]

  def start(self, rows, sizes, key):
    """`rows` themselves, and a network whose output is 0.

    The matrices are uniform in ±1/√(their inputs), as PyTorch's. The scale of
    the norm is 0, so that the prompt is the one that `Slot.init` names; at
    PyTorch's 1, every number would start one standard deviation off.
    """
    rank, emb_dim = sizes[RANK], sizes[EMBED]
    down, up = jax.random.split(key)
    nothing = jnp.zeros((emb_dim,))
    return {
      "residual_prompt": rows,
      "mlp_down": _uniform(down, (emb_dim, rank)),
      "mlp_down_bias": jnp.zeros((rank,)),
      "mlp_up": _uniform(up, (rank, emb_dim)),
      "mlp_up_bias": nothing,
      "mlp_norm_scale": nothing,
      "mlp_norm_shift": nothing,
    }


def _linear(x, kernel, bias):
  return jnp.matmul(x, kernel, precision="highest") + bias[:, None]


def _uniform(key, shape):
  limit = shape[0] ** -0.5
  return jax.random.uniform(key, shape, minval=-limit, maxval=limit)
