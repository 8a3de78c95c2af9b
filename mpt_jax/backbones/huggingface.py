"""Hugging Face's T5 folders: their files of weights, and the tensors' names."""

import pathlib

import numpy as np
from flax import traverse_util

from mpt_jax.backbones.shapes import (
  check_sizes,
  check_tensors,
  parameter_shapes,
  raise_problems,
)
from mpt_jax.backbones.tensor_files import (
  TensorFiles,
  TorchFiles,
)
from mpt_jax.io import files
from mpt_jax.model.config import T5Config


def hf_files(folder):
  """Paths of the files of weights: one, or the shards of an index.

  safetensors files are preferred to PyTorch's.

  Raises:
    ValueError: an index is damaged, or names files outside the folder.
  """
  paths, _ = _find_files(folder)
  return paths


def _find_files(folder):
  """The files of weights, and {tensor name: file name} of an index or None."""
  for name in ("model.safetensors", "pytorch_model.bin"):
    index = folder / f"{name}.index.json"
    if (folder / name).is_file():
      return [folder / name], None
    if index.is_file():
      weight_map = files.read_json(index).get("weight_map")
      if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(n, str) for n in weight_map.values())
      ):
        raise ValueError(f"{index} has no weight_map of tensor names to files")
      names = sorted(set(weight_map.values()))
      for shard in names:
        if not shard.endswith(pathlib.Path(name).suffix) or not _is_plain(
          shard
        ):
          raise ValueError(
            f"{index}: the shard {shard!r:.100} must be the name of a"
            f" {pathlib.Path(name).suffix} file in this folder"
          )
      return [folder / shard for shard in names], weight_map
  return [folder / "model.safetensors"], None


def _is_plain(name) -> bool:
  """Whether a name stays in its folder, on every system."""
  return not set("/\\:\0") & set(name) and name.strip(". ") != ""


def hf_tensors(folder):
  """The tensors of a folder by Hugging Face's names, read one by one.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is damaged, or the index names other tensors than the
      shards hold.
  """
  paths, weight_map = _find_files(folder)
  files = TorchFiles if paths[0].suffix == ".bin" else TensorFiles
  tensors = files(folder, paths)
  if weight_map is not None:
    found = {name: path.name for name, path in tensors.paths.items()}
    wrong = [
      f"{name} is in {found.get(name, 'no shard')}, not in"
      f" {weight_map.get(name, 'the index')}"
      for name in sorted({*found, *weight_map})
      if found.get(name) != weight_map.get(name)
    ]
    if wrong:
      raise ValueError(
        f"the index of {folder} and its shards differ: {'; '.join(wrong[:3])};"
        f" {len(wrong)} in all; copy the folder again"
      )
  return tensors


_TABLE = "layer.0.SelfAttention.relative_attention_bias"
_PARTS = {
  "relpos_bias": _TABLE,
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


def hf_name(name):
  """Hugging Face's name of a tensor.

  >>> hf_name("encoder/layers_3/mlp/wi_0/kernel")
  'encoder.block.3.layer.1.DenseReluDense.wi_0.weight'
  >>> hf_name("decoder/layers_0/encoder_decoder_attention/out/kernel")
  'decoder.block.0.layer.1.EncDecAttention.o.weight'
  >>> hf_name("encoder/layers_3/relpos_bias/rel_embedding")
  'encoder.block.3.layer.0.SelfAttention.relative_attention_bias.weight'
  """
  if name in _TOP:
    return _TOP[name]
  stack, part, *rest = name.split("/")
  if part == "relpos_bias":
    return f"{stack}.block.0.{_TABLE}.weight"
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


def hf_fields(config: T5Config) -> dict:
  """The fields of a config.json from which transformers builds this T5.

  Raises:
    ValueError: transformers has no such feed-forward block.
  """
  name, *rest = config.mlp_activations
  if rest not in ([], ["linear"]):
    raise ValueError(
      "transformers has no T5 with mlp_activations="
      f"{config.mlp_activations}; it has one activation, or one and 'linear'"
    )
  # transformers takes "gated-gelu" for the GELU with tanh, as T5 has it.
  if name == "gelu" and not rest:
    name = "gelu_new"
  kind = "UMT5" if config.relpos_in_layers else "T5"
  return {
    "architectures": [f"{kind}ForConditionalGeneration"],
    "model_type": kind.lower(),
    "vocab_size": config.vocab_size,
    "d_model": config.emb_dim,
    "d_kv": config.head_dim,
    "d_ff": config.mlp_dim,
    "num_heads": config.num_heads,
    "num_layers": config.num_encoder_layers,
    "num_decoder_layers": config.num_decoder_layers,
    "feed_forward_proj": f"gated-{name}" if rest else name,
    "relative_attention_num_buckets": config.num_relpos_buckets,
    "relative_attention_max_distance": config.max_relpos_distance,
    "tie_word_embeddings": config.logits_via_embedding,
    "layer_norm_epsilon": 1e-6,
    "dropout_rate": config.dropout_rate,
    "is_encoder_decoder": True,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
  }


def to_hf(name, array):
  """(Hugging Face's name, array in its layout) of one of our tensors."""
  return hf_name(name), np.ascontiguousarray(_turned(name, array))


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
  shape = getattr(tensors, "shape", lambda name: tuple(tensors[name].shape))
  check_sizes(where, config, [shape(name) for name in tensors])
  shapes = parameter_shapes(config)
  sources = {name: hf_name(name) for name in shapes}
  embedding = next((n for n in _EMBEDDINGS if n in tensors), _EMBEDDINGS[0])
  sources["token_embedder/embedding"] = embedding
  head = "decoder/logits_dense/kernel"
  if head in shapes and shares_head and "lm_head.weight" not in tensors:
    sources[head] = embedding
  ignored = {*_EMBEDDINGS, _UNUSED} - {embedding}
  if config.logits_via_embedding:
    ignored.add("lm_head.weight")
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
