"""The shape of a T5: published sizes, and values that are refused."""

import json

import jax
import pytest

from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model


@pytest.mark.parametrize(
  "preset, millions",
  # Published sizes: T5 1.0 paper, section 3.5 (rounded), and the model cards
  # of 1.1; counted here by hand from the formulas: an attention has 4·D·H·K,
  # an MLP 2·D·F (1.0) or 3·D·F (1.1).
  [("t5_small", 60.5), ("t5_base", 222.9), ("t5_1_1_base", 247.6)],
)
def test_preset_sizes(preset, millions):
  config = T5Config.preset(preset)
  model = Model(config, trainable="everything")
  shapes = jax.eval_shape(model.init_variables, jax.random.key(0))["params"]
  count = sum(x.size for x in jax.tree.leaves(shapes))
  assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_presets_and_fields_are_checked():
  with pytest.raises(ValueError, match="t5_bass.*t5_base"):
    T5Config.preset("t5_bass")
  with pytest.raises(ValueError, match="emb_dim.*-1"):
    T5Config.preset("t5_tiny", emb_dim=-1)
  with pytest.raises(ValueError, match="dtype.*float16"):
    T5Config.preset("t5_tiny", dtype="float16")
  with pytest.raises(ValueError, match="dropout_rate.*1.0"):
    T5Config.preset("t5_tiny", dropout_rate=1.0)
  config = T5Config.preset("t5_tiny", mlp_activations=["relu"])
  assert hash(config) == hash(T5Config.preset("t5_tiny"))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(emb_dim=2.0), "T5Config.emb_dim must be a whole number"),
    (dict(num_heads=True), "T5Config.num_heads must be a whole number"),
    (dict(num_decoder_layers=0), "num_decoder_layers .* at least 1, got 0"),
    (dict(mlp_activations=()), "T5Config.mlp_activations"),
    (dict(mlp_activations="relu"), "T5Config.mlp_activations"),
    (dict(mlp_activations=("tanh",)), "relu, gelu, silu, linear"),
    (
      dict(logits_via_embedding=1),
      "logits_via_embedding must be True or False",
    ),
    (dict(dropout_rate=-0.1), "T5Config.dropout_rate"),
    (dict(num_relpos_buckets=3), "num_relpos_buckets .* at least 4, got 3"),
    # 16 of the decoder's 32 buckets hold a distance each.
    (
      dict(max_relpos_distance=16),
      "max_relpos_distance .* at least 17, got 16",
    ),
  ],
)
def test_values_that_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    T5Config.preset("t5_tiny", **changes)


def test_the_two_versions_differ_in_three_fields():
  # Raffel et al. (2020) and the release notes of T5 1.1: a gated GELU and
  # logits of their own; the large sizes have other widths.
  old, new = T5Config.preset("t5_base"), T5Config.preset("t5_1_1_base")
  different = {k for k, v in vars(old).items() if v != getattr(new, k)}
  assert different == {"mlp_activations", "logits_via_embedding", "mlp_dim"}
  assert new.mlp_activations == ("gelu", "linear")
  assert (old.num_relpos_buckets, old.max_relpos_distance) == (32, 128)
  xl = T5Config.preset("t5_xl")
  # T5-3B: d_model 1024, d_ff 16384, d_kv 128, 32 heads, 24 layers.
  assert (xl.emb_dim, xl.mlp_dim, xl.head_dim) == (1024, 16384, 128)
  assert (xl.num_heads, xl.num_encoder_layers) == (32, 24)


def test_a_config_is_the_same_from_json():
  config = T5Config.preset("t5_1_1_small", dtype="bfloat16", dropout_rate=0.1)
  fields = json.loads(json.dumps(vars(config)))
  assert T5Config(**fields) == config
