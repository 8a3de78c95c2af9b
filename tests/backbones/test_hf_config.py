"""Hugging Face's configs: each field is obeyed, refused or named."""

import json
import tracemalloc

import numpy as np
import pytest
from hf_folders import REASON, check_logits, edit_hf, make_hf
from safetensors.numpy import save_file

from mpt_jax.backbones import hf_config
from mpt_jax.backbones.backbone import load_backbone

FIELDS = dict(
  model_type="t5",
  vocab_size=40,
  d_model=16,
  num_heads=3,
  d_kv=4,
  d_ff=24,
  num_layers=2,
)


def read(folder, **changes):
  return hf_config.hf_config({**FIELDS, **changes}, folder)


# ------------------------------------------------ obeyed, as transformers does


@pytest.mark.parametrize(
  "fields, activations",
  [
    ({"dense_act_fn": "silu"}, ("silu", "linear")),
    ({"dense_act_fn": "relu"}, ("relu", "linear")),
    ({"dense_act_fn": "gelu_pytorch_tanh"}, ("gelu", "linear")),
    ({"feed_forward_proj": "gated-relu"}, ("relu", "linear")),
    ({"feed_forward_proj": "gated-gelu_new"}, ("gelu", "linear")),
    ({"feed_forward_proj": "relu", "is_gated_act": True}, ("relu", "linear")),
    ({"scale_decoder_outputs": True}, ("gelu", "linear")),
    ({"relative_attention_num_buckets": 32}, ("gelu", "linear")),
    ({"relative_attention_max_distance": 20}, ("gelu", "linear")),
  ],
)
def test_logits_follow_the_fields(fields, activations, tmp_path):
  transformers = pytest.importorskip("transformers", reason=REASON)
  model = make_hf(tmp_path)
  derived = {"dense_act_fn": None, "is_gated_act": None}
  if "scale_decoder_outputs" in fields:
    # Only the scale of the logits is another one; the head is the embedding.
    edit_hf(
      tmp_path,
      lambda x: {k: v for k, v in x.items() if k != "lm_head.weight"},
      tie_word_embeddings=True,
    )
  edit_hf(tmp_path, **{**derived, **fields})
  before = model.state_dict()["encoder.final_layer_norm.weight"].clone()
  model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path)
  assert (
    model.eval().state_dict()["encoder.final_layer_norm.weight"] == before
  ).all()
  loaded = load_backbone(tmp_path)
  assert loaded.config.mlp_activations == activations
  check_logits(loaded, model)


def test_a_network_that_is_not_gated(tmp_path):
  transformers = pytest.importorskip("transformers", reason=REASON)
  for name, ours in (("silu", "silu"), ("gelu_new", "gelu")):
    make_hf(tmp_path / name, feed_forward_proj=name)
    model = transformers.T5ForConditionalGeneration.from_pretrained(
      tmp_path / name
    ).eval()
    loaded = load_backbone(tmp_path / name)
    assert loaded.config.mlp_activations == (ours,)
    check_logits(loaded, model)


def test_names_that_transformers_takes_for_a_size(tmp_path):
  assert read(tmp_path, d_model=16, hidden_size=16).emb_dim == 16
  fields = {**FIELDS, "num_hidden_layers": 2}
  del fields["num_layers"]
  assert hf_config.hf_config(fields, tmp_path).num_decoder_layers == 2
  with pytest.raises(ValueError, match="hidden_size must be 16, as d_model is"):
    read(tmp_path, hidden_size=32)


# ------------------------------------------------------------ refused by name


@pytest.mark.parametrize(
  "changes, message",
  [
    # transformers' "gelu" is not the tanh form that "gated-gelu" stands for.
    ({"dense_act_fn": "gelu"}, "dense_act_fn must be one of .*'gelu'"),
    ({"dense_act_fn": None}, "dense_act_fn must be"),
    ({"dense_act_fn": "tanh"}, "dense_act_fn must be"),
    ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj must be"),
    ({"feed_forward_proj": None}, "feed_forward_proj must be"),
    ({"feed_forward_proj": "gated-gelu-new"}, "feed_forward_proj must be"),
    ({"is_gated_act": "true"}, "is_gated_act must be true or false"),
    ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true or"),
    ({"scale_decoder_outputs": 1}, "scale_decoder_outputs must be true or"),
    ({"layer_norm_epsilon": None}, "layer_norm_epsilon must be 1e-06"),
    ({"is_encoder_decoder": False}, "is_encoder_decoder must be True"),
    ({"is_decoder": True}, "is_decoder must be False"),
    ({"tie_encoder_decoder": True}, "tie_encoder_decoder must be False"),
    ({"pruned_heads": {"0": [1]}}, "pruned_heads must be {}"),
    ({"quantization_config": {"bits": 4}}, "quantization_config must be None"),
    ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map must be {}"),
    ({"architectures": ["T5EncoderModel"]}, "architectures must be a T5 that"),
    ({"architectures": "T5Model"}, "architectures must be"),
    ({"architectures": [3]}, "architectures must be"),
    ({"eos_token_id": [1, 5]}, r"eos_token_id must be 1.*\[1, 5\]"),
    ({"eos_token_id": True}, "eos_token_id must be 1"),
    ({"pad_token_id": False}, "pad_token_id must be 0"),
    ({"decoder_start_token_id": "0"}, "decoder_start_token_id must be 0"),
    ({"d_model": 2.5}, "d_model must be a positive integer, got 2.5"),
    ({"d_model": "768"}, "d_model must be a positive integer, got '768'"),
    ({"d_model": True}, "d_model must be a positive integer, got True"),
    ({"d_model": [768]}, r"d_model must be a positive integer, got \[768\]"),
    ({"num_heads": 0}, "num_heads must be a positive integer, got 0"),
    ({"num_layers": 10**20}, "num_layers must be a positive integer"),
    ({"num_decoder_layers": 0}, "num_decoder_layers must be a positive"),
    ({"relative_attention_num_buckets": None}, "num_buckets must be a pos"),
    ({"relative_attention_num_buckets": 2}, "num_buckets must be at least 4"),
    # log(16 / 16) = 0 would be the divisor of a bucket's number.
    ({"relative_attention_max_distance": 16}, "max_distance must be more than"),
    ({"relative_attention_max_distance": 1e3}, "max_distance must be a pos"),
  ],
)
def test_fields_that_are_not_supported(changes, message, tmp_path):
  with pytest.raises(ValueError, match=message) as error:
    read(tmp_path, **changes)
  assert str(error.value).startswith(str(tmp_path / "config.json"))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"decoder_start_token_id": 7}, "decoder_start_token_id must be 0.*got 7"),
    ({"eos_token_id": [1, 2]}, "eos_token_id must be 1"),
    ({"pad_token_id": 5}, "pad_token_id must be 0"),
    # transformers generates from it if there is no decoder_start_token_id.
    ({"bos_token_id": 2}, "bos_token_id must be 0, as T5 starts.*got 2"),
  ],
)
def test_ids_of_the_generation_config(changes, message, tmp_path):
  path = tmp_path / "generation_config.json"
  path.write_text(json.dumps(changes))
  with pytest.raises(ValueError, match=message) as error:
    read(tmp_path)
  assert "generation_config.json: " in str(error.value)
  path.write_text("[]")
  with pytest.raises(ValueError, match="generation_config.json must hold a"):
    read(tmp_path)
  path.write_text('{"eos_token_id": [1], "pad_token_id": 0, "bos_token_id": 0}')
  assert read(tmp_path).emb_dim == 16
  # generation_config.json counts, so the start in config.json does not.
  path.write_text('{"decoder_start_token_id": 0, "bos_token_id": 2}')
  assert read(tmp_path, bos_token_id=2).emb_dim == 16
  path.unlink()
  with pytest.raises(ValueError, match=r"/config.json: bos_token_id must be 0"):
    read(tmp_path, bos_token_id=2)
  assert read(tmp_path, bos_token_id=2, decoder_start_token_id=0).emb_dim == 16


# -------------------------------------------------------------------- warnings


def test_what_is_not_applied_is_named_in_one_line(tmp_path):
  (tmp_path / "generation_config.json").write_text(
    json.dumps({"num_beams": 4, "suppress_tokens": [3], "min_length": 0})
  )
  with pytest.warns(UserWarning) as caught:
    read(tmp_path, max_position_embeddings=512, n_positions=512)
  config, generation = sorted(str(w.message) for w in caught)
  assert config.endswith(
    "config.json: unknown fields ignored: max_position_embeddings"
  )
  assert "num_beams=4, suppress_tokens=[3] not applied" in generation
  assert "min_length" not in generation and "\n" not in generation


def test_published_configs_give_no_warning(tmp_path):
  """T5's, mT5's, UMT5's and Flan-T5's Base, as far as fields go."""
  common = dict(
    initializer_factor=1.0,
    layer_norm_epsilon=1e-06,
    decoder_start_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
    is_encoder_decoder=True,
    output_past=True,
    relative_attention_num_buckets=32,
    dropout_rate=0.1,
    use_cache=True,
  )
  summary = {"num_beams": 4, "prefix": "summarize: ", "max_length": 200}
  t5 = dict(
    architectures=["T5ForConditionalGeneration"],
    n_positions=512,
    task_specific_params={"summarization": summary},
  )
  assert read(tmp_path, **common, **t5).logits_via_embedding
  flan = dict(
    architectures=["T5ForConditionalGeneration"],
    feed_forward_proj="gated-gelu",
    dense_act_fn="gelu_new",
    is_gated_act=True,
    tie_word_embeddings=False,
    torch_dtype="float32",
    transformers_version="4.23.1",
    classifier_dropout=0.0,
    task_specific_params={},
  )
  config = read(tmp_path, **common, **flan)
  assert not config.logits_via_embedding
  assert config.mlp_activations == ("gelu", "linear")
  mt5 = dict(
    model_type="mt5",
    architectures=["MT5ForConditionalGeneration"],
    feed_forward_proj="gated-gelu",
    tokenizer_class="T5Tokenizer",
    tie_word_embeddings=False,
  )
  mt5 = read(tmp_path, **common, **mt5)
  assert not mt5.logits_via_embedding and not mt5.relpos_in_layers
  umt5 = dict(
    model_type="umt5",
    architectures=["UMT5ForConditionalGeneration"],
    dense_act_fn="gelu_new",
    feed_forward_proj="gated-gelu",
    is_gated_act=True,
    relative_attention_max_distance=128,
    scalable_attention=True,
    tie_word_embeddings=False,
    tokenizer_class="T5Tokenizer",
    torch_dtype="float32",
  )
  umt5 = read(tmp_path, **common, **umt5)
  assert not umt5.logits_via_embedding and umt5.relpos_in_layers


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(model_type="longt5"), "model_type.*'t5', 'mt5' or 'umt5', got 'lon"),
    (dict(feed_forward_proj="glu-relu"), "feed_forward_proj.*glu-relu"),
    (dict(layer_norm_epsilon=1e-5), "layer_norm_epsilon"),
    (dict(d_model=None), "config.json: d_model must be a positive.*None"),
    (dict(d_kv="6"), "config.json: d_kv must be a positive integer, got '6'"),
    (dict(num_layers=3.0), "num_layers must be a positive integer, got 3.0"),
    (dict(num_decoder_layers=-1), "config.json: .*num_decoder_layers"),
    (dict(decoder_start_token_id=5), "decoder_start_token_id must be 0"),
    (dict(eos_token_id=2), "eos_token_id must be 1, as T5 has it, got 2"),
    (dict(pad_token_id=3), "pad_token_id must be 0"),
  ],
)
def test_configs_of_other_models(changes, message, tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({**FIELDS, **changes}))
  save_file(
    {"shared.weight": np.zeros((40, 16))}, tmp_path / "model.safetensors"
  )
  with pytest.raises(ValueError, match=message):
    load_backbone(tmp_path)
  (tmp_path / "config.json").write_text(json.dumps(FIELDS))
  with pytest.raises(
    ValueError, match="missing: decoder.final_layer_norm.weight"
  ):
    load_backbone(tmp_path)


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"num_layers": 10**9}, "2000000000 layers, but only 1 tensors"),
    ({"d_ff": 10**9}, "mlp_dim=1000000000 is more than any tensor has"),
    ({"vocab_size": 2**31 - 1}, "vocab_size=2147483647 is more than"),
    ({"d_model": -1}, "d_model must be a positive integer, got -1"),
  ],
)
def test_absurd_sizes_end_at_once(changes, message, tmp_path):
  fields = {**FIELDS, **changes}
  (tmp_path / "config.json").write_text(json.dumps(fields))
  array = np.zeros((40, 16), np.float32)
  save_file({"shared.weight": array}, tmp_path / "model.safetensors")
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match=message):
      load_backbone(tmp_path)
    # A name for each of the layers alone would take gigabytes.
    assert tracemalloc.get_traced_memory()[1] < 50e6
  finally:
    tracemalloc.stop()


def test_a_pytorch_tensor_that_repeats_a_number(tmp_path):
  torch = pytest.importorskip("torch", reason=REASON)
  state = make_hf(tmp_path).state_dict()
  (tmp_path / "model.safetensors").unlink()
  state["shared.weight"] = torch.zeros(1).expand(10**12, 16)
  torch.save(state, tmp_path / "pytorch_model.bin")
  with pytest.raises(ValueError, match="shared.weight has the shape.*larger"):
    load_backbone(tmp_path)
