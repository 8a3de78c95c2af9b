"""Prompts out to PEFT and in from it, against PEFT itself on a tiny T5."""

import functools
import json

import jax
import numpy as np
import pytest
from prompt_fixtures import NAMES, D, P, make_bank
from safetensors.numpy import load_file

from mpt_jax.backbones import backbone
from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.export import peft as peft_format
from mpt_jax.export import prompt_files
from mpt_jax.inference.engine import decoding
from mpt_jax.model.network import T5
from mpt_jax.prompts.bank import merge
from mpt_jax.prompts.config import PromptConfig

REASON = "PEFT's side needs PyTorch, transformers and peft (the test extra)"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
peft = pytest.importorskip("peft", reason=REASON)

V, LENGTH = 50, 6


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def base(request, tmp_path_factory):
  """Folder of a tiny random T5, with attention and norms far from trivial."""
  config = transformers.T5Config(
    vocab_size=V,
    d_model=D,
    d_kv=5,
    d_ff=40,
    num_layers=2,
    num_decoder_layers=1,
    num_heads=4,
    feed_forward_proj="relu" if request.param == "1.0" else "gated-gelu",
    tie_word_embeddings=request.param == "1.0",
    decoder_start_token_id=0,
  )
  torch.manual_seed(0)
  model = transformers.T5ForConditionalGeneration(config)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      parameter.normal_(0.0, 0.3)
      if "layer_norm" in name:
        parameter.add_(1.0)
  folder = tmp_path_factory.mktemp("base") / "t5"
  model.save_pretrained(folder)
  return folder


def load_base(folder):
  return transformers.T5ForConditionalGeneration.from_pretrained(folder)


def make_examples(task_ids):
  rng = np.random.default_rng(1)
  return [
    {
      "inputs": rng.integers(3, V, rng.integers(2, 9)),
      "targets": rng.integers(3, V, 4),
      "slot_id": task_id,
    }
    for task_id in task_ids
  ]


@functools.partial(jax.jit, static_argnames="network")
def apply(network, params, batch):
  """Logits of teacher forcing, and greedy tokens."""
  logits = network.apply({"params": params}, batch).logits
  return logits, decoding.greedy_decode(
    network, params, batch, max_length=LENGTH
  )


@functools.cache
def load_ours(folder):
  return backbone.load_backbone(folder)


def ours(base, bank, examples):
  """Our logits [B, 4, V] and greedy tokens [B, LENGTH], all slots mixed.

  The prompts are composed first, as in `inference.predictor.Predictor`: one
  program serves all ranks.
  """
  loaded = load_ours(base)
  params = {**loaded.params, "prompt": {"shared_prompt": bank.composed}}
  config = BatchLayout(
    inputs_length=9,
    targets_length=4,
    prompt_length=P,
    num_slots=len(bank.names),
    pack=False,
  )
  batch, _ = make_batch(examples, config)
  plain = PromptConfig(num_slots=len(bank.names), prompt_length=P, rank=0)
  logits, tokens = apply(T5(loaded.config, plain), params, batch)
  return np.asarray(logits)[:, :4], np.asarray(tokens)


def theirs(model, examples, **kwargs):
  """The same by PEFT's `forward` and `generate`."""
  longest = max(len(e["inputs"]) for e in examples)
  inputs = torch.as_tensor(
    np.stack(
      [np.pad(e["inputs"], (0, longest - len(e["inputs"]))) for e in examples]
    )
  )
  call = dict(input_ids=inputs, attention_mask=(inputs > 0).long(), **kwargs)
  labels = torch.as_tensor(np.stack([e["targets"] for e in examples]))
  with torch.no_grad():
    logits = model(labels=labels, **call).logits.numpy()
    # Make it as long as ours, which pads after the end of a sequence.
    tokens = model.generate(max_new_tokens=LENGTH, num_beams=1, **call).numpy()[
      :, 1:
    ]
  return logits, np.pad(tokens, ((0, 0), (0, LENGTH - tokens.shape[1])))


def load_adapter(base, folder):
  return peft.PeftModel.from_pretrained(load_base(base), folder).eval()


def check_equal(base, bank, adapter, task_ids, kwargs):
  """Ours with the bank equals PEFT with the adapter."""
  examples = make_examples(task_ids)
  logits, tokens = ours(base, bank, examples)
  expected, expected_tokens = theirs(adapter, examples, **kwargs)
  np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-4)
  np.testing.assert_array_equal(tokens, expected_tokens)
  return expected


@pytest.mark.parametrize("rank", [1, 3])
def test_exported_tasks_mixed_in_a_batch(base, rank, tmp_path):
  bank = make_bank(base, rank)
  lines = prompt_files.export_prompts(
    bank, "peft", tmp_path / "adapter", backbone=base
  )
  assert lines == [
    f"{tmp_path / 'adapter'}: MULTITASK_PROMPT_TUNING, task_ids 0 a, 1 b, 2 c"
  ]
  adapter = load_adapter(base, tmp_path / "adapter")
  ids = (2, 0, 1, 2, 1, 0)
  task_ids = {"task_ids": torch.as_tensor(ids)}
  logits = check_equal(base, bank, adapter, ids, task_ids)
  # The prompts matter: another task's give other logits.
  moved, _ = theirs(adapter, make_examples(ids), task_ids=torch.as_tensor([0]))
  assert np.abs(moved - logits)[[0, 2]].max() > 0.1


@pytest.mark.parametrize("kind", ["teacher", "merged"])
def test_exported_plain_prompts(base, kind, tmp_path):
  # A teacher has no factors; a merged prompt has lost them.
  rank, groups = {"teacher": (0, (0, 1, 2)), "merged": (2, (0, 1, 1))}[kind]
  bank = make_bank(base, rank, groups)
  out = tmp_path / "adapters"
  merged = merge(bank)
  assert len(prompt_files.export_prompts(merged, "peft", out)) == 3
  model = load_base(base)
  for task_id, name in enumerate(NAMES):
    adapter = peft.PeftModel.from_pretrained(model, out / name).eval()
    # The bank itself, with its factors, gives the same.
    check_equal(base, bank, adapter, (task_id,) * 3, {})


def test_exported_config_loads_anywhere(base, tmp_path):
  bank = make_bank(base, 2)
  prompt_files.export_prompts(bank, "peft", tmp_path / "x", backbone=base)
  config = peft.PeftConfig.from_pretrained(tmp_path / "x")
  assert isinstance(config, peft.MultitaskPromptTuningConfig)
  assert config.num_transformer_submodules == 1
  assert config.prompt_tuning_init == "RANDOM"
  assert config.prompt_tuning_init_state_dict_path is None
  assert (config.num_tasks, config.num_ranks, config.token_dim) == (3, 2, D)
  assert (config.num_layers, config.num_attention_heads) == (2, 4)
  assert config.base_model_name_or_path == str(base.resolve())
  # PEFT itself writes the same fields, but for its version, from our adapter.
  load_adapter(base, tmp_path / "x").save_pretrained(tmp_path / "again")

  def read(name):
    return json.loads((tmp_path / name / peft_format.CONFIG).read_text())

  again = read("again")
  assert {k: v for k, v in again.items() if k in read("x")} == read("x")
  assert set(again) - set(read("x")) <= {"peft_version", "tokenizer_kwargs"}
  a, b = (
    load_file(tmp_path / name / peft_format.TENSORS) for name in ("x", "again")
  )
  assert set(a) == set(b)
  for name, array in a.items():
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, b[name])


def train(base, config, folder, num_tasks):
  """A few steps of PEFT's own training."""
  torch.manual_seed(1)
  model = peft.get_peft_model(load_base(base), config)
  prompt = model.prompt_encoder["default"]
  with torch.no_grad():
    for parameter in prompt.parameters():
      # PEFT's own start is so near zero that a wrong prompt would hardly show.
      parameter.normal_(0.0, 1.0)
  before = [p.detach().clone() for p in prompt.parameters()]
  optimizer = torch.optim.Adam(prompt.parameters(), lr=0.05)
  examples = make_examples([i % num_tasks for i in range(6)])
  inputs = torch.as_tensor(np.stack([e["targets"] for e in examples]))
  ids = torch.as_tensor([e["slot_id"] for e in examples])
  for _ in range(4):
    kwargs = {"task_ids": ids} if num_tasks > 1 else {}
    loss = model(
      input_ids=inputs,
      attention_mask=torch.ones_like(inputs),
      labels=inputs.flip(1),
      **kwargs,
    ).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
  for old, new in zip(before, prompt.parameters(), strict=True):
    assert (old != new).any()
  model.save_pretrained(folder)


def test_adapter_trained_by_peft(base, tmp_path):
  config = peft.MultitaskPromptTuningConfig(
    task_type="SEQ_2_SEQ_LM",
    num_virtual_tokens=P,
    num_transformer_submodules=1,
    num_tasks=3,
    num_ranks=2,
    prompt_tuning_init="RANDOM",
  )
  train(base, config, tmp_path / "trained", 3)
  # PEFT stored the model's folder, so the T5 is known.
  bank = prompt_files.import_prompts([tmp_path / "trained"], "peft")
  assert bank.names == ("trained_0", "trained_1", "trained_2")
  assert bank.groups == (0, 0, 0)
  assert bank.backbone == backbone.identify_backbone(base)[1]
  adapter = load_adapter(base, tmp_path / "trained")
  ids = (1, 2, 0, 0)
  check_equal(base, bank, adapter, ids, {"task_ids": torch.as_tensor(ids)})
  # Out again, it is the same adapter.
  prompt_files.export_prompts(bank, "peft", tmp_path / "out")
  again = load_file(tmp_path / "out" / peft_format.TENSORS)
  for name, array in load_file(
    tmp_path / "trained" / peft_format.TENSORS
  ).items():
    np.testing.assert_array_equal(array, again[name])


def test_plain_adapter_trained_by_peft(base, tmp_path):
  config = peft.PromptTuningConfig(
    task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, num_transformer_submodules=1
  )
  train(base, config, tmp_path / "sst2", 1)
  bank = prompt_files.import_prompts(
    [tmp_path / "sst2"], "peft", backbone=base, names=["sentiment"]
  )
  assert bank.names == ("sentiment",) and bank.config.rank == 0
  adapter = load_adapter(base, tmp_path / "sst2")
  check_equal(base, bank, adapter, (0, 0, 0), {})


def test_adapter_with_a_decoder_prompt(base, tmp_path):
  # PEFT makes this of a seq2seq config without the value 1.
  config = peft.MultitaskPromptTuningConfig(
    task_type="SEQ_2_SEQ_LM",
    num_virtual_tokens=P,
    num_tasks=3,
    num_ranks=2,
    prompt_tuning_init="RANDOM",
  )
  train(base, config, tmp_path / "two", 3)
  with pytest.raises(ValueError, match="num_transformer_submodules=2"):
    prompt_files.import_prompts([tmp_path / "two"], "peft")
  bank = prompt_files.import_prompts(
    [tmp_path / "two"], "peft", encoder_half=True
  )
  assert bank.config.prompt_length == P
  # PEFT's generate uses the encoder's half, its forward both.
  ids = (1, 2, 0, 0)
  examples = make_examples(ids)
  _, tokens = ours(base, bank, examples)
  config = json.loads((tmp_path / "two" / peft_format.CONFIG).read_text())
  adapter = load_adapter(base, tmp_path / "two")
  longest = max(len(e["inputs"]) for e in examples)
  inputs = torch.as_tensor(
    np.stack(
      [np.pad(e["inputs"], (0, longest - len(e["inputs"]))) for e in examples]
    )
  )
  made = adapter.generate(
    input_ids=inputs,
    attention_mask=(inputs > 0).long(),
    task_ids=torch.as_tensor(ids),
    max_new_tokens=LENGTH,
    num_beams=1,
  ).numpy()[:, 1:]
  np.testing.assert_array_equal(tokens[:, : made.shape[1]], made)


# ----------------------------------------------------- adapters of other models


def test_an_adapter_of_gpt2_is_refused(base, tmp_path):
  """Its prompts have the width of the T5; only the config tells them apart."""
  config = transformers.GPT2Config(
    vocab_size=V, n_embd=D, n_head=4, n_layer=2, n_positions=32
  )
  model = transformers.GPT2LMHeadModel(config)
  model.save_pretrained(tmp_path / "gpt2")
  prompt = peft.PromptTuningConfig(
    task_type="CAUSAL_LM", num_virtual_tokens=P, num_transformer_submodules=1
  )
  peft.get_peft_model(model, prompt).save_pretrained(tmp_path / "x")
  path = tmp_path / "x" / peft_format.CONFIG
  fields = json.loads(path.read_text())
  assert fields["token_dim"] == D
  base_class = {"base_model_class": "GPT2LMHeadModel"}
  gpt2 = {"base_model_name_or_path": str(tmp_path / "gpt2")}
  for changes, message in (
    ({}, "task_type must be SEQ_2_SEQ_LM, got 'CAUSAL_LM'"),
    ({"task_type": None, "auto_mapping": base_class}, "'GPT2LMHeadModel'"),
    # Without both fields, the folder that the config names is looked at.
    ({"task_type": None, **gpt2}, "gpt2/config.json: model_type must be 't5'"),
  ):
    path.write_text(json.dumps({**fields, **changes}))
    with pytest.raises(ValueError, match=message):
      prompt_files.import_prompts([tmp_path / "x"], "peft", backbone=base)


def _plain_adapter(folder, base, **fields):
  config = peft.PromptTuningConfig(
    task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, num_transformer_submodules=1
  )
  peft.get_peft_model(load_base(base), config).save_pretrained(folder)
  path = folder / peft_format.CONFIG
  path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_an_adapter_of_another_t5_is_refused(base, tmp_path):
  load_base(base).save_pretrained(tmp_path / "same")
  other = load_base(base)
  with torch.no_grad():
    other.encoder.final_layer_norm.weight.add_(0.5)
  other.save_pretrained(tmp_path / "other")
  _plain_adapter(tmp_path / "x", base)

  def read(backbone):
    return prompt_files.import_prompts(
      [tmp_path / "x"], "peft", backbone=backbone
    )

  # A copy of the T5 is the same T5.
  assert read(tmp_path / "same").backbone == read(base).backbone
  with pytest.raises(ValueError, match="base_model_name_or_path.*another one"):
    read(tmp_path / "other")


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"num_layers": 12}, "num_layers=12 .*has 2"),
    ({"num_attention_heads": 12}, "num_attention_heads=12 .*has 4"),
    ({"base_model_name_or_path": 3}, "base_model_name_or_path must be a name"),
  ],
)
def test_numbers_of_another_model_are_refused(fields, message, base, tmp_path):
  _plain_adapter(tmp_path / "x", base, **fields)
  with pytest.raises(ValueError, match=message):
    prompt_files.import_prompts([tmp_path / "x"], "peft", backbone=base)


def test_a_name_that_cannot_be_checked_is_named(base, tmp_path):
  _plain_adapter(tmp_path / "x", base, base_model_name_or_path="org/flan-big")
  with pytest.warns(UserWarning, match="trained on 'org/flan-big'.*cannot be"):
    prompt_files.import_prompts([tmp_path / "x"], "peft", backbone=base)
  _plain_adapter(tmp_path / "y", base, base_model_name_or_path="org/t5")
  # The T5 is in a folder of that name.
  prompt_files.import_prompts([tmp_path / "y"], "peft", backbone=base)
