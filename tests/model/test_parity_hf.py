"""The same numbers as Hugging Face's T5 on tiny random weights.

All of PyTorch's side comes from `transformers` itself: the model, its own
bucket function, its own `generate` and its own `save_pretrained`.
"""

import functools

import jax
import numpy as np
import pytest

from mpt_jax.backbones import backbone as backbones
from mpt_jax.backbones import huggingface
from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.model import layers
from mpt_jax.model.config import T5Config
from mpt_jax.model.network import T5
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig

REASON = "parity needs PyTorch and transformers (the test extra)"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

P = 4
VERSIONS = ("1.0", "1.1", "UMT5")


def make_hf_model(version, seed=0, **changes):
  """A tiny random T5 whose attention and norms are far from trivial."""
  values = dict(
    vocab_size=50,
    d_model=24,
    d_kv=5,
    d_ff=40,
    num_layers=3,
    num_decoder_layers=2,
    num_heads=4,
    dropout_rate=0.3,
    feed_forward_proj="relu" if version == "1.0" else "gated-gelu",
    tie_word_embeddings=version == "1.0",
    decoder_start_token_id=0,
  )
  kind = "UMT5" if version == "UMT5" else "T5"
  config = getattr(transformers, f"{kind}Config")(**{**values, **changes})
  model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
  model.eval()
  generator = torch.Generator().manual_seed(seed)
  if version != "1.0":
    # transformers 5 ties even these until a checkpoint parts them.
    model.lm_head.weight = torch.nn.Parameter(
      torch.empty_like(model.lm_head.weight)
    )
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      parameter.normal_(0.0, 0.25, generator=generator)
      if "layer_norm" in name:
        parameter.add_(1.0)
  return model


def to_numpy(model):
  return {k: v.detach().numpy() for k, v in model.state_dict().items()}


def our_config(hf_model, **changes):
  c = hf_model.config
  gated = c.feed_forward_proj == "gated-gelu"
  return T5Config(
    vocab_size=c.vocab_size,
    emb_dim=c.d_model,
    num_heads=c.num_heads,
    head_dim=c.d_kv,
    mlp_dim=c.d_ff,
    num_encoder_layers=c.num_layers,
    num_decoder_layers=c.num_decoder_layers,
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding=not gated,
    num_relpos_buckets=c.relative_attention_num_buckets,
    max_relpos_distance=c.relative_attention_max_distance,
    relpos_in_layers=c.model_type == "umt5",
    **changes,
  )


@pytest.fixture(scope="module", params=VERSIONS)
def pair(request):
  """(PyTorch's model, our config, the converted parameters)."""
  hf_model = make_hf_model(request.param)
  config = our_config(hf_model)
  return (
    hf_model,
    config,
    huggingface.hf_to_t5x_params(to_numpy(hf_model), config),
  )


@functools.partial(jax.jit, static_argnames="network")
def _apply(network, params, batch):
  return network.apply({"params": params}, batch, all_hidden=True)


def _inputs(seed, lengths, target_lengths, vocab_size=50):
  """Arrays of plain rows, padded on the right, and their masks."""
  rng = np.random.default_rng(seed)

  def padded(lengths):
    mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    tokens = rng.integers(3, vocab_size, mask.shape)
    return (tokens * mask).astype(np.int32), mask.astype(np.int32)

  tokens, mask = padded(lengths)
  targets, target_mask = padded(target_lengths)
  targets[:, 0] = 0
  return {
    "encoder_input_tokens": tokens,
    "encoder_segment_ids": mask,
    "decoder_input_tokens": targets,
    "decoder_segment_ids": target_mask,
  }


def _check(found, expected, mask, name):
  real = mask.astype(bool)
  np.testing.assert_allclose(
    np.asarray(found)[real],
    expected.detach().numpy()[real],
    atol=1e-4,
    rtol=1e-4,
    err_msg=name,
  )


def _compare(output, hf_output, batch):
  stacks = (
    (output.encoder_hidden, hf_output.encoder_hidden_states, "encoder"),
    (output.decoder_hidden, hf_output.decoder_hidden_states, "decoder"),
  )
  for found, expected, stack in stacks:
    assert len(found) == len(expected)
    mask = batch[f"{stack}_segment_ids"]
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
      _check(a, b, mask, f"{stack} state {i}")
  _check(
    output.logits, hf_output.logits, batch["decoder_segment_ids"], "logits"
  )


def _hf_forward(hf_model, batch, **inputs):
  def tensor(name):
    return torch.as_tensor(batch[name]).long()

  with torch.no_grad():
    return hf_model(
      attention_mask=tensor("encoder_segment_ids"),
      decoder_input_ids=tensor("decoder_input_tokens"),
      decoder_attention_mask=tensor("decoder_segment_ids"),
      output_hidden_states=True,
      **inputs,
    )


@pytest.mark.parametrize(
  "lengths, target_lengths",
  # Padding of several kinds, and distances beyond the last bucket (128).
  [((9, 4, 1), (5, 2, 7)), ((160, 30), (140, 3))],
)
def test_hidden_states_and_logits(pair, lengths, target_lengths):
  hf_model, config, params = pair
  batch = _inputs(0, lengths, target_lengths)
  tokens = torch.as_tensor(batch["encoder_input_tokens"]).long()
  hf_output = _hf_forward(hf_model, batch, input_ids=tokens)
  _compare(_apply(T5(config), params, batch), hf_output, batch)


def _with_prompts(batch, rng, emb_dim, num_slots=2):
  """The batch with P prompt positions before each row, and plain prompts."""
  rows = batch["encoder_input_tokens"].shape[0]
  bank = rng.normal(0.0, 1.0, (num_slots, P, emb_dim)).astype(np.float32)
  slot_ids = np.arange(rows) % num_slots

  def before(values, x):
    return np.concatenate(
      [np.broadcast_to(values, (rows, P)), x], axis=1
    ).astype(np.int32)

  tokens = batch["encoder_input_tokens"]
  prompted = {
    **batch,
    "encoder_input_tokens": before(0, tokens),
    "encoder_segment_ids": before(1, batch["encoder_segment_ids"]),
    "encoder_prompt_positions": before(np.arange(1, P + 1), 0 * tokens),
    "encoder_slot_ids": np.repeat(slot_ids[:, None], P + tokens.shape[1], 1),
  }
  return prompted, bank, slot_ids


def _hf_embeddings(hf_model, batch, bank, slot_ids):
  tokens = torch.as_tensor(batch["encoder_input_tokens"]).long()
  embeddings = hf_model.get_input_embeddings()(tokens)
  return torch.cat([torch.as_tensor(bank[slot_ids]), embeddings], dim=1)


def test_soft_prompts_equal_inputs_embeds(pair):
  hf_model, config, params = pair
  plain = _inputs(1, (9, 4, 6), (5, 2, 7))
  batch, bank, slot_ids = _with_prompts(
    plain, np.random.default_rng(2), config.emb_dim
  )
  hf_output = _hf_forward(
    hf_model,
    batch,
    inputs_embeds=_hf_embeddings(hf_model, plain, bank, slot_ids),
  )
  network = T5(config, PromptConfig(num_slots=2, prompt_length=P, rank=0))
  params = {**params, "prompt": {"shared_prompt": bank}}
  _compare(_apply(network, params, batch), hf_output, batch)


def test_greedy_tokens_equal_generate(pair):
  hf_model, config, params = pair
  plain = _inputs(3, (9, 4, 6, 2, 7, 5), (1,) * 6)
  batch, bank, slot_ids = _with_prompts(
    plain, np.random.default_rng(4), config.emb_dim
  )
  with torch.no_grad():
    expected = hf_model.generate(
      inputs_embeds=_hf_embeddings(hf_model, plain, bank, slot_ids),
      attention_mask=torch.as_tensor(batch["encoder_segment_ids"]).long(),
      max_new_tokens=12,
      num_beams=1,
      do_sample=False,
    ).numpy()[:, 1:]  # without the start token
  network = T5(config, PromptConfig(num_slots=2, prompt_length=P, rank=0))
  params = {**params, "prompt": {"shared_prompt": bank}}
  found = jax.jit(
    lambda p, b: decoding.greedy_decode(network, p, b, max_length=12)
  )(params, batch)
  assert len({tuple(row) for row in expected}) > 1
  expected = np.pad(expected, ((0, 0), (0, 12 - expected.shape[1])))
  np.testing.assert_array_equal(found, expected)


def test_ended_outputs_equal_generate(pair):
  # Exchanging EOS with another token, in the weights and in the inputs, ends
  # the outputs where that token stood.
  hf_model, config, _ = pair
  batch = _inputs(5, (9, 4, 6, 2, 7, 5, 3, 8), (1,) * 8)

  def generate(model, batch):
    with torch.no_grad():
      tokens = model.generate(
        input_ids=torch.as_tensor(batch["encoder_input_tokens"]).long(),
        attention_mask=torch.as_tensor(batch["encoder_segment_ids"]).long(),
        max_new_tokens=12,
        num_beams=1,
        do_sample=False,
      ).numpy()[:, 1:]
    return np.pad(tokens, ((0, 0), (0, 12 - tokens.shape[1])))

  before = generate(hf_model, batch)
  token = max(
    set(before[before > 1]),
    key=lambda t: len({tuple(row == t) for row in before}),
  )
  weights = {k: v.copy() for k, v in to_numpy(hf_model).items()}
  for name, array in weights.items():
    if "embed" in name or "shared" in name or "lm_head" in name:
      array[[1, token]] = array[[token, 1]]
  inputs = batch["encoder_input_tokens"]
  batch["encoder_input_tokens"] = np.where(inputs == token, 1, inputs)
  version = "1.0" if config.logits_via_embedding else "1.1"
  model = make_hf_model("UMT5" if config.relpos_in_layers else version)
  model.load_state_dict({k: torch.as_tensor(v) for k, v in weights.items()})
  expected = generate(model, batch)
  ends = {tuple(row == 1) for row in expected}
  assert len(ends) > 1, "all outputs end at the same position"
  params = huggingface.hf_to_t5x_params(weights, config)
  found = jax.jit(
    lambda p, b: decoding.greedy_decode(T5(config), p, b, max_length=12)
  )(params, batch)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
  "num_buckets, max_distance", [(32, 128), (32, 20), (8, 64), (64, 1000)]
)
def test_relative_position_buckets(bidirectional, num_buckets, max_distance):
  from transformers.models.t5.modeling_t5 import T5Attention

  distance = torch.arange(700)[None, :] - torch.arange(900)[:, None]
  expected = T5Attention._relative_position_bucket(
    distance, bidirectional, num_buckets, max_distance
  )
  found = layers.relative_position_buckets(
    900,
    700,
    bidirectional=bidirectional,
    num_buckets=num_buckets,
    max_distance=max_distance,
  )
  np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("sharded", [False, True])
def test_saved_folder_loads(version, sharded, tmp_path):
  hf_model = make_hf_model(version, seed=1)
  size = {"max_shard_size": "8KB"} if sharded else {}
  hf_model.save_pretrained(tmp_path, **size)
  assert (tmp_path / "model.safetensors").exists() != sharded
  backbone = backbones.load_backbone(tmp_path)
  assert backbone.config == our_config(hf_model)
  assert backbone.vocabulary_path is None and backbone.name == str(tmp_path)
  expected = huggingface.hf_to_t5x_params(to_numpy(hf_model), backbone.config)
  jax.tree.map(np.testing.assert_array_equal, backbone.params, expected)
  # Written as a folder of ours, it is the same T5.
  ours = backbones.save_backbone(
    tmp_path / "ours", backbone.config, backbone.params
  )
  assert ours.fingerprint == backbone.fingerprint
  jax.tree.map(np.testing.assert_array_equal, ours.params, expected)


def test_bfloat16_folder_loads_as_float32(tmp_path):
  hf_model = make_hf_model("1.1").to(torch.bfloat16)
  hf_model.save_pretrained(tmp_path)
  backbone = backbones.load_backbone(tmp_path)
  assert backbone.config.dtype == "float32"
  embedding = backbone.params["token_embedder"]["embedding"]
  assert embedding.dtype == np.float32
  np.testing.assert_array_equal(
    embedding, hf_model.shared.weight.detach().float().numpy()
  )
  half = backbones.load_backbone(tmp_path, dtype="bfloat16")
  assert half.config.dtype == "bfloat16"
  assert half.params["token_embedder"]["embedding"].dtype == "bfloat16"
  assert half.fingerprint == backbone.fingerprint


def test_v1_1_that_shares_its_embedding(tmp_path):
  # transformers 5 builds T5 1.1 with tied, yet unscaled logits.
  torch.manual_seed(0)
  hf_model = transformers.T5ForConditionalGeneration(
    make_hf_model("1.1").config
  ).eval()
  if hf_model.lm_head.weight is not hf_model.shared.weight:
    pytest.skip("this version of transformers keeps T5 1.1's logits apart")
  hf_model.save_pretrained(tmp_path)
  backbone = backbones.load_backbone(tmp_path)
  batch = _inputs(0, (9, 4), (5, 2))
  tokens = torch.as_tensor(batch["encoder_input_tokens"]).long()
  hf_output = _hf_forward(hf_model, batch, input_ids=tokens)
  output = _apply(T5(backbone.config), backbone.params, batch)
  _compare(output, hf_output, batch)


def test_loss_equals_transformers(pair):
  hf_model, config, params = pair
  rng = np.random.default_rng(8)
  examples = [
    {"inputs": rng.integers(3, 50, n), "targets": rng.integers(3, 50, m)}
    for n, m in ((7, 3), (4, 5), (9, 1))
  ]
  batch, _ = make_batch(
    examples, BatchLayout(inputs_length=9, targets_length=5, row_length=20)
  )
  model = Model(config, trainable="everything")
  loss, _ = jax.jit(model.loss)(params, {}, batch)

  def pad(rows, value):
    return torch.as_tensor(
      np.array([[*r, *[value] * (9 - len(r))] for r in rows])
    )

  inputs = pad([e["inputs"] for e in examples], 0)
  with torch.no_grad():
    expected = hf_model(
      input_ids=inputs,
      attention_mask=(inputs > 0).long(),
      labels=pad([e["targets"] for e in examples], -100),
    ).loss
  np.testing.assert_allclose(loss, expected.item(), rtol=1e-5)
