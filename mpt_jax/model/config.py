"""The shape of a T5, and the published sizes."""

import dataclasses
import functools

from mpt_jax.io import checks

DTYPES = ("float32", "bfloat16")
# Names of functions of flax.linen, and "linear" for the identity.
ACTIVATIONS = ("relu", "gelu", "silu", "linear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config:
  """The shape of a T5.

  Attributes:
    vocab_size: V, rows of the embedding, padding rows included.
    emb_dim: D.
    num_heads: heads of each attention.
    head_dim: width of one head.
    mlp_dim: inner width of the feed-forward blocks.
    num_encoder_layers: encoder blocks.
    num_decoder_layers: decoder blocks.
    mlp_activations: ("relu",) for T5 1.0, ("gelu", "linear") for 1.1,
      ("silu", "linear") for UL2.
    logits_via_embedding: whether logits use the token embedding, scaled by
      emb_dim**-0.5 (True for T5 1.0).
    dropout_rate: in [0, 1). Deterministic calls ignore it.
    dtype: "float32" or "bfloat16", the dtype of activations. Parameters keep
      their own dtype.
    num_relpos_buckets: buckets of the relative position table, at least 4.
    max_relpos_distance: all distances from this one on share a bucket; more
      than half of num_relpos_buckets.
    relpos_in_layers: whether each layer has a relative position table of its
      own (True for UMT5). Otherwise the layers of a stack share one.
  """

  vocab_size: int
  emb_dim: int
  num_heads: int
  head_dim: int
  mlp_dim: int
  num_encoder_layers: int
  num_decoder_layers: int
  mlp_activations: tuple[str, ...] = ("relu",)
  logits_via_embedding: bool = True
  dropout_rate: float = 0.0
  dtype: str = "float32"
  num_relpos_buckets: int = 32
  max_relpos_distance: int = 128
  relpos_in_layers: bool = False

  def __post_init__(self):
    check = functools.partial(checks.check_fields, self)
    sizes = (f.name for f in dataclasses.fields(self) if f.type is int)
    check(checks.whole, *sizes, low=1)
    # Both directions need a bucket of one distance and one of several. The
    # latter needs a distance beyond those with a bucket of their own.
    check(checks.whole, "num_relpos_buckets", low=4)
    low = self.num_relpos_buckets // 2 + 1
    check(checks.whole, "max_relpos_distance", low=low)
    # JSON and gin give lists, but the config must be hashable.
    names = dict(of=checks.choice, what="names", choices=ACTIVATIONS)
    check(checks.sequence, "mlp_activations", **names)
    check(checks.flag, "logits_via_embedding", "relpos_in_layers")
    check(checks.choice, "dtype", choices=DTYPES)
    check(checks.number, "dropout_rate", low=0, below=1)

  @classmethod
  def preset(cls, name: str, **changes) -> "T5Config":
    """Returns a published size: t5_{tiny,small,base,large,xl,xxl} or t5_1_1_*.

    `xl` and `xxl` of version 1.0 were published as 3B and 11B. `tiny` is our
    own size for tests.

    Raises:
      ValueError: the preset is unknown; the message lists all.
    """
    if name not in _PRESETS:
      raise ValueError(
        f"preset {name!r} is not one of {', '.join(sorted(_PRESETS))}"
      )
    emb_dim, num_heads, head_dim, mlp_dim, num_layers = _PRESETS[name]
    version_1_1 = name.startswith("t5_1_1_")
    values = dict(
      vocab_size=32128,
      emb_dim=emb_dim,
      num_heads=num_heads,
      head_dim=head_dim,
      mlp_dim=mlp_dim,
      num_encoder_layers=num_layers,
      num_decoder_layers=num_layers,
      mlp_activations=("gelu", "linear") if version_1_1 else ("relu",),
      logits_via_embedding=not version_1_1,
    )
    return cls(**{**values, **changes})


# emb_dim, num_heads, head_dim, mlp_dim, layers of each stack.
_PRESETS = {
  "t5_tiny": (64, 4, 16, 128, 2),
  "t5_small": (512, 8, 64, 2048, 6),
  "t5_base": (768, 12, 64, 3072, 12),
  "t5_large": (1024, 16, 64, 4096, 24),
  "t5_xl": (1024, 32, 128, 16384, 24),
  "t5_xxl": (1024, 128, 128, 65536, 24),
  "t5_1_1_tiny": (64, 4, 16, 128, 2),
  "t5_1_1_small": (512, 6, 64, 1024, 8),
  "t5_1_1_base": (768, 12, 64, 2048, 12),
  "t5_1_1_large": (1024, 16, 64, 2816, 24),
  "t5_1_1_xl": (2048, 32, 64, 5120, 24),
  "t5_1_1_xxl": (4096, 64, 64, 10240, 24),
}
