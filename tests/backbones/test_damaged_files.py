"""Readers of others' files refuse damage in one line and raise nothing else."""

import json
import pathlib
import shutil

import pytest
from hf_folders import REASON, make_hf
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, damaged_json, fuzz, may_refuse
from safetensors import safe_open
from t5x_layouts import make_flat, write_legacy
from tokenizer_folders import write_spiece
from train_fixtures import save_tiny_backbone

from mpt_jax.backbones import backbone
from mpt_jax.text import vocabularies, vocabulary_files

transformers = pytest.importorskip("transformers", reason=REASON)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
  """A Hugging Face folder with all its files."""
  folder = tmp_path_factory.mktemp("originals")
  make_hf(folder)
  spiece = write_spiece(tmp_path_factory.mktemp("spiece"))
  plain = tmp_path_factory.mktemp("plain")
  shutil.copy(spiece, plain)
  settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100}
  (plain / "tokenizer_config.json").write_text(json.dumps(settings))
  theirs = transformers.AutoTokenizer.from_pretrained(plain)
  theirs.add_tokens([transformers.AddedToken("<hl>", special=True)])
  theirs.save_pretrained(folder)
  shutil.copy(spiece, folder / "spiece.model")
  size = len(theirs)
  (folder / "added_tokens.json").write_text(json.dumps({"<hl>": size - 1}))
  (folder / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
  return folder


@pytest.fixture(scope="module")
def folder(originals, tmp_path_factory):
  """A copy whose files the tests damage."""
  copied = tmp_path_factory.mktemp("damaged") / "t5"
  shutil.copytree(originals, copied)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("MPT_CACHE_DIR", str(copied.parent / "cache"))
    yield copied


@pytest.mark.parametrize(
  "name", ["config.json", "generation_config.json", "model.safetensors"]
)
@CASES
@given(data=st.data())
def test_weights_and_configs(name, folder, data):
  def read():
    opened = backbone.open_backbone(folder)
    for _ in opened.items():
      pass

  fuzz(data, folder / name, read, names=[str(folder)])


@pytest.mark.parametrize(
  "name",
  [
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.json", "spiece.model"),
  ],
)
@CASES
@given(data=st.data())
def test_tokenizers(name, folder, data):
  def read():
    for path in (
      vocabulary_files.find_vocabulary(folder, {}),
      vocabulary_files.resolve(folder),
    ):
      vocabularies.vocabulary_size(path)
      vocabularies.Tokenizer(path).encode("a <hl> b</s>")

  fuzz(data, folder / name, read, names=[str(folder)])


@CASES
@given(data=st.data())
def test_tokenizer_json_alone(originals, folder, data):
  alone = folder.parent / "alone"
  alone.mkdir(exist_ok=True)
  path = alone / "tokenizer.json"
  shutil.copy(originals / path.name, path)

  def read():
    return vocabulary_files.find_vocabulary(alone, {})

  fuzz(data, path, read, names=[str(alone)])


@CASES
@given(data=st.data())
def test_shard_indices(originals, folder, data):
  sharded = folder.parent / "sharded"
  sharded.mkdir(exist_ok=True)
  shutil.copy(originals / "config.json", sharded)
  shutil.copy(originals / "model.safetensors", sharded / "a.safetensors")
  names = safe_open(sharded / "a.safetensors", "np").keys()
  index = {
    "metadata": {"total_size": 3},
    "weight_map": dict.fromkeys(names, "a.safetensors"),
  }
  text = data.draw(damaged_json(index))
  (sharded / "model.safetensors.index.json").write_text(json.dumps(text))
  may_refuse(lambda: backbone.open_backbone(sharded), str(sharded))


@CASES
@given(data=st.data())
def test_byte_vocabularies(folder, data):
  path = folder.parent / "bytes.json"
  token = {"id": 384, "content": "<hl>", "special": True}
  fields = {"type": "bytes", "extra_ids": 125, "tokens": [token]}
  path.write_text(json.dumps(data.draw(damaged_json(fields))))
  may_refuse(lambda: vocabularies.vocabulary_size(path), path.name)
  may_refuse(lambda: vocabularies.Tokenizer(path), path.name)


@pytest.fixture(scope="module")
def legacy(make_config, make_params, tmp_path_factory):
  folder = tmp_path_factory.mktemp("legacy") / "checkpoint_7"
  write_legacy(folder, make_flat(make_config(), make_params))
  return folder


@pytest.mark.parametrize("kind", ["checkpoint", ".zarray", "chunk"])
@CASES
@given(data=st.data())
def test_t5x_checkpoints(kind, legacy, data):
  paths = sorted(
    p
    for p in legacy.rglob("*")
    if p.is_file()
    and (p.name == kind or (kind == "chunk" and p.name[0].isdigit()))
  )
  path = data.draw(st.sampled_from(paths))

  def read():
    for _ in backbone.open_backbone(legacy).items():
      pass

  fuzz(data, path, read, names=[str(legacy)])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  """A T5 in a folder of ours."""
  folder = tmp_path_factory.mktemp("own") / "t5"
  save_tiny_backbone(folder, emb_dim=8, num_heads=1, mlp_dim=8)
  return folder


@pytest.mark.parametrize("name", ["config.json", "params.safetensors", "vocab"])
@CASES
@given(data=st.data())
def test_own_folders_have_digests(name, own, data):
  def read():
    loaded = backbone.load_backbone(own)
    vocabulary = pathlib.Path(loaded.vocabulary_path).read_bytes()
    return loaded.config, loaded.fingerprint, vocabulary

  expected = read()
  path = own / name
  if name == "vocab":
    path = pathlib.Path(backbone.load_backbone(own).vocabulary_path)
  # Nothing can tell a config whose digest was removed from an old one.
  known = expected if name != "config.json" else None
  fuzz(data, path, read, names=[str(own)], expected=known)
