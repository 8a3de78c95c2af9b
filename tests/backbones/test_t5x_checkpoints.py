"""Checkpoints of t5x: written here as t5x lays them out, read by us.

They are made with tensorstore, msgpack and orbax, without t5x itself.
"""

import ml_dtypes
import numpy as np
import pytest
from t5x_layouts import check_same, make_flat, write_legacy, write_orbax

from mpt_jax.backbones import backbone, t5x_checkpoints
from mpt_jax.backbones.shapes import parameter_shapes
from mpt_jax.model.config import T5Config


@pytest.fixture(params=["1.0", "1.1"])
def t5(request, make_config, make_params):
  """(config, flat params) of a T5 without prompts."""
  config = make_config(request.param, num_decoder_layers=1)
  return config, make_flat(config, make_params)


@pytest.mark.parametrize("place", ["file", "gcs", "old", "placeholder"])
def test_legacy_checkpoint(t5, place, tmp_path):
  config, flat = t5
  folder = write_legacy(tmp_path / "checkpoint_7", flat, place)
  for path in (folder, folder / "checkpoint", tmp_path):
    check_same(backbone.load_backbone(path), config, flat)


@pytest.mark.parametrize("use_ocdbt", [True, False])
def test_orbax_checkpoint(t5, use_ocdbt, tmp_path):
  config, flat = t5
  folder = write_orbax(tmp_path / "checkpoint_7", flat, use_ocdbt)
  for path in (folder, folder / "state", tmp_path):
    check_same(backbone.load_backbone(path), config, flat)


def test_newest_step_is_taken(t5, tmp_path):
  config, flat = t5
  older = {name: np.zeros_like(array) for name, array in flat.items()}
  # Steps are compared as numbers, not as text. Unfinished checkpoints are
  # skipped.
  write_legacy(tmp_path / "checkpoint_900", older)
  write_legacy(tmp_path / "checkpoint_1000", flat)
  (tmp_path / "checkpoint_2000.tmp-1").mkdir()
  check_same(backbone.load_backbone(tmp_path), config, flat)


def test_bfloat16_checkpoint(t5, tmp_path):
  config, flat = t5
  half = {name: x.astype(ml_dtypes.bfloat16) for name, x in flat.items()}
  write_legacy(tmp_path / "legacy", half)
  write_orbax(tmp_path / "orbax", half)
  exact = {name: x.astype(np.float32) for name, x in half.items()}
  for name in ("legacy", "orbax"):
    check_same(backbone.load_backbone(tmp_path / name), config, exact)


@pytest.mark.parametrize(
  "preset, changes",
  [
    ("t5_small", {}),
    # mT5 and ByT5 are 1.1 with other vocabularies and depths.
    ("t5_1_1_small", {"num_decoder_layers": 4}),
    ("t5_1_1_small", {"relpos_in_layers": True}),  # UMT5
    ("t5_xl", {}),
  ],
)
def test_config_is_inferred_from_shapes(preset, changes):
  config = T5Config.preset(preset, **changes)

  class Shapes(dict):
    def shape(self, name):
      return self[name]

  shapes = Shapes(parameter_shapes(config))
  assert t5x_checkpoints.infer_config(shapes, "x") == config


def test_checkpoints_that_do_not_fit(t5, tmp_path):
  _, flat = t5
  name = "encoder/layers_1/attention/query/kernel"
  changed = {**flat, "encoder/prompt/prompt": np.zeros((2, 16), np.float32)}
  del changed[name]
  changed["decoder/decoder_norm/scale"] = np.zeros(3, np.float32)
  write_legacy(tmp_path / "a", changed)
  with pytest.raises(ValueError) as error:
    backbone.load_backbone(tmp_path / "a")
  for part in (
    f"missing: {name}",
    "unexpected: encoder/prompt/prompt",
    "shape of decoder/decoder_norm/scale: expected (16,), got (3,)",
  ):
    assert part in str(error.value)

  stacked = {
    n.replace("encoder/", "encoder/encoder/", 1): flat[n] for n in flat
  }
  write_legacy(tmp_path / "b", stacked)
  with pytest.raises(ValueError, match="stacked in one tensor"):
    backbone.load_backbone(tmp_path / "b")
  write_legacy(tmp_path / "c", {"head/kernel": np.zeros((2, 2), np.float32)})
  with pytest.raises(ValueError, match="no encoder under 'target'"):
    backbone.load_backbone(tmp_path / "c")


def test_damaged_checkpoints(t5, tmp_path):
  _, flat = t5
  folder = write_legacy(tmp_path / "a", flat)
  stored = folder / "target.encoder.layers_0.attention.query.kernel"
  # Two by two pieces; without one, tensorstore would read zeros there.
  (stored / "1.0").rename(tmp_path / "kept")
  with pytest.raises(ValueError, match="3 of 4 pieces of encoder/layers_0/att"):
    backbone.load_backbone(folder)
  (tmp_path / "kept").rename(stored / "1.0")
  backbone.load_backbone(folder)
  (stored / ".zarray").unlink()
  with pytest.raises(ValueError, match="layers_0/attention/query.*damaged"):
    backbone.load_backbone(folder)
  (folder / "checkpoint").write_bytes(b"\x01 something else")
  with pytest.raises(ValueError, match="checkpoint"):
    backbone.load_backbone(folder)
  (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"')
  with pytest.raises(ValueError, match="a TensorFlow checkpoint"):
    backbone.load_backbone(folder)
  folder = write_orbax(tmp_path / "b", flat)
  (folder / "state" / "_METADATA").write_text("{")
  with pytest.raises(ValueError, match="_METADATA is damaged"):
    backbone.load_backbone(folder)
