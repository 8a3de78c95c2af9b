"""Hugging Face's T5 folders: their config, and their tensors' names."""

import numpy as np
from flax import traverse_util

from mpt_jax.network import T5Config
from mpt_jax.tensor_files import (
  check_tensors,
  parameter_shapes,
  raise_problems,
  read_json,
)


def hf_config(fields, folder):
  """T5Config of the fields of a Hugging Face `config.json`.

  Dropout is left at 0: a frozen T5 with a trained prompt draws none.

  Raises:
    ValueError: not a T5 1.0 or 1.1.
  """

  def refuse(name, expected):
    raise ValueError(
      f"{folder / 'config.json'}: {name} must be {expected}, got"
      f" {fields.get(name)!r}"
    )

  if fields["model_type"] != "t5":
    refuse("model_type", "'t5'")
  activations = {"relu": ("relu",), "gated-gelu": ("gelu", "linear")}
  feed_forward = fields.get("feed_forward_proj", "relu")
  if feed_forward not in activations:
    refuse("feed_forward_proj", "'relu' (T5 1.0) or 'gated-gelu' (1.1)")
  if fields.get("layer_norm_epsilon", 1e-6) != 1e-6:
    refuse("layer_norm_epsilon", "1e-06")
  names = ("vocab_size", "d_model", "num_heads", "d_kv", "d_ff", "num_layers")
  for name in names:
    if name not in fields:
      refuse(name, "a positive integer")
  # Since version 5, transformers writes tie_word_embeddings=True for T5 1.1
  # too, and tells the versions apart by scale_decoder_outputs.
  scaled = fields.get(
    "scale_decoder_outputs", fields.get("tie_word_embeddings", True)
  )
  return T5Config(
    *(fields[name] for name in names),
    num_decoder_layers=fields.get("num_decoder_layers") or fields["num_layers"],
    mlp_activations=activations[feed_forward],
    logits_via_embedding=bool(scaled),
    num_relpos_buckets=fields.get("relative_attention_num_buckets", 32),
    max_relpos_distance=fields.get("relative_attention_max_distance", 128),
  )


def hf_files(folder):
  """Paths of the safetensors files: one, or the shards of an index."""
  index = folder / _INDEX
  if not index.is_file():
    return [folder / "model.safetensors"]
  weight_map = read_json(index, folder).get("weight_map")
  if not isinstance(weight_map, dict):
    raise ValueError(f"{index} has no weight_map of tensor names to files")
  return [folder / name for name in sorted(set(weight_map.values()))]


_INDEX = "model.safetensors.index.json"
_PARTS = {
  "pre_attention_layer_norm": "layer.0.layer_norm",
  "attention": "layer.0.SelfAttention",
  "pre_self_attention_layer_norm": "layer.0.layer_norm",
  "self_attention": "layer.0.SelfAttention",
  "pre_cross_attention_layer_norm": "layer.1.layer_norm",
  "encoder_decoder_attention": "layer.1.EncDecAttention",
}
_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "out": "o"}
_TOP = {
  "token_embedder/embedding": "shared.weight",
  "decoder/logits_dense/kernel": "lm_head.weight",
}


def _hf_name(name):
  """Hugging Face's name of a tensor.

  >>> _hf_name("encoder/layers_3/mlp/wi_0/kernel")
  'encoder.block.3.layer.1.DenseReluDense.wi_0.weight'
  >>> _hf_name("decoder/layers_0/encoder_decoder_attention/out/kernel")
  'decoder.block.0.layer.1.EncDecAttention.o.weight'
  """
  if name in _TOP:
    return _TOP[name]
  stack, part, *rest = name.split("/")
  if part == "relpos_bias":
    return (
      f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    )
  if part == f"{stack}_norm":
    return f"{stack}.final_layer_norm.weight"
  block = f"{stack}.block.{part.removeprefix('layers_')}"
  mlp = "layer.1" if stack == "encoder" else "layer.2"
  if rest[0] == "mlp":
    return f"{block}.{mlp}.DenseReluDense.{rest[1]}.weight"
  if rest[0] == "pre_mlp_layer_norm":
    return f"{block}.{mlp}.layer_norm.weight"
  middle = "".join(f".{_PROJECTIONS[p]}" for p in rest[1:-1])
  return f"{block}.{_PARTS[rest[0]]}{middle}.weight"


def hf_to_t5x_params(state_dict, config: T5Config):
  """Converts the tensors of a Hugging Face T5.

  Args:
    state_dict: mapping of Hugging Face's names to NumPy arrays.
    config: shape of the T5.

  Returns:
    Tree of arrays with t5x's names, in the dtypes they came in.

  Raises:
    ValueError: tensors missing, too many, or of another shape than config's.
  """
  flat = dict(hf_items(state_dict, config, "the state dict"))
  return traverse_util.unflatten_dict(flat, sep="/")


def hf_items(tensors, config, where):
  """Yields (t5x name, array), sorted by name, one tensor in memory at a time."""
  shapes = parameter_shapes(config)
  # Flax multiplies by [in, out] kernels, PyTorch by [out, in] weights, and the
  # bias table is [heads, buckets] here, [buckets, heads] there.
  turned = lambda name, x: x.T if name != "token_embedder/embedding" else x
  sources = {name: _hf_name(name) for name in shapes}
  if "lm_head.weight" not in tensors:
    # transformers 5 writes no lm_head where a T5 1.1 shares the embedding.
    sources["decoder/logits_dense/kernel"] = "shared.weight"
  copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
  if config.logits_via_embedding:
    copies.add("lm_head.weight")
  # A table that T5 never uses but that the published 1.0 files hold.
  unused = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  )
  shape = getattr(tensors, "shape", lambda name: tuple(tensors[name].shape))
  found = {n: shape(n) for n in tensors if n not in copies and n != unused}
  expected = {
    sources[name]: turned(name, np.broadcast_to(0, s)).shape
    for name, s in shapes.items()
  }
  check_tensors(where, found, expected)
  for name in sorted(copies & set(tensors)):
    if not np.array_equal(tensors[name], tensors["shared.weight"]):
      raise_problems(where, [f"{name} differs from shared.weight"])
  for name in shapes:
    yield name, np.ascontiguousarray(turned(name, tensors[sources[name]]))
