"""A T5 folder of ours whose files were damaged after they were written."""

import hashlib
import json
import shutil
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mpt_jax.backbones.backbone import (
  identify_backbone,
  load_backbone,
  save_backbone,
)
from mpt_jax.text import vocabularies


@pytest.fixture(scope="module")
def written(make_config, make_params, tmp_path_factory):
  from mpt_jax.model.objective import Model
  from mpt_jax.prompts.config import PromptConfig

  config = make_config("1.0", vocab_size=8000)
  params = make_params(Model(config, PromptConfig(num_slots=1)))
  folder = tmp_path_factory.mktemp("t5") / "t5"
  del params["prompt"]
  vocabulary = vocabularies.default_vocabulary_path()
  save_backbone(folder, config, params, vocabulary)
  return folder


@pytest.fixture
def folder(written, tmp_path):
  shutil.copytree(written, tmp_path / "t5")
  return tmp_path / "t5"


def flip(path, position, bit=0):
  data = bytearray(path.read_bytes())
  data[position] ^= 1 << bit
  path.write_bytes(data)


def test_the_digest_is_that_of_the_documentation(written):
  """docs/weights_and_prompts.md, in other words."""
  digest = hashlib.sha256()
  for name, array in sorted(load_file(written / "params.safetensors").items()):
    digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
  data = (written / "params.safetensors").read_bytes()
  header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
  assert header["__metadata__"] == {"tensors_sha256": digest.hexdigest()}
  fields = json.loads((written / "config.json").read_text())
  expected = fields.pop("digest")
  text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
  assert hashlib.sha256(text.encode()).hexdigest() == expected
  vocabulary = (written / "sentencepiece.model").read_bytes()
  assert hashlib.sha256(vocabulary).hexdigest() == fields["vocabulary_sha256"]


@pytest.mark.parametrize("read", [load_backbone, identify_backbone])
def test_one_bit_of_a_tensor(folder, read):
  flip(folder / "params.safetensors", -5)
  with pytest.raises(ValueError, match="params.safetensors is damaged"):
    read(folder)


def test_no_bit_of_the_header_is_used_in_silence(folder):
  """The T5 is the same, or the file is refused by name."""
  expected = load_backbone(folder)
  path = folder / "params.safetensors"
  data = path.read_bytes()
  size = 8 + struct.unpack("<Q", data[:8])[0]
  rng, refused = np.random.default_rng(0), 0
  for position in rng.integers(0, size, 40):
    flip(path, int(position), int(rng.integers(8)))
    try:
      found = load_backbone(folder)
    except ValueError as error:
      assert str(folder) in str(error)
      refused += 1
    else:
      assert found.fingerprint == expected.fingerprint
    path.write_bytes(data)
  assert refused > 30


def test_every_byte_of_the_config_counts(folder):
  path = folder / "config.json"
  data = path.read_bytes()
  expected = load_backbone(folder)
  rng = np.random.default_rng(1)
  for position in rng.integers(0, len(data), 60):
    flip(path, int(position), int(rng.integers(7)))
    try:
      found = load_backbone(folder)
    except ValueError as error:
      assert "config.json" in str(error)
    else:  # A space, or the name of the digest.
      assert found.config == expected.config
    path.write_bytes(data)


def test_the_vocabulary_counts(folder):
  flip(folder / "sentencepiece.model", 1000)
  with pytest.raises(ValueError, match="sentencepiece.model is damaged or is"):
    load_backbone(folder)
  (folder / "sentencepiece.model").unlink()
  with pytest.raises(ValueError, match="the vocabulary of .* is missing"):
    load_backbone(folder)


def test_a_folder_of_an_earlier_version_is_read(folder):
  """It had no digests but that of the tensors."""
  expected = load_backbone(folder)
  fields = json.loads((folder / "config.json").read_text())
  del fields["digest"], fields["vocabulary_sha256"]
  (folder / "config.json").write_text(json.dumps(fields))
  assert load_backbone(folder).fingerprint == expected.fingerprint
  flip(folder / "params.safetensors", -5)
  with pytest.raises(ValueError, match="params.safetensors is damaged"):
    load_backbone(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(folder, value):
  path = folder / "params.safetensors"
  tensors = load_file(path)
  name = "encoder/layers_0/mlp/wi/kernel"
  tensors[name][2, 3] = value
  save_file(tensors, path)  # Without a digest, so this alone is wrong.
  message = rf"{folder}: {name}\[2, 3\] is {value}.* 1 of 384 are not"
  with pytest.raises(ValueError, match=message):
    load_backbone(folder)


def test_numbers_that_are_not_finite_are_not_written(folder, tmp_path):
  loaded = load_backbone(folder)
  for dtype, large in (("float32", np.inf), ("bfloat16", 3.4e38)):
    embedding = loaded.params["token_embedder"]["embedding"].copy()
    embedding[7, 0] = large
    params = {**loaded.params, "token_embedder": {"embedding": embedding}}
    assert np.isinf(np.float32(np.asarray(large).astype(ml_dtypes.bfloat16)))
    with pytest.raises(ValueError, match=r"embedding\[7, 0\] is inf"):
      save_backbone(tmp_path / dtype, loaded.config, params, dtype=dtype)
    assert not (tmp_path / dtype / "params.safetensors").exists()
