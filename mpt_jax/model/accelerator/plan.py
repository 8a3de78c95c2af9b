"""The plan for accelerators.

The layers of a stack are scanned, so that the compiler sees one layer in place
of all. The backward pass computes again what a layer does not keep. Attention
keeps its scores in fast memory (`fused_attention`).

Axis letters: B batch, L length, T target_length, D emb_dim, H num_heads,
K head_dim, S layers.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mpt_jax.data.packing import round_up
from mpt_jax.model.accelerator.fused_attention import PLATFORMS, Fused
from mpt_jax.model.chunked_losses import count_chunks
from mpt_jax.model.config import T5Config
from mpt_jax.model.plan import Dense

STACKS = ("encoder", "decoder")
# Rows are as long as a multiple of this.
_BLOCK = 128
# What a layer keeps for the backward pass.
KEEPS = ("everything", "projections", "nothing")
# How much more than the projections a layer keeps if it recomputes nothing.
_EVERYTHING = 3
# Most bytes that the layers of a device keep by default.
_MOST_KEPT = 2**30


def choose_keeps(
  config: T5Config,
  num_rows: int,
  length: int,
  target_length: int,
  num_model_partitions: int = 1,
) -> str:
  """Returns the value of `KEEPS` that should take the least time and fits.

  What is kept is written once and read once. What is not kept is computed
  again, for which the weights are read again. So a layer keeps what is less
  than half of the weights.

  Args:
    config: the shape of the T5.
    num_rows: rows of a batch on one device.
    length: L.
    target_length: T.
    num_model_partitions: devices that share one copy of the T5.
  """
  c, inner = config, config.num_heads * config.head_dim
  mlp = len(c.mlp_activations) * c.mlp_dim
  parts = num_model_partitions
  # Outputs of projections: those of heads and wi are divided, out and wo not.
  # The attention to the encoder has keys and values of inputs.
  inputs = c.num_encoder_layers * ((3 * inner + mlp) // parts + 2 * c.emb_dim)
  inputs += c.num_decoder_layers * 2 * inner // parts
  targets = (4 * inner + mlp) // parts + 3 * c.emb_dim
  targets *= c.num_decoder_layers
  kept = num_rows * (length * inputs + target_length * targets)
  block = mlp + c.mlp_dim
  weights = c.num_encoder_layers * (4 * inner + block)
  weights += c.num_decoder_layers * (8 * inner + block)
  weights = weights * c.emb_dim // parts
  size = jnp.dtype(c.dtype).itemsize
  most = min(weights // 2 * size, _MOST_KEPT)
  if _EVERYTHING * kept * size <= most:
    return "everything"
  return "projections" if kept * size <= most else "nothing"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerated(Dense):
  """Scans the layers, recomputes, and attends in fast memory.

  The results equal those of `Dense` up to rounding.

  Attributes:
    platform: "tpu" or "cuda", and for tests the others of
      `fused_attention.PLATFORMS`; None attends like `Dense`, whose position
      bias can be trained.
    keeps: what a layer keeps for the backward pass. "everything" recomputes
      nothing; "projections" keeps the products with kernels and recomputes
      attention, norms and activations; "nothing" keeps the layer's input alone
      and computes the layer again.
    mesh: the devices, with the axes `data` and `model`. None means one.
    logits_bytes: most bytes of float32 logits on one device at a time; the
      losses compute more of them in parts (`chunked_losses`).
  """

  one_shape: ClassVar[bool] = True
  platform: str | None = None
  keeps: str = "everything"
  mesh: Mesh | None = None
  logits_bytes: int = 2**24

  def __post_init__(self):
    if self.platform not in (None, *PLATFORMS):
      raise ValueError(f"platform {self.platform!r} is not one of {PLATFORMS}")
    if self.keeps not in KEEPS:
      raise ValueError(f"keeps {self.keeps!r} is not one of {KEEPS}")

  def rows(self, layout):
    """Makes packed rows as long as the kernel's blocks."""
    if not layout.pack or layout.row_length is not None:
      return layout
    length, target_length = layout.packed_lengths
    return dataclasses.replace(
      layout,
      row_length=round_up(length, _BLOCK),
      target_row_length=layout.target_row_length or target_length,
    )

  def vocabulary_chunks(self, config, target_shape):
    rows, length = target_shape
    shape = {"data": 1, "model": 1} if self.mesh is None else self.mesh.shape
    if shape["model"] > 1:
      return 1  # The vocabulary is divided over devices already.
    targets = -(-rows // shape["data"]) * length
    return count_chunks(config.vocab_size, targets, self.logits_bytes)

  def prepare(self, frozen):
    """Replaces the layers of each stack by one tree of stacked arrays.

    They are under "layers". A T5 that trains is not part of `frozen`: its
    layers are stacked in each step.
    """
    return {
      name: _stack_layers(params) if name in STACKS else params
      for name, params in frozen.items()
    }

  def restore(self, params):
    return {
      name: _unstack_layers(params[name]) if name in STACKS else params[name]
      for name in params
    }

  def loop(self, stack, call, x, each=None):
    """Scans over the layers, so that the compiler sees one for all of them.

    Cached decoding is unrolled, because a scan would copy its caches.
    """
    stacked = _stack_layers(stack.variables["params"])["layers"]
    layer = stack.layers[0].clone()

    def apply(x, inputs):
      params, own = inputs
      x, made = layer.apply({"params": params}, x, own, method=call)
      return self._constrain(x), made

    if each is not None:
      made = []
      for i, own in enumerate(each):
        x, new = apply(x, (_take(stacked, i), own))
        made.append(new)
      return x, made
    x, made = lax.scan(self._recomputed(apply), x, (stacked, None))
    return x, [_take(made, i) for i in range(len(stack.layers))]

  def _recomputed(self, body):
    if self.keeps == "everything":
      return body
    policy = None
    if self.keeps == "projections":
      policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(body, policy=policy, prevent_cse=False)

  def _constrain(self, x):
    """Keeps the rows of x [B, L, D] on the devices that they came from."""
    if self.mesh is None or self.mesh.size == 1:
      return x
    if x.shape[0] % self.mesh.shape["data"]:
      return x
    return lax.with_sharding_constraint(x, NamedSharding(self.mesh, P("data")))

  def encoder_attention(self, position_bias, segment_ids, deterministic):
    _check_no_dropout(deterministic)
    plain = super().encoder_attention(position_bias, segment_ids, deterministic)
    fused = self._fused(position_bias.num_heads)
    if fused is None:
      return plain
    length = segment_ids.shape[1]
    bias = fused.bias(position_bias.by_distance, length, length)

    def attend(attention, x):
      if not fused.fits(length, length, attention.head_dim, attention.dtype):
        return plain(attention, x)
      projections = attention.query(x), attention.key(x), attention.value(x)
      return attention.join(fused(*projections, bias, segment_ids, segment_ids))

    return attend

  def decoder_attention(self, position_bias, segment_ids, deterministic):
    _check_no_dropout(deterministic)
    plain = super().decoder_attention(position_bias, segment_ids, deterministic)
    fused = self._fused(position_bias.num_heads, causal=True)
    if fused is None:
      return plain
    length = segment_ids.shape[1]
    bias = fused.bias(position_bias.by_distance, length, length)

    def attend(attention, x, keys, values):
      if not fused.fits(length, length, attention.head_dim, attention.dtype):
        return plain(attention, x, keys, values)
      projections = attention.query(x), _join_heads(keys), _join_heads(values)
      return attention.join(fused(*projections, bias, segment_ids, segment_ids))

    return attend

  def cross_attention(
    self, config, encoded, encoder_segment_ids, segment_ids, deterministic
  ):
    _check_no_dropout(deterministic)
    plain = super().cross_attention(
      config, encoded, encoder_segment_ids, segment_ids, deterministic
    )
    shape = segment_ids.shape[1], encoder_segment_ids.shape[1]
    fused = self._fused(config.num_heads)
    if fused is None or not fused.fits(*shape, config.head_dim, config.dtype):
      return plain
    bias = fused.bias(None, *shape)

    def attend(attention, x):
      keys, values = attention.key(encoded), attention.value(encoded)
      return attention.join(
        fused(
          attention.query(x),
          keys,
          values,
          bias,
          segment_ids,
          encoder_segment_ids,
        )
      )

    return attend

  def cross_cache(self, decoder, encoded, mask, max_length):
    del max_length
    stacked = _stack_layers(decoder.variables["params"])["layers"]
    layer = decoder.layers[0].clone()
    keys_values = [
      layer.apply(
        {"params": _take(stacked, i)}, encoded, method="cross_keys_values"
      )
      for i in range(len(decoder.layers))
    ]
    return mask, keys_values

  def _fused(self, num_heads, causal=False):
    if self.platform is None:
      return None
    return Fused(self.platform, num_heads, causal, self.mesh)


def _check_no_dropout(deterministic):
  if not deterministic:
    raise ValueError(
      "dropout is not implemented in the plan Accelerated; set dropout_rate=0"
      " or use the plan Dense()"
    )


def _take(tree, i):
  return jax.tree.map(lambda x: x[i], tree)


def _join_heads(x):
  """[B, H, T, K] -> [B, T, H·K]."""
  x = jnp.swapaxes(x, 1, 2)
  return x.reshape(*x.shape[:2], -1)


def _stack_layers(params):
  """Replaces layers_0, layers_1, ... by "layers", with a first axis [S]."""
  if "layers" in params:
    return params
  count = sum(name.startswith("layers_") for name in params)
  layers = [params[f"layers_{i}"] for i in range(count)]
  rest = {k: v for k, v in params.items() if not k.startswith("layers_")}
  return {**rest, "layers": jax.tree.map(_stack, *layers)}


def _unstack_layers(params):
  """Undoes `_stack_layers`."""
  if "layers" not in params:
    return params  # Of a T5 that trains.
  params = dict(params)
  layers = params.pop("layers")
  count = len(jax.tree.leaves(layers)[0])
  return {
    **params,
    **{f"layers_{i}": _take(layers, i) for i in range(count)},
  }


def _stack(*arrays):
  """Stacks arrays, which stay divided over the devices as they are."""
  sharding = getattr(arrays[0], "sharding", None)
  if isinstance(arrays[0], jax.core.Tracer) or not isinstance(
    sharding, NamedSharding
  ):
    return jnp.stack(arrays)
  stacked = NamedSharding(sharding.mesh, P(None, *sharding.spec))
  return jax.jit(_stack_all, out_shardings=stacked)(arrays)


def _stack_all(arrays):
  return jnp.stack(arrays)
