"""Folders of Hugging Face: shards and their index, names, layout of tensors."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util
from hf_folders import check_logits, make_hf
from safetensors.numpy import load_file, save_file

from mpt_jax.backbones import huggingface
from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.backbones.shapes import parameter_shapes


def theirs(config, copies=()):
  """Numbered tensors of a T5 1.0 in Hugging Face's names and layout."""
  state, number = {}, 0
  for name, shape in parameter_shapes(config).items():
    stack, *_ = parts = name.split("/")
    size = int(np.prod(shape))
    array = np.arange(number, number + size, dtype=np.float32).reshape(shape)
    number += size
    if stack == "token_embedder":
      state |= dict.fromkeys(("shared.weight", *copies), array)
      continue
    block = f"{stack}.block.{parts[1].removeprefix('layers_')}"
    known = {
      "relpos_bias": f"{stack}.block.0.layer.0.SelfAttention"
      ".relative_attention_bias.weight",
      f"{stack}_norm": f"{stack}.final_layer_norm.weight",
    }
    if parts[1] in known:
      state[known[parts[1]]] = array.T
      continue
    layer = {
      ("encoder", "mlp"): "layer.1.DenseReluDense",
      ("decoder", "mlp"): "layer.2.DenseReluDense",
      ("encoder", "pre_mlp_layer_norm"): "layer.1.layer_norm",
      ("decoder", "pre_mlp_layer_norm"): "layer.2.layer_norm",
      ("encoder", "attention"): "layer.0.SelfAttention",
      ("encoder", "pre_attention_layer_norm"): "layer.0.layer_norm",
      ("decoder", "self_attention"): "layer.0.SelfAttention",
      ("decoder", "pre_self_attention_layer_norm"): "layer.0.layer_norm",
      ("decoder", "encoder_decoder_attention"): "layer.1.EncDecAttention",
      ("decoder", "pre_cross_attention_layer_norm"): "layer.1.layer_norm",
    }[stack, parts[2]]
    short = {"query": "q", "key": "k", "value": "v", "out": "o"}
    middle = "".join("." + short.get(p, p) for p in parts[3:-1])
    state[f"{block}.{layer}{middle}.weight"] = array.T
  return state


def test_every_tensor_goes_to_its_place(make_config):
  config = make_config("1.0")
  params = huggingface.hf_to_t5x_params(theirs(config), config)
  flat = traverse_util.flatten_dict(params, sep="/")
  shapes = parameter_shapes(config)
  assert {name: x.shape for name, x in flat.items()} == shapes
  numbers = np.concatenate([flat[name].ravel() for name in shapes])
  np.testing.assert_array_equal(numbers, np.arange(numbers.size))


COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def test_copies_of_the_embedding_must_be_equal(make_config):
  config = make_config("1.0")
  state = theirs(config, copies=(*COPIES, "lm_head.weight"))
  huggingface.hf_to_t5x_params(state, config)
  for name in (*COPIES, "lm_head.weight"):
    other = {**state, name: state[name] + 1}
    with pytest.raises(ValueError, match=f"{name} differs from shared.weight"):
      huggingface.hf_to_t5x_params(other, config)
  # Any of the copies can stand for the others.
  del state["shared.weight"]
  made = huggingface.hf_to_t5x_params(state, config)
  expected = huggingface.hf_to_t5x_params(theirs(config), config)
  jax.tree.map(np.testing.assert_array_equal, made, expected)


def test_a_table_that_t5_never_reads_is_left_out(make_config):
  config, state = make_config("1.0"), theirs(make_config("1.0"))
  name = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  )
  huggingface.hf_to_t5x_params({**state, name: np.zeros((32, 3))}, config)
  with pytest.raises(ValueError, match="unexpected: .*relative_attention_bi"):
    other = name.replace("block.0", "block.1")
    huggingface.hf_to_t5x_params({**state, other: np.zeros((32, 3))}, config)


def test_one_file_comes_before_shards_and_safetensors_before_pytorch(tmp_path):
  def names():
    return [path.name for path in huggingface.hf_files(tmp_path)]

  # What is missing is named as the file that one would add.
  assert names() == ["model.safetensors"]
  index = tmp_path / "pytorch_model.bin.index.json"
  index.write_text('{"weight_map": {"a": "p-2.bin", "b": "p-1.bin"}}')
  assert names() == ["p-1.bin", "p-2.bin"]
  (tmp_path / "pytorch_model.bin").write_bytes(b"")
  assert names() == ["pytorch_model.bin"]
  index = tmp_path / "model.safetensors.index.json"
  index.write_text('{"weight_map": {"a": "p.safetensors"}}')
  assert names() == ["p.safetensors"]
  (tmp_path / "model.safetensors").write_bytes(b"")
  assert names() == ["model.safetensors"]


@pytest.mark.parametrize(
  "index", [{}, {"weight_map": {}}, {"weight_map": {"a": 1}}]
)
def test_an_index_of_nothing(index, tmp_path):
  make_hf(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  path = tmp_path / "model.safetensors.index.json"
  path.write_text(json.dumps(index))
  with pytest.raises(ValueError, match="index.json has no weight_map"):
    load_backbone(tmp_path)


def shard(folder, **index):
  """Splits a folder's weights into two files with an index."""
  path = folder / "model.safetensors"
  tensors = load_file(path)
  path.unlink()
  names = sorted(tensors)
  halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
  for name, part in halves.items():
    save_file({n: tensors[n] for n in part}, folder / name)
  weight_map = {n: name for name, part in halves.items() for n in part}
  weight_map |= index
  weight_map = {n: name for n, name in weight_map.items() if name is not None}
  (folder / "model.safetensors.index.json").write_text(
    json.dumps({"metadata": {}, "weight_map": weight_map})
  )
  return halves


@pytest.mark.parametrize(
  "name",
  ["../out.safetensors", "/tmp/x.safetensors", "sub/x.safetensors"]
  + ["..\\x.safetensors", "x.bin", "..", ""],
)
def test_shards_stay_in_the_folder(name, tmp_path):
  make_hf(tmp_path / "t5")
  shard(tmp_path / "t5", **{"shared.weight": name})
  with pytest.raises(ValueError, match="must be the name of a .safetensors"):
    load_backbone(tmp_path / "t5")


def test_an_index_and_shards_that_differ(tmp_path):
  model = make_hf(tmp_path)
  halves = shard(tmp_path)
  check_logits(load_backbone(tmp_path), model)
  first, second = halves["a.safetensors"][0], halves["b.safetensors"][0]
  index = tmp_path / "model.safetensors.index.json"
  good = index.read_text()
  weight_map = json.loads(good)["weight_map"]
  for change in ({first: "b.safetensors"}, {"more": "a.safetensors"}):
    index.write_text(json.dumps({"weight_map": {**weight_map, **change}}))
    with pytest.raises(ValueError, match="its shards differ.*1 in all"):
      load_backbone(tmp_path)
  del weight_map[first]
  index.write_text(json.dumps({"weight_map": weight_map}))
  with pytest.raises(ValueError, match=f"{first} is in a.safe.*the index"):
    load_backbone(tmp_path)
  index.write_text(good)
  # One tensor in both shards.
  path = tmp_path / "a.safetensors"
  tensors = load_file(path)
  other = load_file(tmp_path / "b.safetensors")[second]
  save_file({**tensors, second: other}, path)
  with pytest.raises(ValueError, match=f"{second} is both in .*a.safetensors"):
    load_backbone(tmp_path)
  path.unlink()
  with pytest.raises(FileNotFoundError, match="no a.safetensors"):
    load_backbone(tmp_path)
