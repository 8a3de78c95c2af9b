"""The layers of T5, with t5x's parameter names and logical axes.

Shapes use the letters B batch, L (encoder) or T (decoder) length, D emb_dim,
H num_heads, K head_dim.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.partitioning import param_with_axes
from jax import lax

_kernel_init = nn.initializers.variance_scaling(
  1.0, "fan_in", "truncated_normal"
)
_bias_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")


class Linear(nn.Module):
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
  """T5's layer norm, which divides by the root mean square; it has no bias."""

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


class MlpBlock(nn.Module):
  """T5's feed-forward block.

  With one activation (T5 1.0: relu) it has the kernels `wi` and `wo`. With two
  (T5 1.1: gelu, linear) it has `wi_0`, `wi_1` and `wo`, and `wo` is applied to
  the product of both branches.
  """

  mlp_dim: int
  activations: tuple[str, ...]
  dropout_rate: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x, deterministic=True):
    product = None
    for i, name in enumerate(self.activations):
      branch = Linear(
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
    return Linear(
      x.shape[-1], axes=("mlp", "embed"), dtype=self.dtype, name="wo"
    )(product)


def relative_position_buckets(
  query_length, key_length, *, bidirectional, num_buckets=32, max_distance=128
):
  """Returns T5's buckets of all pairs of positions, on the host.

  Args:
    query_length: T.
    key_length: L.
    bidirectional: see `distance_buckets`.
    num_buckets: see `distance_buckets`.
    max_distance: see `distance_buckets`.

  Returns:
    [T, L] int32 in [0, num_buckets).

  >>> relative_position_buckets(2, 3, bidirectional=True).tolist()
  [[0, 17, 18], [1, 0, 17]]
  >>> relative_position_buckets(3, 3, bidirectional=False).tolist()
  [[0, 0, 0], [1, 0, 0], [2, 1, 0]]
  """
  distances = np.arange(key_length)[None, :] - np.arange(query_length)[:, None]
  return distance_buckets(
    distances,
    bidirectional=bidirectional,
    num_buckets=num_buckets,
    max_distance=max_distance,
  )


def distance_buckets(
  distance, *, bidirectional, num_buckets=32, max_distance=128
):
  """Returns T5's buckets of distances between query and key, on the host.

  Half of the buckets hold one distance each. The others grow logarithmically up
  to `max_distance`; Raffel et al. (2020), section 2.1, and Mesh TensorFlow's
  `_relative_position_bucket`.

  Args:
    distance: NumPy array of int, the key's position minus the query's.
    bidirectional: True splits the buckets between the two directions (encoder);
      False puts all future keys into bucket 0 (decoder).
    num_buckets: rows of the bias table.
    max_distance: all distances from this one on share the last bucket.

  Returns:
    int32 in [0, num_buckets), in the shape of `distance`.
  """
  buckets = np.zeros_like(distance)
  if bidirectional:
    num_buckets //= 2
    buckets += (distance > 0) * num_buckets
    distance = np.abs(distance)
  else:
    distance = np.maximum(-distance, 0)
  num_exact = num_buckets // 2
  # Use float32 like the reference implementations: rounding decides the bucket
  # of a distance on a boundary.
  ratio = np.log(
    np.maximum(distance, 1).astype(np.float32) / num_exact
  ) / np.log(max_distance / num_exact)
  coarse = num_exact + (ratio * (num_buckets - num_exact)).astype(np.int32)
  coarse = np.minimum(coarse, num_buckets - 1)
  buckets += np.where(distance < num_exact, distance, coarse)
  return buckets.astype(np.int32)


class RelativePositionBias(nn.Module):
  """The bias of each head for each bucket of distances."""

  num_heads: int
  bidirectional: bool
  num_buckets: int = 32
  max_distance: int = 128

  def setup(self):
    self.rel_embedding = param_with_axes(
      "rel_embedding",
      _bias_init,
      (self.num_heads, self.num_buckets),
      jnp.float32,
      axes=("heads", "relpos_buckets"),
    )

  def __call__(self, query_length, key_length):
    """Returns [1, H, T, L] float32."""
    queries, keys = np.arange(query_length), np.arange(key_length)
    return self.by_distance(keys[None, :] - queries[:, None])[None]

  def by_distance(self, distances):
    """Returns the bias of distances on the host: int [...] -> [H, ...]."""
    buckets = distance_buckets(
      distances,
      bidirectional=self.bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )
    return self.rel_embedding.astype(jnp.float32)[:, buckets]


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
    """Embeds tokens: [B, L] int -> [B, L, D]."""
    # Loaded parameters may be NumPy arrays, which a tracer cannot index.
    return jnp.asarray(self.embedding)[tokens].astype(self.dtype)

  def attend(self, x):
    """Computes logits: [B, T, D] -> [B, T, V] float32."""
    return jnp.einsum(
      "btd,vd->btv",
      x,
      self.embedding.astype(x.dtype),
      preferred_element_type=jnp.float32,
    )
