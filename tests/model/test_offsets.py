"""Kinds of prompt that add to the inputs' embeddings, in the network."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from prompt_fixtures import random_params

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.inference.engine import decoding
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import Example
from mpt_jax.model import partitioning
from mpt_jax.model.accelerator.plan import Accelerated
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import expand_bank

P, S, D = 3, 7, 16
GROUPS = (0, 1)
LAYOUT = BatchLayout(
  inputs_length=10, targets_length=6, prompt_length=P, num_slots=2
)


@pytest.fixture(scope="module")
def parts(make_config, make_params):
  """(model, its bank, the T5): offsets for fewer tokens than inputs have."""
  bank = PromptConfig(
    num_slots=2, prompt_length=P, rank=2, kind="dept", inputs_length=S
  )
  config = make_config("1.1", num_encoder_layers=1, num_decoder_layers=1)
  model = Model(config, bank)
  _, frozen = model.split_params(make_params(model))
  return model, random_params(bank, D), frozen


@functools.partial(jax.jit, static_argnums=0)
def _value_and_grad(model, bank, frozen, batch):
  value = jax.value_and_grad(model.loss, has_aux=True)
  return value({"prompt": bank}, frozen, batch)


def _close(found, expected):
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a / largest, b / largest, atol=1e-5
    ),
    found,
    expected,
  )


def test_embeddings_and_offsets_are_added_up(parts):
  """The same rows, written out as a plain prompt before no input."""
  model, bank, frozen = parts
  tokens = np.array([7, 8, 9, 4, 5, 6, 7, 8, 1])
  batch, _ = make_batch(
    [{"inputs": tokens, "targets": np.array([5, 1]), "slot_id": 1}],
    dataclasses.replace(LAYOUT, pack=False, length_multiple=1),
  )
  found = model.network.apply(
    {"params": {**frozen, "prompt": bank}}, batch, all_hidden=True
  ).encoder_hidden
  expanded = np.asarray(expand_bank(bank, GROUPS))[1]
  inputs = frozen["token_embedder"]["embedding"][tokens].copy()
  inputs[:S] += expanded[P:]
  written = np.concatenate([expanded[:P], inputs])
  np.testing.assert_allclose(found[0][0], written, rtol=1e-6)

  length = len(written)
  plain = Model(
    model.config, PromptConfig(num_slots=1, prompt_length=length, rank=0)
  )
  ones = np.ones((1, length), np.int32)
  params = {**frozen, "prompt": {"shared_prompt": written[None]}}
  where = np.arange(1, length + 1)[None], 0 * ones
  expected = plain.network.apply(
    {"params": params}, ones, ones, *where, method="encode"
  )
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_neither_packing_nor_the_plan_changes_anything(parts, make_examples):
  model, *case = parts
  examples = make_examples(7, 2)

  def run(plan, **layout):
    batch, _ = make_batch(examples, dataclasses.replace(LAYOUT, **layout))
    return _value_and_grad(dataclasses.replace(model, plan=plan), *case, batch)

  expected = run(model.plan, pack=False)
  for gradient in jax.tree.leaves(expected[1]):
    assert np.abs(gradient).max() > 1e-3
  _close(run(model.plan, row_length=40), expected)
  _close(run(BySegments(P + 10, P + 1), long_rows=True), expected)
  _close(run(Accelerated(platform="interpret"), num_rows=8), expected)


def test_gradients_by_rows_are_those_of_the_loss(parts, make_examples):
  model, bank, frozen = parts
  batch, _ = make_batch(make_examples(5, 2), LAYOUT)
  expected = _value_and_grad(model, bank, frozen, batch)[1]
  gradients = jax.jit(model.gradients)
  active = np.ones(2, bool)
  found, _ = gradients({"prompt": bank}, frozen, batch, active=active)
  _close(found, expected)
  # A slot whose offsets are not finite disturbs no other.
  broken = {name: array.copy() for name, array in bank.items()}
  broken["offset_left"][0, 2, 1] = np.inf
  assert model.find_sound(broken).tolist() == [False, True]
  found, _ = gradients({"prompt": broken}, frozen, batch, active=active)
  for name, array in found["prompt"].items():
    np.testing.assert_array_equal(array[0], 0)
    np.testing.assert_allclose(array[1], expected["prompt"][name][1], atol=1e-5)


@pytest.mark.parametrize("joins", [True, False])
def test_the_engine_gives_the_scores_of_the_network(parts, joins):
  model, bank, frozen = parts
  rng = np.random.default_rng(0)
  # One input is longer than a packed row of the CPU.
  lengths = (3, 9, 150, 5)
  candidates = [np.array([5, 1]), np.array([6, 7, 1])]
  examples = [
    Example(np.append(rng.integers(3, 40, n), 1), i % 2, candidates)
    for i, n in enumerate(lengths)
  ]
  engine = Engine(
    model.config,
    frozen,
    expand_bank(bank, GROUPS),
    prompt_length=P,
    mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
    inputs_length=160,
    batch_size=4,
    joins=joins,
  )
  batch, _ = make_batch(
    [
      {"inputs": e.inputs, "targets": candidates, "slot_id": e.prompt}
      for e in examples
    ],
    dataclasses.replace(LAYOUT, pack=False, inputs_length=160),
  )
  params = {**frozen, "prompt": bank}
  expected = decoding.score_candidates(model.network, params, batch, 8)
  np.testing.assert_allclose(
    np.concatenate(engine.rank(examples)), expected, rtol=1e-4, atol=1e-4
  )
