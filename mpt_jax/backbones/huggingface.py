"""Hugging Face's T5 folders: their config, and their tensors' names."""

import numpy as np
from flax import traverse_util

from mpt_jax.backbones.shapes import (
  check_tensors,
  parameter_shapes,
  raise_problems,
)
from mpt_jax.backbones.tensor_files import (
  TensorFiles,
  TorchFiles,
  read_json,
)
from mpt_jax.model.config import T5Config


def hf_config(fields, folder):
  """The T5Config that a Hugging Face `config.json` describes.

  Dropout stays at 0: a frozen T5 with a trained prompt draws none.

  Args:
    fields: the fields of the file.
    folder: its folder, for errors.

  Raises:
    ValueError: it is neither a T5 1.0 nor a 1.1 (mT5, ByT5 and UL2 are 1.1).
  """

  def refuse(name, expected):
    raise ValueError(
      f"{folder / 'config.json'}: {name} must be {expected}, got"
      f" {fields.get(name)!r}"
    )

  if fields["model_type"] not in ("t5", "mt5"):
    refuse("model_type", "'t5' or 'mt5'")
  activations = {
    "relu": ("relu",),
    "gated-gelu": ("gelu", "linear"),
    "gated-silu": ("silu", "linear"),
  }
  # The default of transformers.
  default = "relu" if fields["model_type"] == "t5" else "gated-gelu"
  feed_forward = fields.get("feed_forward_proj", default)
  if not isinstance(feed_forward, str) or feed_forward not in activations:
    refuse(
      "feed_forward_proj",
      "'relu' (T5 1.0), 'gated-gelu' (1.1) or 'gated-silu' (UL2)",
    )
  if fields.get("layer_norm_epsilon", 1e-6) != 1e-6:
    refuse("layer_norm_epsilon", "1e-06")
  ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
  for name, expected in ids.items():
    if fields.get(name) not in (None, expected):
      refuse(name, f"{expected}, as T5 has it")
  sizes = {
    "vocab_size": "vocab_size",
    "emb_dim": "d_model",
    "num_heads": "num_heads",
    "head_dim": "d_kv",
    "mlp_dim": "d_ff",
    "num_encoder_layers": "num_layers",
  }
  for name in sizes.values():
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
      refuse(name, "a positive integer")
  # Since version 5, transformers writes tie_word_embeddings=True for T5 1.1
  # too and tells the versions apart by scale_decoder_outputs. mT5 is a 1.1 and
  # is never scaled, whatever its config says.
  scaled = fields["model_type"] == "t5" and fields.get(
    "scale_decoder_outputs", fields.get("tie_word_embeddings", True)
  )
  layers = fields.get("num_decoder_layers") or fields["num_layers"]
  try:
    return T5Config(
      **{ours: fields[name] for ours, name in sizes.items()},
      num_decoder_layers=layers,
      mlp_activations=activations[feed_forward],
      logits_via_embedding=bool(scaled),
      num_relpos_buckets=fields.get("relative_attention_num_buckets", 32),
      max_relpos_distance=fields.get("relative_attention_max_distance", 128),
    )
  except ValueError as error:
    raise ValueError(f"{folder / 'config.json'}: {error}") from error


def hf_shares_head(fields) -> bool:
  """Whether the embedding serves as the output head of a T5 1.1 without one.

  transformers 5 writes such files if `tie_word_embeddings` is true. A T5Model
  never had a head.
  """
  names = fields.get("architectures") or ["T5ForConditionalGeneration"]
  has_head = any(n.endswith("ForConditionalGeneration") for n in names)
  return has_head and bool(fields.get("tie_word_embeddings", True))


def hf_files(folder):
  """Paths of the files of weights: one, or the shards of an index.

  safetensors files are preferred to PyTorch's.
  """
  for name in ("model.safetensors", "pytorch_model.bin"):
    index = folder / f"{name}.index.json"
    if (folder / name).is_file():
      return [folder / name]
    if index.is_file():
      weight_map = read_json(index, folder).get("weight_map")
      if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(n, str) for n in weight_map.values())
      ):
        raise ValueError(f"{index} has no weight_map of tensor names to files")
      return [folder / name for name in sorted(set(weight_map.values()))]
  return [folder / "model.safetensors"]


def hf_tensors(folder):
  """The tensors of a folder by Hugging Face's names, read one by one."""
  paths = hf_files(folder)
  files = TorchFiles if paths[0].suffix == ".bin" else TensorFiles
  return files(folder, paths)


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
    Tree of arrays with t5x's names and unchanged dtypes.

  Raises:
    ValueError: tensors are missing, unexpected or of another shape than config
      says.
  """
  where = "the state dict"
  sources = hf_sources(state_dict, config, where)
  flat = dict(hf_items(state_dict, sources, where))
  return traverse_util.unflatten_dict(flat, sep="/")


# transformers has three names for T5's only embedding.
_EMBEDDINGS = (
  "shared.weight",
  "encoder.embed_tokens.weight",
  "decoder.embed_tokens.weight",
)
# T5 never uses this table, but the published 1.0 files hold it.
_UNUSED = (
  "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
)


def _turned(name, array):
  """The array in our layout.

  Flax multiplies by [in, out] kernels and PyTorch by [out, in] weights. The
  bias table is [heads, buckets] here and [buckets, heads] there.
  """
  return array if name == "token_embedder/embedding" else array.T


def hf_sources(tensors, config, where, shares_head=False) -> dict[str, str]:
  """Hugging Face's name of each of our tensors; checks that all are there.

  Args:
    tensors: mapping of Hugging Face's names to arrays.
    config: shape of the T5.
    where: names the tensors in errors.
    shares_head: see `hf_shares_head`.

  Raises:
    ValueError: tensors are missing, unexpected or of another shape than config
      says.
  """
  shapes = parameter_shapes(config)
  sources = {name: _hf_name(name) for name in shapes}
  embedding = next((n for n in _EMBEDDINGS if n in tensors), _EMBEDDINGS[0])
  sources["token_embedder/embedding"] = embedding
  head = "decoder/logits_dense/kernel"
  if head in shapes and shares_head and "lm_head.weight" not in tensors:
    sources[head] = embedding
  ignored = {*_EMBEDDINGS, _UNUSED} - {embedding}
  if config.logits_via_embedding:
    ignored.add("lm_head.weight")
  shape = getattr(tensors, "shape", lambda name: tuple(tensors[name].shape))
  check_tensors(
    where,
    {name: shape(name) for name in tensors if name not in ignored},
    {
      sources[name]: _turned(name, np.broadcast_to(0, s)).shape
      for name, s in shapes.items()
    },
  )
  return sources


def hf_items(tensors, sources, where):
  """Yields (t5x name, array), sorted by name, one tensor in memory at a time.

  Args:
    tensors: mapping of Hugging Face's names to arrays.
    sources: the result of `hf_sources`.
    where: names the tensors in errors.

  Raises:
    ValueError: the copies of T5's only embedding differ.
  """
  # If the config ties the output head, the head is a copy too.
  copies = {*_EMBEDDINGS, "lm_head.weight"} - set(sources.values())
  embedding = sources["token_embedder/embedding"]
  for name in sorted(copies & set(tensors)):
    if not np.array_equal(tensors[name], tensors[embedding]):
      raise_problems(where, [f"{name} differs from {embedding}"])
  for name, source in sources.items():
    yield name, np.ascontiguousarray(_turned(name, tensors[source]))
