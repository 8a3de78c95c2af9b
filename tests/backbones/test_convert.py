"""`mpt convert`: T5s of Hugging Face and t5x become folders of ours."""

import hashlib
import json
import sys
import tracemalloc

import jax
import ml_dtypes
import numpy as np
import pytest
import sentencepiece
from flax import traverse_util
from hf_folders import check_logits, edit_hf, make_hf
from odd_texts import make_texts
from safetensors.numpy import load_file, save_file
from t5x_layouts import check_same, make_flat, write_legacy
from tokenizer_folders import write_spiece

from mpt_jax.backbones import backbone as backbones
from mpt_jax.backbones import convert
from mpt_jax.backbones.shapes import parameter_shapes
from mpt_jax.backbones.tensor_files import TensorFiles
from mpt_jax.cli import main as cli
from mpt_jax.model.config import T5Config
from mpt_jax.text import vocabularies

REASON = "needs PyTorch and transformers (the test extra)"


@pytest.fixture(params=["1.0", "1.1"])
def t5(request, make_config, make_params):
  """(config, flat params) of a T5 without prompts."""
  config = make_config(request.param, num_decoder_layers=1)
  return config, make_flat(config, make_params)


# ------------------------------------------------------------ Hugging Face's


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"model_type": "mt5"},
    {"model_type": "umt5"},
    {"feed_forward_proj": "gated-silu"},
  ],
  ids=["t5", "mt5", "umt5", "ul2"],
)
def test_hugging_face_folders_convert(changes, tmp_path):
  model = make_hf(tmp_path / "hf", **changes)
  convert.convert(tmp_path / "hf", tmp_path / "out")
  loaded = backbones.load_backbone(tmp_path / "out")
  check_logits(loaded, model)
  assert loaded.config.num_encoder_layers == 3
  assert loaded.config.num_decoder_layers == 1
  direct = backbones.load_backbone(tmp_path / "hf")
  check_same(
    direct, loaded.config, traverse_util.flatten_dict(loaded.params, sep="/")
  )
  assert direct.fingerprint == loaded.fingerprint
  assert backbones.identify_backbone(tmp_path / "hf")[1] == loaded.fingerprint


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"mlp_activations": ("gelu",), "logits_via_embedding": True},
    {"mlp_activations": ("silu", "linear"), "max_relpos_distance": 60},
    {"relpos_in_layers": True},
  ],
)
def test_our_t5s_become_folders_of_transformers(
  changes, make_config, make_params, tmp_path
):
  transformers = pytest.importorskip("transformers", reason=REASON)
  config = make_config("1.1", vocab_size=400, **changes)
  flat = make_flat(config, make_params)
  params = traverse_util.unflatten_dict(flat, sep="/")
  pieces = write_spiece(tmp_path)
  ours = backbones.save_backbone(tmp_path / "ours", config, params, pieces)
  out = tmp_path / "hf"
  argv = ["convert", str(tmp_path / "ours"), "--to", "huggingface"]
  assert cli.main([*argv, "--out", str(out)]) == 0
  # It is the same T5 for us, and for transformers.
  loaded = backbones.load_backbone(out)
  assert loaded.fingerprint == ours.fingerprint
  model = transformers.AutoModelForSeq2SeqLM.from_pretrained(out)
  check_logits(ours, model.eval())
  # AutoTokenizer reads a UMT5's tokenizer from tokenizer.json alone.
  kind = "T5Tokenizer" if config.relpos_in_layers else "AutoTokenizer"
  theirs = getattr(transformers, kind).from_pretrained(out)
  tokenizer = vocabularies.Tokenizer(ours.vocabulary_path)
  for text in make_texts():
    assert theirs(text).input_ids == [*tokenizer.encode(text), 1], text


def test_what_transformers_has_not_is_refused(
  make_config, make_params, tmp_path
):
  config = make_config("1.1", mlp_activations=("linear", "gelu"))
  flat = make_flat(config, make_params)
  params = traverse_util.unflatten_dict(flat, sep="/")
  backbones.save_backbone(tmp_path / "ours", config, params)
  with pytest.raises(ValueError, match="transformers has no T5 with mlp_acti"):
    convert.convert_to_hugging_face(tmp_path / "ours", tmp_path / "hf")
  assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("kept", ["encoder", "decoder"])
def test_the_embedding_under_another_name(kept, tmp_path):
  model = make_hf(tmp_path)

  def renamed(tensors):
    embedding = tensors.pop("shared.weight")
    return {k: v for k, v in tensors.items() if "embed_tokens" not in k} | {
      f"{kept}.embed_tokens.weight": embedding
    }

  edit_hf(tmp_path, renamed)
  check_logits(backbones.load_backbone(tmp_path), model)
  other = {"decoder": "encoder", "encoder": "decoder"}[kept]
  name = f"{other}.embed_tokens.weight"
  edit_hf(tmp_path, lambda x: x | {name: np.ones((400, 16), np.float32)})
  with pytest.raises(ValueError, match="embed_tokens.weight differs from"):
    backbones.load_backbone(tmp_path)


@pytest.mark.parametrize(
  "fields", [{"tie_word_embeddings": False}, {"architectures": ["T5Model"]}]
)
def test_an_absent_head_is_missing(fields, tmp_path):
  make_hf(tmp_path)

  def without(x):
    return {k: v for k, v in x.items() if k != "lm_head.weight"}

  settings = {"tie_word_embeddings": True, "scale_decoder_outputs": False}
  edit_hf(tmp_path, without, **{**settings, **fields})
  if "tie_word_embeddings" in fields:
    edit_hf(tmp_path, scale_decoder_outputs=None)
  with pytest.raises(ValueError, match="missing: lm_head.weight"):
    backbones.load_backbone(tmp_path)


def test_feed_forward_of_a_config_that_does_not_say_it(tmp_path):
  model = make_hf(tmp_path, model_type="mt5")
  edit_hf(tmp_path, feed_forward_proj=None)
  check_logits(backbones.load_backbone(tmp_path), model)
  edit_hf(tmp_path, feed_forward_proj=["relu"])
  with pytest.raises(ValueError, match=r"feed_forward_proj must be .*\['relu'"):
    backbones.load_backbone(tmp_path)


def test_float8_is_refused(tmp_path):
  torch = pytest.importorskip("torch", reason=REASON)
  from safetensors.torch import load_file, save_file

  make_hf(tmp_path)
  path = tmp_path / "model.safetensors"
  tensors = load_file(path)
  tensors["lm_head.weight"] = tensors["lm_head.weight"].to(torch.float8_e4m3fn)
  save_file(tensors, path)
  with pytest.raises(ValueError, match="lm_head.weight.*F8_E4M3.*Quantised"):
    backbones.load_backbone(tmp_path)


@pytest.mark.parametrize("kind", ["float8", "sparse"])
def test_pytorch_tensors_of_other_kinds_are_named(kind, tmp_path):
  torch = pytest.importorskip("torch", reason=REASON)
  state = make_hf(tmp_path).state_dict()
  (tmp_path / "model.safetensors").unlink()
  head = state["lm_head.weight"]
  state["lm_head.weight"] = (
    head.to_sparse() if kind == "sparse" else head.to(torch.float8_e4m3fn)
  )
  torch.save(state, tmp_path / "pytorch_model.bin")
  with pytest.raises(
    ValueError, match=f"lm_head.weight.*{kind}.*expected floats"
  ):
    backbones.load_backbone(tmp_path)


def test_some_problems_of_each_kind_are_named(tmp_path):
  from safetensors.numpy import load_file, save_file

  make_hf(tmp_path)
  path = tmp_path / "model.safetensors"
  tensors = load_file(path)
  names = sorted(name for name in tensors if "layer_norm" not in name)
  for name in names[:9]:
    del tensors[name]
  tensors |= {f"more_{i}": np.zeros(1, np.float32) for i in range(9)}
  tensors["lm_head.weight"] = np.zeros((2, 3), np.float32)
  save_file(tensors, path)
  with pytest.raises(ValueError, match="shape of lm_head.weight") as error:
    backbones.load_backbone(tmp_path)
  for text in ("missing: ", "unexpected: more_0", "more"):
    assert text in str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_pytorch_files(legacy, sharded, tmp_path):
  torch = pytest.importorskip("torch", reason=REASON)
  model = make_hf(tmp_path).to(torch.bfloat16)
  expected = backbones.load_backbone(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  state = {k: v.clone() for k, v in model.state_dict().items()}
  names = sorted(state)
  parts = {"pytorch_model.bin": names}
  if sharded:
    parts = {"p-1.bin": names[::2], "p-2.bin": names[1::2]}
    weight_map = {name: p for p, part in parts.items() for name in part}
    (tmp_path / "pytorch_model.bin.index.json").write_text(
      json.dumps({"weight_map": weight_map})
    )
  for part, chosen in parts.items():
    torch.save(
      {name: state[name] for name in chosen},
      tmp_path / part,
      # Published T5s were saved before PyTorch 1.6 introduced archives.
      _use_new_zipfile_serialization=not legacy,
    )
  rounded = jax.tree.map(
    lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), expected.params
  )
  check_same(
    backbones.load_backbone(tmp_path),
    expected.config,
    traverse_util.flatten_dict(rounded, sep="/"),
  )


def test_pytorch_files_run_no_code(tmp_path):
  torch = pytest.importorskip("torch", reason=REASON)
  make_hf(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  torch.save({"a": pytest.raises}, tmp_path / "pytorch_model.bin")
  with pytest.raises(ValueError, match="holds more than tensors"):
    backbones.load_backbone(tmp_path)
  torch.save({"a": {"b": torch.zeros(2)}}, tmp_path / "pytorch_model.bin")
  with pytest.raises(ValueError, match="not a dict of tensors"):
    backbones.load_backbone(tmp_path)
  (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04 cut")
  with pytest.raises(ValueError, match="damaged"):
    backbones.load_backbone(tmp_path)


def test_pytorch_missing(tmp_path, monkeypatch):
  make_hf(tmp_path)
  (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(ValueError, match="pytorch_model.bin needs PyTorch"):
    backbones.load_backbone(tmp_path)


def test_byt5_folder(tmp_path):
  transformers = pytest.importorskip("transformers", reason=REASON)
  make_hf(tmp_path / "hf")
  transformers.ByT5Tokenizer().save_pretrained(tmp_path / "hf")
  loaded = backbones.load_backbone(tmp_path / "hf")
  assert backbones.check_vocabulary(loaded) == 384
  convert.convert(tmp_path / "hf", tmp_path / "out")
  own = backbones.load_backbone(tmp_path / "out")
  assert own.vocabulary_path == str(tmp_path / "out" / "byte_vocabulary.json")
  assert backbones.check_vocabulary(own) == 384
  tokenizer = vocabularies.Tokenizer(own.vocabulary_path)
  assert tokenizer.encode("é") == [198, 172]


# ------------------------------------------------------------------- convert


def run(*argv):
  return cli.main([str(a) for a in argv])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_convert(t5, dtype, tmp_path, capsys):
  config, flat = t5
  source = write_legacy(tmp_path / "run" / "checkpoint_7", flat)
  out = tmp_path / "out"
  assert run("convert", source, "--out", out, "--dtype", dtype) == 0
  printed = capsys.readouterr()
  assert printed.err == "" and "no vocabulary was found" in printed.out
  assert {p.name for p in out.iterdir()} == {
    "config.json",
    "params.safetensors",
    "manifest.json",
  }
  assert {p.name for p in tmp_path.iterdir()} == {"run", "out"}
  loaded = backbones.load_backbone(out)
  kept = {name: x.astype(dtype).astype(np.float32) for name, x in flat.items()}
  check_same(loaded, config, kept)
  assert loaded.fingerprint in printed.out

  manifest = json.loads((out / "manifest.json").read_text())
  assert manifest["fingerprint"] == loaded.fingerprint
  assert manifest["source"]["kind"] == "t5x"
  assert manifest["source"]["path"] == str(source)
  index = (source / "checkpoint").read_bytes()
  assert manifest["source"]["files"] == {
    "checkpoint": {
      "bytes": len(index),
      "sha256": hashlib.sha256(index).hexdigest(),
    }
  }
  on_disk = load_file(out / "params.safetensors")
  assert set(manifest["tensors"]) == set(on_disk) == set(flat)
  for name, entry in manifest["tensors"].items():
    assert entry == {
      "shape": list(flat[name].shape),
      "source_dtype": "float32",
      "dtype": dtype,
      "sha256": hashlib.sha256(on_disk[name].tobytes()).hexdigest(),
    }


def test_convert_equals_save_backbone(t5, tmp_path):
  config, flat = t5
  tree = traverse_util.unflatten_dict(flat, sep="/")
  saved = backbones.save_backbone(tmp_path / "saved", config, tree)
  write_legacy(tmp_path / "source", flat)
  convert.convert(tmp_path / "source", tmp_path / "out")
  assert backbones.load_backbone(tmp_path / "out").fingerprint == (
    saved.fingerprint
  )
  for name in ("params.safetensors", "config.json"):
    assert (tmp_path / "out" / name).read_bytes() == (
      tmp_path / "saved" / name
    ).read_bytes()


def test_convert_hands_the_vocabulary_on(t5, tmp_path, capsys):
  config, flat = t5
  pieces = tmp_path / "some.model"
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a b c d e f g h i j k l m"] * 9),
    model_prefix=str(tmp_path / "some"),
    vocab_size=20,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  source = write_legacy(tmp_path / "source", flat)
  command = ("convert", source, "--out", tmp_path / "out", "--vocabulary")
  assert run(*command, pieces) == 2
  # The model has 40 rows; 100 sentinels alone are too many.
  assert "does not fit the model" in capsys.readouterr().err
  assert run(*command, tmp_path / "none.model") == 2
  assert "no vocabulary at" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()

  large = {
    name: np.resize(x, [200 if n == 40 else n for n in x.shape])
    for name, x in flat.items()
  }
  source = write_legacy(tmp_path / "large", large)
  (source / "spiece.model").write_bytes(pieces.read_bytes())
  convert.convert(source, tmp_path / "out")
  loaded = backbones.load_backbone(tmp_path / "out")
  path = tmp_path / "out" / "sentencepiece.model"
  assert loaded.vocabulary_path == str(path)
  assert path.read_bytes() == pieces.read_bytes()
  manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
  assert manifest["vocabulary"] == {
    "file": "sentencepiece.model",
    "sha256": hashlib.sha256(pieces.read_bytes()).hexdigest(),
  }


def test_convert_replaces_nothing(t5, tmp_path, capsys):
  _, flat = t5
  source = write_legacy(tmp_path / "source", flat)
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "mine").write_text("kept")
  assert run("convert", source, "--out", tmp_path / "out") == 2
  assert "is not empty" in capsys.readouterr().err
  assert (tmp_path / "out" / "mine").read_text() == "kept"
  assert run("convert", tmp_path / "nowhere", "--out", tmp_path / "new") == 2
  assert "no backbone folder" in capsys.readouterr().err
  assert {p.name for p in tmp_path.iterdir()} == {"source", "out"}


def test_broken_conversion_leaves_nothing(t5, tmp_path, monkeypatch, capsys):
  _, flat = t5
  source = write_legacy(tmp_path / "source", flat)

  def full(*args):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("mpt_jax.backbones.tensor_files.os.fsync", full)
  assert run("convert", source, "--out", tmp_path / "out") == 2
  assert "No space left on device" in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_convert_holds_one_tensor_at_a_time(tmp_path):
  # 16 equal layers of 0.75 MB in float32; all of them are 17 MB.
  config = T5Config(
    vocab_size=40,
    emb_dim=128,
    num_heads=2,
    head_dim=64,
    mlp_dim=512,
    num_encoder_layers=16,
    num_decoder_layers=8,
  )
  shapes = parameter_shapes(config)
  flat = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
  tree = traverse_util.unflatten_dict(flat, sep="/")
  size = sum(x.nbytes for x in flat.values())
  backbones.save_backbone(tmp_path / "source", config, tree)
  tracemalloc.start()
  convert.convert(tmp_path / "source", tmp_path / "out")
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert size > 15e6 and peak < size / 4


def test_tensor_by_tensor_files_are_safetensors(t5, tmp_path):
  # The safetensors library reads our files, and we read the library's.
  config, flat = t5
  tree = traverse_util.unflatten_dict(flat, sep="/")
  backbones.save_backbone(tmp_path, config, tree)
  path = tmp_path / "params.safetensors"
  for name, array in load_file(path).items():
    np.testing.assert_array_equal(array, flat[name])
  metadata = TensorFiles(tmp_path, [path]).metadata
  save_file(load_file(path), path, metadata)
  check_same(backbones.load_backbone(tmp_path), config, flat)
