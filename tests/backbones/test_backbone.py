"""Folders of backbones: round trips, and errors about damaged folders."""

import dataclasses
import json
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from mpt_jax.backbones import backbone as backbones
from mpt_jax.backbones.fingerprints import fingerprint
from mpt_jax.backbones.tensor_files import TensorFiles
from mpt_jax.model.objective import Model
from mpt_jax.text.vocabularies import default_vocabulary_path

VERSIONS = ("1.0", "1.1")


@pytest.fixture(params=VERSIONS)
def t5(request, make_config, make_params):
  """(config, params) of a T5 without prompts."""
  config = make_config(request.param)
  return config, make_params(Model(config, trainable="everything"))


def _equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(t5, tmp_path):
  config, params = t5
  vocabulary = tmp_path / "some.model"
  vocabulary.write_bytes(b"pieces")
  saved = backbones.save_backbone(tmp_path / "t5", config, params, vocabulary)
  loaded = backbones.load_backbone(tmp_path / "t5")
  assert loaded.config == config and loaded.name == str(tmp_path / "t5")
  _equal(loaded.params, params)
  assert all(
    isinstance(x, np.ndarray) and x.dtype == np.float32
    for x in jax.tree.leaves(loaded.params)
  )
  path = tmp_path / "t5" / "sentencepiece.model"
  assert loaded.vocabulary_path == str(path)
  assert path.read_bytes() == b"pieces"
  assert saved.fingerprint == loaded.fingerprint
  assert loaded.fingerprint == fingerprint(config, params)
  assert {p.name for p in (tmp_path / "t5").iterdir()} == {
    "config.json",
    "params.safetensors",
    "sentencepiece.model",
  }


def test_round_trip_in_bfloat16(t5, tmp_path):
  config, params = t5
  backbone = backbones.save_backbone(tmp_path, config, params, dtype="bfloat16")
  on_disk = TensorFiles(tmp_path, [tmp_path / "params.safetensors"])
  assert {x.dtype for x in on_disk.values()} == {np.dtype(ml_dtypes.bfloat16)}
  rounded = jax.tree.map(
    lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), params
  )
  _equal(backbone.params, rounded)
  half = backbones.load_backbone(tmp_path, dtype="bfloat16")
  assert half.config == dataclasses.replace(config, dtype="bfloat16")
  assert all(
    x.dtype == ml_dtypes.bfloat16 for x in jax.tree.leaves(half.params)
  )
  # The fingerprint does not depend on the dtype on disk or in memory, but it
  # differs from that of the unrounded T5.
  assert half.fingerprint == backbone.fingerprint
  assert backbone.fingerprint == fingerprint(config, rounded)
  assert backbone.fingerprint != fingerprint(config, params)


def test_arrays_of_any_layout_are_written_right(t5, tmp_path):
  # Transposed views have another memory layout.
  config, params = t5
  views = jax.tree.map(lambda x: np.array(x.T, order="C").T, params)
  _equal(backbones.save_backbone(tmp_path, config, views).params, params)
  arrays = jax.tree.map(jax.numpy.asarray, params)
  _equal(backbones.save_backbone(tmp_path, config, arrays).params, params)


def test_fingerprint_sees_every_tensor_and_the_config(t5):
  config, params = t5
  base = fingerprint(config, params)
  assert len(base) == 16 and base == fingerprint(config, params)
  flat = traverse_util.flatten_dict(params, sep="/")
  for name in ("encoder/layers_1/mlp/wo/kernel", "decoder/decoder_norm/scale"):
    changed = {**flat, name: flat[name].copy()}
    changed[name].flat[-1] += 1e-3
    tree = traverse_util.unflatten_dict(changed, sep="/")
    assert fingerprint(config, tree) != base
  other = dataclasses.replace(config, max_relpos_distance=64)
  assert fingerprint(other, params) != base
  same = dataclasses.replace(config, dtype="bfloat16", dropout_rate=0.1)
  assert fingerprint(same, params) == base


def test_saving_over_a_folder_replaces_it(t5, tmp_path):
  config, params = t5
  vocabulary = tmp_path / "some.model"
  vocabulary.write_bytes(b"pieces")
  first = backbones.save_backbone(tmp_path, config, params, vocabulary)
  doubled = jax.tree.map(lambda x: 2 * x, params)
  second = backbones.save_backbone(tmp_path, config, doubled)
  assert second.vocabulary_path is None
  assert second.fingerprint != first.fingerprint
  _equal(second.params, doubled)
  # Saving with the folder's own vocabulary keeps it.
  third = backbones.save_backbone(tmp_path, config, params, vocabulary)
  again = backbones.save_backbone(
    tmp_path, config, params, third.vocabulary_path
  )
  assert again.vocabulary_path == third.vocabulary_path


# ----------------------------------------------------------------- errors


@pytest.fixture
def folder(make_config, make_params, tmp_path):
  config = make_config()
  params = make_params(Model(config, trainable="everything"))
  backbones.save_backbone(tmp_path, config, params)
  return tmp_path


def test_no_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match="'t5-base'.*'default'"):
    backbones.load_backbone("t5-base")
  with pytest.raises(FileNotFoundError, match="config.json.*nothing"):
    backbones.load_backbone(tmp_path)


def test_not_a_backbone_folder(tmp_path):
  (tmp_path / "config.json").write_text('{"vocab_size": 3}')
  with pytest.raises(ValueError, match='"format": "mpt_jax".*"model_type"'):
    backbones.load_backbone(tmp_path)
  for text in ("{", "[1]"):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="config.json.*JSON"):
      backbones.load_backbone(tmp_path)


def test_missing_and_other_weights(folder):
  (folder / "params.safetensors").rename(folder / "pytorch_model.bin")
  with pytest.raises(
    FileNotFoundError, match="no params.safetensors.*pytorch_model.bin.*save_"
  ):
    backbones.load_backbone(folder)


@pytest.mark.parametrize("keep", [0, 4, 1000, -1])
def test_cut_weights(folder, keep):
  path = folder / "params.safetensors"
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(ValueError, match="params.safetensors is damaged"):
    backbones.load_backbone(folder)


def test_tensors_that_do_not_fit_are_listed(folder):
  path = folder / "params.safetensors"
  tensors = load_file(path)
  tensors["prompt/shared_prompt"] = np.zeros((2, 3), np.float32)
  del tensors["encoder/layers_1/mlp/wi/kernel"]
  tensors["decoder/decoder_norm/scale"] = np.zeros(3, np.float32)
  save_file(tensors, path)
  with pytest.raises(ValueError) as error:
    backbones.load_backbone(folder)
  for part in (
    "missing: encoder/layers_1/mlp/wi/kernel",
    "unexpected: prompt/shared_prompt",
    "shape of decoder/decoder_norm/scale: expected (16,), got (3,)",
  ):
    assert part in str(error.value)


def test_config_fields_are_checked(folder):
  path = folder / "config.json"
  fields = json.loads(path.read_text())
  path.write_text(json.dumps({**fields, "emb_dim": 8}))
  with pytest.raises(ValueError, match="config.json is damaged: its fields"):
    backbones.load_backbone(folder)
  del fields["digest"]  # The rest is about what others write.
  path.write_text(json.dumps({**fields, "emb_dimm": 3}))
  with pytest.raises(ValueError, match="emb_dimm.*emb_dim"):
    backbones.load_backbone(folder)
  path.write_text(json.dumps({**fields, "emb_dim": "16"}))
  with pytest.raises(ValueError, match="T5Config.emb_dim.*'16'"):
    backbones.load_backbone(folder)
  path.write_text(json.dumps({**fields, "num_heads": 4}))
  with pytest.raises(ValueError, match=r"expected \(16, 16\), got \(16, 12\)"):
    backbones.load_backbone(folder)


def test_integer_tensors_are_refused(folder):
  path = folder / "params.safetensors"
  tensors = load_file(path)
  name = "decoder/decoder_norm/scale"
  tensors[name] = tensors[name].astype(np.int8)
  save_file(tensors, path)
  with pytest.raises(ValueError, match="decoder_norm/scale.*int8"):
    backbones.load_backbone(folder)


def test_saving_is_checked(t5, tmp_path):
  config, params = t5
  with pytest.raises(ValueError, match="dtype.*float16"):
    backbones.save_backbone(tmp_path, config, params, dtype="float16")
  with pytest.raises(ValueError, match="unexpected: prompt/shared_prompt"):
    backbones.save_backbone(
      tmp_path, config, {**params, "prompt": {"shared_prompt": np.ones(3)}}
    )
  assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------- vocabulary


def test_vocabulary_is_checked_against_the_embedding(t5, tmp_path):
  config, params = t5
  bare = backbones.save_backbone(tmp_path, config, params)
  with pytest.raises(FileNotFoundError, match="no vocabulary"):
    backbones.check_vocabulary(bare)
  junk = tmp_path / "junk.model"
  junk.write_bytes(b"not a model")
  with pytest.raises(ValueError, match="junk.model is not a readable"):
    backbones.check_vocabulary(
      dataclasses.replace(bare, vocabulary_path=str(junk))
    )
  path = default_vocabulary_path()
  if not path.is_file():
    pytest.skip("the default vocabulary is not in this checkout")
  # The default vocabulary has 7,900 pieces and 100 sentinels.
  large = dataclasses.replace(bare, vocabulary_path=str(path))
  with pytest.raises(ValueError, match="does not fit.*8000 ids.*=40 rows"):
    backbones.check_vocabulary(large)
  fits = dataclasses.replace(
    large, config=dataclasses.replace(config, vocab_size=8000)
  )
  assert backbones.check_vocabulary(fits) == 8000


def test_nothing_heavy_is_imported():
  code = (
    "import sys; import mpt_jax.backbones, mpt_jax.inference.engine.decoding;"
    " print([m for m in ('tensorflow', 'seqio', 'torch') if m in sys.modules])"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert result.stdout.strip() == "[]"


def test_default_without_weights_says_what_to_do(tmp_path, monkeypatch):
  monkeypatch.setattr(backbones, "DEFAULT_FOLDER", tmp_path)
  with pytest.raises(FileNotFoundError, match="--backbone DIR"):
    backbones.load_backbone("default")
