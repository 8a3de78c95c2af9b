"""UMT5 against transformers, with all plans: each layer has its own table.

PyTorch's side is `UMT5ForConditionalGeneration`, with prompts in
`inputs_embeds`.
"""

import functools

import jax
import numpy as np
import pytest
from hf_folders import make_hf

from mpt_jax.backbones.backbone import load_backbone
from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.model.accelerator.plan import Accelerated
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.network import T5
from mpt_jax.model.objective import Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig

REASON = "parity needs PyTorch and transformers (the test extra)"
torch = pytest.importorskip("torch", reason=REASON)

P, INPUTS, TARGETS = 4, 40, 6
PLANS = {
  "dense": Dense(),
  "segments": BySegments(P + INPUTS, P + 1),
  "accelerator": Accelerated(keeps="nothing"),
  "fused": Accelerated(platform="interpret", keeps="projections"),
}


@pytest.fixture(scope="module")
def umt5(tmp_path_factory):
  """(PyTorch's model, our backbone, a bank of two prompts)."""
  folder = tmp_path_factory.mktemp("umt5")
  torch.manual_seed(0)
  model = make_hf(folder, model_type="umt5", num_decoder_layers=2)
  # Smaller weights make attention less sharp, so float32 rounds less.
  for parameter in model.parameters():
    parameter.requires_grad_(False).mul_(0.5)
  model.save_pretrained(folder)
  bank = np.random.default_rng(1).normal(0.0, 1.0, (2, P, 16))
  return model, load_backbone(folder), bank.astype(np.float32)


def make_examples():
  rng = np.random.default_rng(2)
  return [
    {
      "inputs": rng.integers(3, 400, n).astype(np.int32),
      "targets": rng.integers(3, 400, m).astype(np.int32),
      "slot_id": i % 2,
    }
    for i, (n, m) in enumerate([(7, 3), (40, 6), (1, 1), (12, 4)])
  ]


def pad(rows, value=0):
  width = max(map(len, rows))
  return torch.as_tensor(
    np.array([[*row, *[value] * (width - len(row))] for row in rows])
  )


def their_inputs(model, bank, examples):
  """Prompted embeddings [B, P + L, D] and their mask."""
  tokens = pad([e["inputs"] for e in examples])
  prompts = bank[[e["slot_id"] for e in examples]]
  embeddings = model.get_input_embeddings()(tokens)
  mask = torch.cat([torch.ones(len(tokens), P), tokens > 0], dim=1).long()
  return {
    "inputs_embeds": torch.cat([prompts, embeddings], dim=1),
    "attention_mask": mask,
  }


def as_params(backbone, bank):
  return {**backbone.params, "prompt": {"shared_prompt": bank}}


def layout(**options):
  return BatchLayout(
    inputs_length=INPUTS,
    targets_length=TARGETS,
    prompt_length=P,
    num_slots=2,
    **options,
  )


def check(found, expected):
  """Compares the norm of the difference with that of the numbers."""
  error = np.linalg.norm(np.asarray(found) - expected)
  assert error < 1e-5 * np.linalg.norm(expected)


def make_network(backbone, plan):
  return T5(
    backbone.config, PromptConfig(num_slots=2, prompt_length=P, rank=0), plan
  )


@pytest.mark.parametrize("plan", ["dense", "accelerator", "fused"])
def test_states_and_logits(umt5, plan):
  model, backbone, bank = umt5
  examples = make_examples()
  plan = PLANS[plan]
  batch, _ = make_batch(examples, layout(pack=False))
  network = make_network(backbone, plan)
  run = jax.jit(lambda p, b: network.apply({"params": p}, b, all_hidden=True))
  output = run(plan.prepare(as_params(backbone, bank)), batch)
  targets = [[0, *e["targets"][:-1]] for e in examples]
  theirs = model(
    **their_inputs(model, torch.as_tensor(bank), examples),
    decoder_input_ids=pad(targets),
    output_hidden_states=True,
  )
  states = theirs.encoder_hidden_states
  assert len(output.encoder_hidden) == len(states) == 4
  for i, example in enumerate(examples):
    length = P + len(example["inputs"])
    for ours, state in zip(output.encoder_hidden, states, strict=True):
      check(ours[i, :length], state[i, :length].numpy())
    length = len(example["targets"])
    check(output.logits[i, :length], theirs.logits[i, :length].numpy())


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(model, params, frozen, batch):
  value = jax.value_and_grad(model.loss, has_aux=True)
  return value(params, frozen, batch)


@pytest.mark.parametrize("plan", PLANS)
def test_loss_and_gradient_of_a_prompt(umt5, plan):
  hf_model, backbone, bank = umt5
  examples, plan = make_examples(), PLANS[plan]
  batch, _ = make_batch(examples, plan.rows(layout()))
  model = Model(
    backbone.config,
    PromptConfig(num_slots=2, prompt_length=P, rank=0),
    plan=plan,
  )
  params, frozen = model.split_params(as_params(backbone, bank))
  (loss, _), gradient = loss_and_gradient(
    model, params, plan.prepare(frozen), batch
  )
  prompts = torch.as_tensor(bank).clone().requires_grad_()
  # Our loss is the sum of the means of the two prompts.
  theirs = sum(
    hf_model(
      **their_inputs(hf_model, prompts, own),
      labels=pad([e["targets"] for e in own], -100),
    ).loss
    for own in (examples[0::2], examples[1::2])
  )
  theirs.backward()
  np.testing.assert_allclose(loss, theirs.item(), rtol=1e-5)
  check(gradient["prompt"]["shared_prompt"], prompts.grad.numpy())


@pytest.mark.parametrize("plan", PLANS)
def test_generated_tokens(umt5, plan):
  model, backbone, bank = umt5
  examples, plan = make_examples(), PLANS[plan]
  with torch.no_grad():
    expected = model.generate(
      **their_inputs(model, torch.as_tensor(bank), examples),
      max_new_tokens=TARGETS,
      num_beams=1,
      do_sample=False,
    ).numpy()[:, 1:]
  assert len({tuple(row) for row in expected.tolist()}) > 1
  batch, _ = make_batch(examples, layout(pack=False))
  network = make_network(backbone, plan)
  found = jax.jit(
    lambda p, b: decoding.greedy_decode(network, p, b, max_length=TARGETS)
  )(plan.prepare(as_params(backbone, bank)), batch)
  missing = TARGETS - expected.shape[1]
  np.testing.assert_array_equal(found, np.pad(expected, ((0, 0), (0, missing))))
