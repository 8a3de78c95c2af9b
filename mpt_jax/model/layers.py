"""The layers of T5, with t5x's parameter names and logical axes.

Shapes use the letters B batch, L (encoder) or T (decoder) length, D emb_dim,
H num_heads, K head_dim.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.partitioning import param_with_axes
from jax import lax

from mpt_jax.model.cpu import segment_attention, target_attention

# What a masked position gets added before the softmax. Finite, so that a row
# in which everything is masked (padding) gives a uniform softmax and not NaN.
MASKED = segment_attention.MASKED

_kernel_init = nn.initializers.variance_scaling(
  1.0, "fan_in", "truncated_normal"
)
# T5 does not divide the attention logits by sqrt(head_dim): the factor is in
# the initialisation of the query kernel (Raffel et al., 2020, and Mesh TF).
_bias_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class Dense(nn.Module):
  """A linear map without a bias: [..., in] -> [..., features].

  Attributes:
    features: size of the output's last axis.
    axes: logical names of the kernel's two axes.
    dtype: dtype of the product; the kernel is stored as float32.
    init_scale: factor on the kernel's initialisation.
  """

  features: int
  axes: tuple[str, str]
  dtype: jnp.dtype = jnp.float32
  init_scale: float = 1.0

  @nn.compact
  def __call__(self, x):
    kernel = param_with_axes(
      "kernel",
      lambda key, shape, dtype: (
        self.init_scale * _kernel_init(key, shape, dtype)
      ),
      (x.shape[-1], self.features),
      jnp.float32,
      axes=self.axes,
    )
    return x.astype(self.dtype) @ kernel.astype(self.dtype)


class RMSNorm(nn.Module):
  """T5's layer norm: scaled by the root mean square, no mean, no bias."""

  dtype: jnp.dtype = jnp.float32
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x):
    scale = param_with_axes(
      "scale",
      nn.initializers.ones,
      (x.shape[-1],),
      jnp.float32,
      axes=("embed",),
    )
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(lax.square(x), axis=-1, keepdims=True)
    y = x * lax.rsqrt(mean_square + self.epsilon)
    scale = jnp.expand_dims(scale, tuple(range(x.ndim - 1)))
    return y.astype(self.dtype) * scale.astype(self.dtype)


class Attention(nn.Module):
  """Multi-head attention over keys and values that are projected apart.

  Keys and values come from `keys_values`, so that cached decoding can project
  the encoder's output once and append one position at a time.
  """

  num_heads: int
  head_dim: int
  emb_dim: int
  dropout_rate: float = 0.0
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    features = self.num_heads * self.head_dim
    dense = lambda axes, features, scale=1.0: Dense(
      features, axes=axes, dtype=self.dtype, init_scale=scale
    )
    self.query = dense(("embed", "joined_kv"), features, self.head_dim**-0.5)
    self.key = dense(("embed", "joined_kv"), features)
    self.value = dense(("embed", "joined_kv"), features)
    self.out = dense(("joined_kv", "embed"), self.emb_dim)
    self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))

  def _split_heads(self, x):
    x = x.reshape(*x.shape[:-1], self.num_heads, self.head_dim)
    return jnp.swapaxes(x, -2, -3)  # [B, H, L, K]

  def keys_values(self, x):
    """Projects [B, L, D] to keys and values, both [B, H, L, K]."""
    return self._split_heads(self.key(x)), self._split_heads(self.value(x))

  def __call__(self, x, keys, values, bias, deterministic=True):
    """Attends from x [B, T, D] to keys and values [B, H, L, K].

    Args:
      x: [B, T, D] where the queries come from.
      keys: [B, H, L, K].
      values: [B, H, L, K].
      bias: broadcastable to [B, H, T, L], float32: position bias plus mask.
      deterministic: no dropout of the attention weights.

    Returns:
      [B, T, D].
    """
    queries = self._split_heads(self.query(x))  # [B, H, T, K]
    scores = jnp.einsum(
      "bhqk,bhlk->bhql", queries, keys, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores + bias, axis=-1).astype(self.dtype)
    weights = self.dropout(weights, deterministic=deterministic)
    y = jnp.einsum("bhql,bhlk->bhqk", weights, values)
    y = jnp.swapaxes(y, -2, -3)
    return self.out(y.reshape(*y.shape[:-2], self.num_heads * self.head_dim))

  def within_segments(self, x, bias, segments):
    """Self-attention of packed rows, one segment after the other.

    Args:
      x: [B, L, D].
      bias: [1, H, C, C] float32, C the largest of `segments.sizes`.
      segments: a `segment_attention.Segments`.

    Returns:
      [B, L, D].
    """
    heads = (-1, self.num_heads, self.head_dim)
    y = segment_attention.attend(
      self.query(x).reshape(heads),
      self.key(x).reshape(heads),
      self.value(x).reshape(heads),
      bias[0],
      segments,
    )
    return self.out(y.reshape(*x.shape[:-1], -1))

  def across_segments(self, x, states, pieces):
    """Attention to the states of packed rows, some targets at a time.

    Args:
      x: [B, T, D].
      states: [B', L, D], the encoder's.
      pieces: a `target_attention.Pieces`.

    Returns:
      [B, T, D].
    """
    queries = self._queries_with_keys(x.reshape(-1, x.shape[-1]))
    y = target_attention.attend_across(
      queries, states.reshape(-1, states.shape[-1]), pieces
    )
    return self._values_of_means(y).reshape(x.shape)

  def across_states(self, x, states, bias):
    """Attention of one position a row to states, without keys and values.

    For few positions, one after the other: see `target_attention`.

    Args:
      x: [B, 1, D].
      states: [B, L, D], the encoder's.
      bias: [B, 1, 1, L] float32, the mask.

    Returns:
      [B, 1, D].
    """
    queries = self._queries_with_keys(x[:, 0])
    # The order in which XLA's products are fast with so few queries.
    scores = jnp.einsum(
      "bld,bhd->blh", states, queries, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores + bias[:, 0, 0, :, None], axis=1)
    means = jnp.einsum("blh,bld->bhd", weights.astype(self.dtype), states)
    return self._values_of_means(means)[:, None]

  def _queries_with_keys(self, x):
    """x W_q W_kᵀ by heads: [N, D] -> [N, H, D], to be compared with states."""
    queries = self.query(x).reshape(-1, self.num_heads, self.head_dim)
    return jnp.einsum("nhk,dhk->nhd", queries, self._by_heads(self.key))

  def _values_of_means(self, y):
    """Weighted means of states [N, H, D] -> the attention's output [N, D]."""
    values = jnp.einsum("nhd,dhk->nhk", y, self._by_heads(self.value))
    return self.out(values.reshape(len(y), -1))

  def _by_heads(self, dense):
    """A projection's kernel [D, H, K]."""
    kernel = dense.variables["params"]["kernel"].astype(self.dtype)
    return kernel.reshape(-1, self.num_heads, self.head_dim)


class MlpBlock(nn.Module):
  """T5's feed-forward block.

  With one activation (1.0: relu) `wi`, `wo`; with two (1.1: gelu, linear)
  `wi_0`, `wi_1`, `wo` and the product of both branches.
  """

  mlp_dim: int
  activations: tuple[str, ...]
  dropout_rate: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, deterministic=True):
    product = None
    for i, name in enumerate(self.activations):
      branch = Dense(
        self.mlp_dim,
        axes=("embed", "mlp"),
        dtype=self.dtype,
        name="wi" if len(self.activations) == 1 else f"wi_{i}",
      )(x)
      branch = branch if name == "linear" else getattr(nn, name)(branch)
      product = branch if product is None else product * branch
    product = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))(
      product, deterministic=deterministic
    )
    return Dense(
      x.shape[-1], axes=("mlp", "embed"), dtype=self.dtype, name="wo"
    )(product)


def relative_position_buckets(
  query_length, key_length, *, bidirectional, num_buckets=32, max_distance=128
):
  """T5's buckets of the distance between query and key (host side).

  Half of the buckets are exact distances, the others grow logarithmically up
  to `max_distance`; Raffel et al. (2020), section 2.1, and Mesh TensorFlow's
  `_relative_position_bucket`.

  Args:
    query_length: T.
    key_length: L.
    bidirectional: split the buckets between the two directions (encoder), or
      put all future keys into bucket 0 (decoder).
    num_buckets: rows of the bias table.
    max_distance: from here on all distances share the last bucket.

  Returns:
    [T, L] int32 in [0, num_buckets).

  >>> relative_position_buckets(2, 3, bidirectional=True).tolist()
  [[0, 17, 18], [1, 0, 17]]
  >>> relative_position_buckets(3, 3, bidirectional=False).tolist()
  [[0, 0, 0], [1, 0, 0], [2, 1, 0]]
  """
  distance = np.arange(key_length)[None, :] - np.arange(query_length)[:, None]
  buckets = np.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    buckets += (distance > 0) * num_buckets
    distance = np.abs(distance)
  else:
    distance = np.maximum(-distance, 0)
  num_exact = num_buckets // 2
  # float32 as in the reference implementations: the rounding decides the
  # bucket of distances on a boundary.
  ratio = np.log(
    np.maximum(distance, 1).astype(np.float32) / num_exact
  ) / np.log(max_distance / num_exact)
  coarse = num_exact + (ratio * (num_buckets - num_exact)).astype(np.int32)
  coarse = np.minimum(coarse, num_buckets - 1)
  buckets += np.where(distance < num_exact, distance, coarse)
  return buckets.astype(np.int32)


class RelativePositionBias(nn.Module):
  """The bias of each head for each distance bucket, shared by a stack."""

  num_heads: int
  bidirectional: bool
  num_buckets: int = 32
  max_distance: int = 128

  @nn.compact
  def __call__(self, query_length, key_length):
    """Returns [1, H, T, L] float32."""
    table = param_with_axes(
      "rel_embedding",
      _bias_init,
      (self.num_heads, self.num_buckets),
      jnp.float32,
      axes=("heads", "relpos_buckets"),
    )
    buckets = relative_position_buckets(
      query_length,
      key_length,
      bidirectional=self.bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    return table.astype(jnp.float32)[:, buckets][None]


class Embed(nn.Module):
  """The token embedding, which T5 1.0 uses for the logits as well."""

  vocab_size: int
  emb_dim: int
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    self.embedding = param_with_axes(
      "embedding",
      nn.initializers.normal(stddev=1.0),
      (self.vocab_size, self.emb_dim),
      jnp.float32,
      axes=("vocab", "embed"),
    )

  def __call__(self, tokens):
    """[B, L] int -> [B, L, D]."""
    # Loaded parameters may be NumPy arrays, which no tracer can index.
    return jnp.asarray(self.embedding)[tokens].astype(self.dtype)

  def attend(self, x):
    """[B, T, D] -> logits [B, T, V], float32."""
    return jnp.einsum(
      "btd,vd->btv",
      x,
      self.embedding.astype(x.dtype),
      preferred_element_type=jnp.float32,
    )
