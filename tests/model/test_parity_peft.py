"""The same logits as PEFT's MULTITASK_PROMPT_TUNING on a tiny random T5."""

import jax
import numpy as np
import pytest

from mpt_jax.backbones import huggingface
from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model.config import T5Config
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.multitask import init_target_factors

REASON = "parity needs PyTorch, transformers and peft (the test extra)"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
peft = pytest.importorskip("peft", reason=REASON)

P, N, D = 5, 3, 24


def _peft_model(version, rank, **changes):
  """A tiny T5 under PEFT, all of its weights and factors at random."""
  torch.manual_seed(0)
  base = transformers.T5ForConditionalGeneration(
    transformers.T5Config(
      vocab_size=50,
      d_model=D,
      d_kv=5,
      d_ff=40,
      num_layers=2,
      num_heads=4,
      feed_forward_proj="relu" if version == "1.0" else "gated-gelu",
      tie_word_embeddings=version == "1.0",
      decoder_start_token_id=0,
    )
  )
  if version == "1.1":
    base.lm_head.weight = torch.nn.Parameter(torch.empty(50, D))
  with torch.no_grad():
    for name, parameter in base.named_parameters():
      parameter.normal_(0.0, 0.4)
      if "layer_norm" in name:
        parameter.add_(1.0)
  state = {k: v.detach().numpy().copy() for k, v in base.state_dict().items()}
  # Without num_transformer_submodules=1 PEFT prompts the decoder too.
  config = peft.MultitaskPromptTuningConfig(
    task_type="SEQ_2_SEQ_LM",
    num_virtual_tokens=P,
    num_transformer_submodules=1,
    **{
      **dict(num_tasks=N, num_ranks=rank, prompt_tuning_init="RANDOM"),
      **changes,
    },
  )
  model = peft.get_peft_model(base, config).eval()
  return model, state


def _randomize(model):
  """PEFT starts its factors so near zero that a wrong prompt hardly shows."""
  prompt = model.prompt_encoder["default"]
  with torch.no_grad():
    for parameter in prompt.parameters():
      parameter.normal_(0.0, 1.0)


def _our_prompt(model):
  prompt = model.prompt_encoder["default"]

  def array(x):
    return x.detach().numpy().copy()

  return {
    "shared_prompt": array(prompt.embedding.weight)[None],
    "task_columns": array(prompt.prefix_task_cols),
    "task_rows": array(prompt.prefix_task_rows),
  }


def _our_model(version, rank, num_tasks=N):
  gated = version == "1.1"
  config = T5Config(
    vocab_size=50,
    emb_dim=D,
    num_heads=4,
    head_dim=5,
    mlp_dim=40,
    num_encoder_layers=2,
    num_decoder_layers=2,
    mlp_activations=("gelu", "linear") if gated else ("relu",),
    logits_via_embedding=not gated,
  )
  return Model(
    config, PromptConfig(num_slots=num_tasks, prompt_length=P, rank=rank)
  )


def _examples(task_ids):
  rng = np.random.default_rng(1)
  return [
    {
      "inputs": rng.integers(3, 50, rng.integers(2, 9)),
      "targets": rng.integers(3, 50, rng.integers(1, 5)),
      "slot_id": task_id,
    }
    for task_id in task_ids
  ]


def _peft_logits(model, examples):
  longest = max(len(e["inputs"]) for e in examples)

  def pad(ids, n):
    return np.pad(ids, (0, n - len(ids)))

  inputs = torch.as_tensor(
    np.stack([pad(e["inputs"], longest) for e in examples])
  )
  # PEFT passes no decoder_input_ids on; transformers shifts the labels.
  labels = np.stack([pad(e["targets"], 5) for e in examples])
  with torch.no_grad():
    return model(
      input_ids=inputs,
      attention_mask=(inputs > 0).long(),
      labels=torch.as_tensor(np.where(labels > 0, labels, -100)),
      task_ids=torch.as_tensor([e["slot_id"] for e in examples]),
    ).logits.numpy()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("rank", [1, 2])
def test_mixed_tasks_give_the_same_logits(version, rank):
  peft_model, state = _peft_model(version, rank)
  _randomize(peft_model)
  model = _our_model(version, rank)
  params = {
    **huggingface.hf_to_t5x_params(state, model.config),
    "prompt": _our_prompt(peft_model),
  }
  examples = _examples((2, 0, 1, 2, 1))
  expected = _peft_logits(peft_model, examples)
  batch, _ = make_batch(
    examples,
    BatchLayout(
      inputs_length=9,
      targets_length=5,
      prompt_length=P,
      num_slots=N,
      pack=False,
    ),
  )
  found = np.asarray(
    jax.jit(lambda p, b: model.network.apply({"params": p}, b).logits)(
      params, batch
    )
  )
  for row, example in enumerate(examples):
    n = len(example["targets"])
    np.testing.assert_allclose(
      found[row, :n], expected[row, :n], atol=1e-4, rtol=1e-4
    )
  # The tasks do differ: with other ids the logits are others.
  moved = [{**e, "slot_id": (e["slot_id"] + 1) % N} for e in examples]
  assert np.abs(_peft_logits(peft_model, moved) - expected).max() > 0.1


def test_mean_factors_equal_average_source_tasks(tmp_path):
  source, _ = _peft_model("1.0", 2)
  _randomize(source)
  source.save_pretrained(tmp_path)
  target, _ = _peft_model(
    "1.0",
    2,
    num_tasks=1,
    prompt_tuning_init="AVERAGE_SOURCE_TASKS",
    prompt_tuning_init_state_dict_path=str(
      tmp_path / "adapter_model.safetensors"
    ),
  )
  expected = _our_prompt(target)
  ours = _our_prompt(source)
  columns, rows = init_target_factors(ours, "mean_factors", 2, D)
  np.testing.assert_allclose(columns, expected["task_columns"][0], atol=1e-6)
  np.testing.assert_allclose(rows, expected["task_rows"][0], atol=1e-6)
  np.testing.assert_array_equal(
    ours["shared_prompt"], expected["shared_prompt"]
  )
