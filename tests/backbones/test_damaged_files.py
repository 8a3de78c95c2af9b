"""Readers of others' files refuse damage in one line and raise nothing else."""

import json
import shutil

import pytest
from hf_folders import REASON, make_hf
from hypothesis import given
from hypothesis import strategies as st
from mutations import FAST, damaged_bytes, damaged_json, may_refuse
from t5x_layouts import make_flat, write_legacy
from tokenizer_folders import write_spiece

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


def damage(data, originals, folder, name, whole, read):
  """Damages one file, as JSON or as bytes, reads it and puts it back."""
  original = (originals / name).read_bytes()
  if whole and data.draw(st.booleans()):
    fields = data.draw(damaged_json(json.loads(original)))
    damaged = json.dumps(fields).encode()
  else:
    damaged = data.draw(damaged_bytes(original))
  (folder / name).write_bytes(damaged)
  try:
    may_refuse(read)
  finally:
    (folder / name).write_bytes(original)


@pytest.mark.parametrize(
  "name", ["config.json", "generation_config.json", "model.safetensors"]
)
@FAST
@given(data=st.data())
def test_weights_and_configs(name, originals, folder, data):
  def read():
    opened = backbone.open_backbone(folder)
    for _ in opened.items():
      pass

  damage(data, originals, folder, name, name.endswith(".json"), read)


@pytest.mark.parametrize(
  "name",
  [
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.json", "spiece.model"),
  ],
)
@FAST
@given(data=st.data())
def test_tokenizers(name, originals, folder, data):
  def read():
    for path in (
      vocabulary_files.find_vocabulary(folder, {}),
      vocabulary_files.resolve(folder),
    ):
      vocabularies.vocabulary_size(path)
      vocabularies.Tokenizer(path).encode("a <hl> b</s>")

  damage(data, originals, folder, name, name.endswith(".json"), read)


@FAST
@given(data=st.data())
def test_tokenizer_json_alone(originals, folder, data):
  alone = folder.parent / "alone"
  alone.mkdir(exist_ok=True)
  name = "tokenizer.json"
  damage(
    data,
    originals,
    alone,
    name,
    True,
    lambda: vocabulary_files.find_vocabulary(alone, {}),
  )


@FAST
@given(data=st.data())
def test_shard_indices(originals, folder, data):
  sharded = folder.parent / "sharded"
  sharded.mkdir(exist_ok=True)
  shutil.copy(originals / "config.json", sharded)
  shutil.copy(originals / "model.safetensors", sharded / "a.safetensors")
  from safetensors import safe_open

  names = safe_open(sharded / "a.safetensors", "np").keys()
  index = {
    "metadata": {"total_size": 3},
    "weight_map": dict.fromkeys(names, "a.safetensors"),
  }
  text = data.draw(damaged_json(index))
  (sharded / "model.safetensors.index.json").write_text(json.dumps(text))
  may_refuse(backbone.open_backbone, sharded)


@FAST
@given(data=st.data())
def test_byte_vocabularies(folder, data):
  path = folder.parent / "bytes.json"
  token = {"id": 384, "content": "<hl>", "special": True}
  fields = {"type": "bytes", "extra_ids": 125, "tokens": [token]}
  path.write_text(json.dumps(data.draw(damaged_json(fields))))
  may_refuse(vocabularies.vocabulary_size, path)
  may_refuse(vocabularies.Tokenizer, path)


@pytest.fixture(scope="module")
def legacy(make_config, make_params, tmp_path_factory):
  folder = tmp_path_factory.mktemp("legacy") / "checkpoint_7"
  write_legacy(folder, make_flat(make_config(), make_params))
  return folder


@pytest.mark.parametrize("kind", ["checkpoint", ".zarray", "chunk"])
@FAST
@given(data=st.data())
def test_t5x_checkpoints(kind, legacy, data):
  paths = sorted(
    p
    for p in legacy.rglob("*")
    if p.is_file()
    and (p.name == kind or (kind == "chunk" and p.name[0].isdigit()))
  )
  path = data.draw(st.sampled_from(paths))
  original = path.read_bytes()

  def read():
    for _ in backbone.open_backbone(legacy).items():
      pass

  path.write_bytes(data.draw(damaged_bytes(original)))
  try:
    may_refuse(read)
  finally:
    path.write_bytes(original)
