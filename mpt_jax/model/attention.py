"""Multi-head attention, and the masks of packed rows.

Shapes use the letters B batch, L (encoder) or T (decoder) length, D emb_dim,
H num_heads, K head_dim.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpt_jax.model.layers import Linear

# Added to the scores of masked positions before the softmax. It is finite, so a
# row whose positions are all masked (padding) gets a uniform softmax, not NaN.
MASKED = -1e10
# Gradients from here on count as not finite. Their squares, and sums of their
# products with anything in a T5, still fit into float32.
LARGEST_GRADIENT = 2.0**60


@jax.custom_vjp
def bound_gradient(x):
  """Returns x, and passes on only gradients below `LARGEST_GRADIENT`.

  Attention multiplies the gradients of all positions of a row by the weights of
  masked positions, which are 0. If the gradient of one example overflows, the
  product 0 · ∞ would make the gradients of the other examples NaN. The example
  itself keeps its gradient, through the residual connection.
  """
  return x


def _bound(_, gradient):
  bounded = jnp.abs(gradient) < LARGEST_GRADIENT
  return (jnp.where(bounded, gradient, 0),)


bound_gradient.defvjp(lambda x: (x, None), _bound)


class Attention(nn.Module):
  """The projections of multi-head attention, and the attention itself.

  `keys_values` computes keys and values separately. Cached decoding can then
  project the encoder's output once and append one position at a time.
  """

  num_heads: int
  head_dim: int
  emb_dim: int
  dropout_rate: float = 0.0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    features = self.num_heads * self.head_dim

    def linear(axes, features, scale=1.0):
      return Linear(features, axes=axes, dtype=self.dtype, init_scale=scale)

    # T5 does not divide the scores by sqrt(head_dim): the factor is in the
    # initialisation of the query kernel (Raffel et al., 2020, and Mesh TF).
    self.query = linear(("embed", "joined_kv"), features, self.head_dim**-0.5)
    self.key = linear(("embed", "joined_kv"), features)
    self.value = linear(("embed", "joined_kv"), features)
    self.out = linear(("joined_kv", "embed"), self.emb_dim)
    self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))

  def _split_heads(self, x):
    x = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return jnp.swapaxes(x, -2, -3)  # [B, H, L, K]

  def queries(self, x):
    """Projects [B, T, D] to queries [B, H, T, K]."""
    return self._split_heads(self.query(x))

  def keys_values(self, x):
    """Projects [B, L, D] to keys and values, both [B, H, L, K]."""
    return self._split_heads(self.key(x)), self._split_heads(self.value(x))

  def output(self, y):
    """Projects the heads' means of values, [B, H, T, K], to [B, T, D]."""
    y = jnp.swapaxes(y, -2, -3)
    return self.join(y.reshape(*y.shape[:-2], self.num_heads * self.head_dim))

  def join(self, y):
    """Projects [..., H·K] to [..., D]; see `bound_gradient`."""
    return bound_gradient(self.out(y))

  def __call__(self, x, keys, values, bias, deterministic=True):
    """Attends from x [B, T, D] to keys and values [B, H, L, K].

    Args:
      x: [B, T, D], the input of the query projection.
      keys: [B, H, L, K].
      values: [B, H, L, K].
      bias: broadcastable to [B, H, T, L], float32: position bias plus mask.
      deterministic: apply no dropout to the attention weights.

    Returns:
      [B, T, D].
    """
    scores = jnp.einsum(
      "bhqk,bhlk->bhql",
      self.queries(x),
      keys,
      preferred_element_type=jnp.float32,
    )
    weights = jax.nn.softmax(scores + bias, axis=-1).astype(self.dtype)
    weights = self.dropout(weights, deterministic=deterministic)
    return self.output(jnp.einsum("bhql,bhlk->bhqk", weights, values))


def segment_mask(query_segments, key_segments):
  """Lets each position attend to the positions of its own segment.

  Args:
    query_segments: [B, T] int.
    key_segments: [B, L] int; 0 is padding, which is always masked.

  Returns:
    [B, 1, T, L] float32 to be added to scores: 0 where attention is allowed,
    else `MASKED`.

  >>> ids = jnp.array([[1, 2, 2, 0]])
  >>> (segment_mask(ids, ids)[0, 0] == 0).astype(int).tolist()
  [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
  """
  same = query_segments[:, :, None] == key_segments[:, None, :]
  mask = same & (key_segments > 0)[:, None, :]
  return jnp.where(mask, 0.0, MASKED)[:, None]


def causal_mask(length):
  """Lets each position attend to itself and to earlier positions.

  Args:
    length: T.

  Returns:
    [1, 1, T, T] float32, like `segment_mask`.

  >>> (causal_mask(3)[0, 0] == 0).astype(int).tolist()
  [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
  """
  allowed = jnp.tril(jnp.ones((length, length), bool))
  return jnp.where(allowed, 0.0, MASKED)[None, None]
