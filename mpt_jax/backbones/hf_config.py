"""Reads Hugging Face's config.json and generation_config.json of a T5.

Every field is in one of these groups:

  obeyed    it becomes a part of `T5Config`: the sizes, the activation
            (`dense_act_fn`, `is_gated_act`, `feed_forward_proj`), the scale of
            the logits (`scale_decoder_outputs`, `tie_word_embeddings`)
  fixed     it changes what is computed, and only T5's own value is supported;
            another value is refused by name, see `_FIXED`
  chosen    it changes how transformers generates text; here the user chooses
            this, so a value other than the default is named in a warning, see
            `_GENERATION`
  harmless  it changes nothing that is computed here, see `_HARMLESS`

A field in none of them is named in a warning.
"""

import warnings

from mpt_jax.io import files
from mpt_jax.model.config import T5Config

CONFIG = "config.json"
GENERATION = "generation_config.json"
# No table of a T5 is as long as this; the shapes of the tensors say more.
_MOST = 2**31

# Our names of the sizes and Hugging Face's. transformers takes the second name
# for the first one, and obeys it where a file has both.
_SIZES = {
  "vocab_size": ("vocab_size", None),
  "emb_dim": ("d_model", "hidden_size"),
  "num_heads": ("num_heads", "num_attention_heads"),
  "head_dim": ("d_kv", "head_dim"),
  "mlp_dim": ("d_ff", None),
  "num_encoder_layers": ("num_layers", "num_hidden_layers"),
}
_RELPOS = {
  "num_relpos_buckets": ("relative_attention_num_buckets", 32),
  "max_relpos_distance": ("relative_attention_max_distance", 128),
}
# transformers' names of the functions that T5Config has. Its "gelu" is another
# function, with the error function in place of tanh.
_ACTIVATIONS = {
  "relu": "relu",
  "gelu_new": "gelu",
  "gelu_pytorch_tanh": "gelu",
  "gelu_fast": "gelu",
  "silu": "silu",
  "swish": "silu",
  "linear": "linear",
}
_OTHER_OBEYED = {
  "model_type",
  "architectures",
  "feed_forward_proj",
  "dense_act_fn",
  "is_gated_act",
  "tie_word_embeddings",
  "scale_decoder_outputs",
  "num_decoder_layers",
}
ARCHITECTURES = {
  f"{name}{kind}"
  for name in ("T5", "MT5", "UMT5")
  for kind in ("ForConditionalGeneration", "Model", "WithLMHeadModel")
}
# Padding, end and start of a sequence, in config.json and in
# generation_config.json.
_IDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
_FIXED = {
  "layer_norm_epsilon": (1e-6,),
  "is_encoder_decoder": (True,),
  "is_decoder": (False,),
  "add_cross_attention": (False,),
  # One set of weights for both stacks, or heads that were taken out.
  "tie_encoder_decoder": (False, None),
  "pruned_heads": ({}, None),
  "cross_attention_hidden_size": (None,),
  "quantization_config": (None,),
  "compression_config": (None,),
  # Code that the folder brings along.
  "auto_map": ({}, None),
}
_HARMLESS = {
  # Dropout and random starts: a T5 here is loaded and frozen.
  *("dropout_rate", "classifier_dropout", "initializer_factor"),
  *("initializer_range", "attention_dropout", "hidden_dropout_prob"),
  # What a call returns or keeps, and how the same numbers are computed.
  *("use_cache", "output_hidden_states", "output_attentions", "return_dict"),
  *("return_dict_in_generate", "output_scores", "output_logits"),
  *("use_return_dict", "output_past", "torchscript", "use_bfloat16"),
  *("chunk_size_feed_forward", "attn_implementation", "_attn_implementation"),
  *("_attn_implementation_autoset", "gradient_checkpointing"),
  *("use_flash_attention", "cache_implementation", "low_memory"),
  *("tf_legacy_loss", "is_assistant", "assistant_early_exit", "cache_config"),
  *("num_assistant_tokens", "num_assistant_tokens_schedule", "compile_config"),
  *("assistant_confidence_threshold", "assistant_lookbehind", "use_mtp"),
  *("target_lookbehind", "prompt_lookup_num_tokens", "max_cache_len"),
  *("max_matching_ngram_size", "disable_compile", "prefill_chunk_size"),
  # The dtype of the file: float32 holds each of its values exactly.
  *("torch_dtype", "dtype"),
  # Heads that a T5 for text has not.
  *("num_labels", "id2label", "label2id", "problem_type", "finetuning_task"),
  # Origin and tokenizer. T5's positions are relative and know no maximum.
  *("_name_or_path", "name_or_path", "transformers_version", "_commit_hash"),
  *("_from_model_config", "tokenizer_class", "n_positions", "model_max_length"),
  *("bos_token_id", "sep_token_id", "unk_token_id", "mask_token_id"),
  # A note in UMT5's files, which transformers does not read.
  "scalable_attention",
  # The prefixes of tasks, which only transformers' pipelines put in front. A
  # trained prompt takes their place.
  *("task_specific_params", "prefix"),
}
# Options of generate and transformers' defaults.
_GENERATION = {
  "max_length": 20,
  "max_new_tokens": None,
  "min_length": 0,
  "min_new_tokens": None,
  "num_beams": 1,
  "num_beam_groups": 1,
  "num_return_sequences": 1,
  "do_sample": False,
  "early_stopping": False,
  "temperature": 1.0,
  "top_k": 50,
  "top_p": 1.0,
  "typical_p": 1.0,
  "min_p": None,
  "top_h": None,
  "epsilon_cutoff": 0.0,
  "eta_cutoff": 0.0,
  "repetition_penalty": 1.0,
  "encoder_repetition_penalty": 1.0,
  "length_penalty": 1.0,
  "diversity_penalty": 0.0,
  "no_repeat_ngram_size": 0,
  "encoder_no_repeat_ngram_size": 0,
  "bad_words_ids": None,
  "force_words_ids": None,
  "constraints": None,
  "forced_bos_token_id": None,
  "forced_eos_token_id": None,
  "forced_decoder_ids": None,
  "suppress_tokens": None,
  "begin_suppress_tokens": None,
  "sequence_bias": None,
  "remove_invalid_values": False,
  "renormalize_logits": False,
  "exponential_decay_length_penalty": None,
  "guidance_scale": None,
  "penalty_alpha": None,
  "dola_layers": None,
  "stop_strings": None,
  "token_healing": False,
  "max_time": None,
  "watermarking_config": None,
}


def hf_config(fields, folder) -> T5Config:
  """The T5Config that a Hugging Face `config.json` describes.

  Dropout stays at 0: a frozen T5 with a trained prompt draws none. A
  `generation_config.json` in the folder is checked too.

  Args:
    fields: the fields of config.json.
    folder: its folder.

  Raises:
    ValueError: it is neither a T5 1.0 nor a 1.1 (mT5, UMT5, ByT5 and UL2 are
      1.1), or a field has a value that is not supported.
  """
  path = folder / CONFIG
  if fields["model_type"] not in ("t5", "mt5", "umt5"):
    _refuse(path, fields, "model_type", "'t5', 'mt5' or 'umt5'")
  names = fields.get("architectures")
  if names is not None and (
    not isinstance(names, list)
    or not all(isinstance(n, str) and n in ARCHITECTURES for n in names)
  ):
    expected = (
      "a T5 that generates text, such as ['T5ForConditionalGeneration']"
    )
    _refuse(path, fields, "architectures", expected)
  _check_fixed(path, fields)
  sizes = {ours: _size(path, fields, *names) for ours, names in _SIZES.items()}
  layers = sizes["num_encoder_layers"]
  if fields.get("num_decoder_layers") is not None:
    layers = _size(path, fields, "num_decoder_layers")
  relpos = {
    ours: _size(path, {name: default, **fields}, name)
    for ours, (name, default) in _RELPOS.items()
  }
  # Half of the decoder's buckets are for one distance each, the others for
  # ranges up to the largest distance. The encoder has two such halves.
  if relpos["num_relpos_buckets"] < 4:
    _refuse(path, fields, "relative_attention_num_buckets", "at least 4")
  if relpos["max_relpos_distance"] <= relpos["num_relpos_buckets"] // 2:
    expected = "more than half of relative_attention_num_buckets"
    _refuse(path, fields, "relative_attention_max_distance", expected)
  _name_unused(path, fields, _known())
  _check_generation(folder)
  return T5Config(
    **sizes,
    **relpos,
    num_decoder_layers=layers,
    mlp_activations=_activations(path, fields),
    logits_via_embedding=_is_scaled(path, fields),
    relpos_in_layers=fields["model_type"] == "umt5",
  )


def hf_shares_head(fields) -> bool:
  """Whether the embedding serves as the output head of a T5 1.1 without one.

  transformers 5 writes such files if `tie_word_embeddings` is true. A T5Model
  never had a head.
  """
  names = fields.get("architectures") or ["T5ForConditionalGeneration"]
  has_head = any(n.endswith("ForConditionalGeneration") for n in names)
  return has_head and fields.get("tie_word_embeddings") is not False


def _refuse(path, fields, name, expected):
  shown = repr(fields.get(name))
  shown = shown if len(shown) <= 80 else shown[:77] + "..."
  raise ValueError(f"{path}: {name} must be {expected}, got {shown}")


def _same(value, expected) -> bool:
  """Equality that does not take True for 1."""
  return value == expected and isinstance(value, bool) == isinstance(
    expected, bool
  )


def _check_fixed(path, fields):
  for name, values in _FIXED.items():
    if name in fields and not any(_same(fields[name], v) for v in values):
      _refuse(path, fields, name, f"{values[0]!r}, as T5 has it")
  _check_ids(path, fields, (path.parent / GENERATION).is_file())


def _check_ids(path, fields, has_start):
  """Checks the ids of padding, end and start.

  Without `decoder_start_token_id`, transformers generates from `bos_token_id`.

  Args:
    path: the file, for errors.
    fields: its fields.
    has_start: whether another file says what generation starts from.
  """
  for name, expected in _IDS.items():
    if not _is_id(fields.get(name), expected):
      _refuse(path, fields, name, f"{expected}, as T5 has it")
  start = fields.get("decoder_start_token_id")
  if (
    start is None
    and not has_start
    and not _is_id(fields.get("bos_token_id"), 0)
  ):
    expected = "0, as T5 starts, where decoder_start_token_id is missing"
    _refuse(path, fields, "bos_token_id", expected)


def _is_id(value, expected) -> bool:
  """Whether an id is T5's. generate takes a list of ids for the end too."""
  if isinstance(value, list) and len(value) == 1:
    value = value[0]
  return value is None or _same(value, expected)


def _size(path, fields, name, alias=None):
  """A size; transformers' second name for it must say the same."""
  value = fields.get(name)
  if alias in fields:
    if name in fields and not _same(fields[alias], value):
      _refuse(path, fields, alias, f"{value!r}, as {name} is")
    name, value = alias, fields[alias]
  if (
    not isinstance(value, int)
    or isinstance(value, bool)
    or not 1 <= value < _MOST
  ):
    _refuse(path, fields, name, "a positive integer")
  return value


def _activations(path, fields) -> tuple[str, ...]:
  """The activations. `dense_act_fn` and `is_gated_act` come first.

  transformers derives both from `feed_forward_proj` and then takes the values
  that the file has.
  """
  default = "relu" if fields["model_type"] == "t5" else "gated-gelu"
  name = "feed_forward_proj"
  given = fields.get(name, default)
  parts = given.split("-") if isinstance(given, str) else []
  if len(parts) not in (1, 2) or (len(parts) == 2 and parts[0] != "gated"):
    expected = "'relu' (T5 1.0), 'gated-gelu' (1.1) or 'gated-silu' (UL2)"
    _refuse(path, fields, name, expected)
  function = "gelu_new" if given == "gated-gelu" else parts[-1]
  if "dense_act_fn" in fields:
    name, function = "dense_act_fn", fields["dense_act_fn"]
  if not isinstance(function, str) or function not in _ACTIVATIONS:
    known = ", ".join(_ACTIVATIONS)
    _refuse(path, fields, name, f"one of the functions {known}")
  gated = fields.get("is_gated_act", parts[0] == "gated")
  if not isinstance(gated, bool):
    _refuse(path, fields, "is_gated_act", "true or false")
  return (_ACTIVATIONS[function], *(("linear",) if gated else ()))


def _is_scaled(path, fields) -> bool:
  """Whether logits use the scaled embedding, as in T5 1.0.

  Since version 5, transformers writes tie_word_embeddings=True for T5 1.1 too
  and tells the versions apart by scale_decoder_outputs. mT5 is a 1.1 and is
  never scaled, whatever its config says.
  """
  for name in ("tie_word_embeddings", "scale_decoder_outputs"):
    if not isinstance(fields.get(name, True), bool | None):
      _refuse(path, fields, name, "true or false")
  tied = fields.get("tie_word_embeddings") is not False
  scaled = fields.get("scale_decoder_outputs")
  return fields["model_type"] != "mt5" and (tied if scaled is None else scaled)


def _known():
  sizes = {name for names in _SIZES.values() for name in names if name}
  relpos = {name for name, _ in _RELPOS.values()}
  return {*sizes, *relpos, *_OTHER_OBEYED, *_FIXED}


def _name_unused(path, fields, known):
  """Warns about fields that are not applied, in one line."""
  sampling = bool(fields.get("do_sample"))
  beams = fields.get("num_beams") not in (None, 1)
  depends = {
    **dict.fromkeys(("temperature", "top_k", "top_p", "typical_p"), sampling),
    **dict.fromkeys(("length_penalty", "early_stopping"), beams),
  }
  chosen = [
    f"{name}={fields[name]!r:.60}"
    for name, default in _GENERATION.items()
    if fields.get(name) is not None
    and not _same(fields[name], default)
    and depends.get(name, True)
  ]
  unknown = [
    str(name)
    for name in fields
    if name not in {*known, *_IDS, *_HARMLESS, *_GENERATION}
  ]
  lines = []
  if chosen:
    lines.append(
      f"{', '.join(chosen)} not applied: mpt predict generates as its own"
      " options say"
    )
  if unknown:
    lines.append(f"unknown fields ignored: {', '.join(sorted(unknown)):.300}")
  if lines:
    warnings.warn(f"{path}: {'; '.join(lines)}", stacklevel=2)


def _check_generation(folder):
  """Checks generation_config.json, if there is one."""
  path = folder / GENERATION
  if not path.is_file():
    return
  fields = files.read_json(path)
  _check_ids(path, fields, has_start=False)
  _name_unused(path, fields, ())
