"""Attention that keeps its scores in fast memory, on TPUs and on GPUs.

On a TPU this is the kernel of `tpu_attention`, on a GPU cuDNN's attention. Both
take packed rows: the segment ids are the mask.

Axis letters: B batch, T queries, L keys, H num_heads, K head_dim.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mpt_jax.model.accelerator import tpu_attention
from mpt_jax.model.attention import segment_mask

# "interpret" runs the TPU's kernel on any device, and "xla" computes what cuDNN
# computes; both are for tests.
PLATFORMS = ("tpu", "cuda", "interpret", "xla")


@dataclasses.dataclass(frozen=True)
class Fused:
  """Where and how to attend.

  Attributes:
    platform: one of `PLATFORMS`.
    num_heads: H.
    causal: whether a query attends to no later position.
    mesh: the devices, whose axis `data` divides rows and `model` heads. None
      means one device. A kernel is not partitioned by the compiler.
  """

  platform: str
  num_heads: int
  causal: bool = False
  mesh: Mesh | None = None

  @property
  def is_kernel(self) -> bool:
    return self.platform in ("tpu", "interpret")

  def fits(self, num_queries, num_keys, head_dim, dtype) -> bool:
    """Returns whether rows of T queries and L keys can be computed here."""
    if self.is_kernel:
      return tpu_attention.fits(num_queries, num_keys, head_dim, dtype)
    if self.platform == "xla":
      return True
    return jnp.dtype(dtype).itemsize == 2 and head_dim % 8 == 0 < 129 - head_dim

  def bias(self, by_distance, num_queries, num_keys):
    """Prepares the position bias, once for all layers.

    Args:
      by_distance: NumPy int [...] -> [H, ...], the bias of a distance, key
        minus query; None for no bias.
      num_queries: T.
      num_keys: L.

    Returns:
      The argument `bias` of `__call__`. For the kernel it has a number for
      each distance; cuDNN takes [1, H, T, L].
    """
    if self.is_kernel:
      distances = tpu_attention.distances(
        tpu_attention.padded(num_queries), tpu_attention.padded(num_keys)
      )
      if by_distance is None:
        return jnp.zeros((self.num_heads, len(distances)))
      return by_distance(distances)
    if by_distance is None:
      return None
    queries, keys = np.arange(num_queries), np.arange(num_keys)
    return by_distance(keys[None, :] - queries[:, None])[None]

  def __call__(self, queries, keys, values, bias, query_segments, key_segments):
    """Attends from each query to the keys of its segment.

    Args:
      queries: [B, T, H·K] float.
      keys: [B, L, H·K].
      values: [B, L, H·K].
      bias: the result of `bias`.
      query_segments: [B, T] int.
      key_segments: [B, L] int; 0 is padding, which is always masked.

    Returns:
      [B, T, H·K] in the dtype of the queries; values at padding are arbitrary.
    """
    arrays = (queries, keys, values, bias, query_segments, key_segments)
    if self.is_kernel:
      return self._kernel(*arrays)
    return self._library(*arrays)

  def _kernel(self, queries, keys, values, bias, query_segments, key_segments):
    length = queries.shape[1]
    arrays = (
      *(_pad(x) for x in (queries, keys, values)),
      bias,
      *(_pad(x.astype(jnp.int32)) for x in (query_segments, key_segments)),
    )
    rows, heads = self._split(queries.shape[0])
    shape = tpu_attention.Shape(
      self.num_heads // (self.mesh.shape["model"] if heads else 1),
      self.causal,
      self.platform == "interpret",
    )
    call = functools.partial(tpu_attention.attend, shape)
    if self.mesh is not None and self.mesh.size > 1:
      features, segments = P(rows, None, heads), P(rows)
      call = jax.shard_map(
        call,
        mesh=self.mesh,
        in_specs=(features,) * 3 + (P(heads), segments, segments),
        out_specs=features,
        check_vma=False,
      )
    return call(*arrays)[:, :length]

  def _split(self, num_rows):
    """Returns the axes of the mesh that divide rows and heads, or None."""
    if self.mesh is None:
      return None, None
    shape = self.mesh.shape
    rows = "data" if num_rows % shape["data"] == 0 else None
    heads = "model" if self.num_heads % shape["model"] == 0 else None
    return rows, heads

  def _library(self, queries, keys, values, bias, query_segments, key_segments):
    """Calls cuDNN, whose bias has the mask in it: [B, H, T, L]."""
    shape = (self.num_heads, queries.shape[2] // self.num_heads)
    queries, keys, values = (
      x.reshape(*x.shape[:2], *shape) for x in (queries, keys, values)
    )
    mask = segment_mask(query_segments, key_segments) == 0
    y = jax.nn.dot_product_attention(
      queries,
      keys,
      values,
      None if bias is None else bias.astype(queries.dtype),
      mask,
      scale=1.0,
      is_causal=self.causal,
      implementation="cudnn" if self.platform == "cuda" else "xla",
    )
    return y.reshape(*y.shape[:2], -1)


def _pad(x):
  """Pads the second axis with zeros to a length that the kernel takes."""
  spare = tpu_attention.padded(x.shape[1]) - x.shape[1]
  return jnp.pad(x, [(0, 0), (0, spare), *[(0, 0)] * (x.ndim - 2)])
