"""The programs: their arguments, and their values beside the network's."""

import functools

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax import export
from stablehlo_fixtures import D, P

from mpt_jax.backbones import backbone as backbones
from mpt_jax.data import batches, packing
from mpt_jax.export import stablehlo_programs
from mpt_jax.inference.engine import decoding
from mpt_jax.model.network import T5
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig


def test_weights_are_arguments(exported, backbone):
  loaded = backbones.load_backbone(backbone)
  embedding = loaded.params["token_embedder"]["embedding"]
  num_tensors = len(jax.tree.leaves(loaded.params))
  for kind, more in (("greedy", 3), ("score", 5)):
    data = (exported / "programs" / f"{kind}_29.stablehlo").read_bytes()
    assert embedding[5].tobytes() not in data
    program = export.deserialize(bytearray(data))
    assert len(program.in_avals) == num_tensors + more
    assert program.platforms == ("cpu", "cuda", "tpu")
    prompts = program.in_avals[num_tensors]
    assert str(prompts.shape[0]) == "b" and prompts.shape[1:] == (P, D)


@pytest.fixture(scope="module")
def tiny(make_config, make_params):
  """A T5 of a few thousand parameters, two prompts, and two inputs."""
  config = make_config("1.1")
  params = make_params(Model(config, trainable="everything"))
  prompts = np.random.default_rng(0).normal(size=(2, P, 16)).astype("f4")
  # The third row is padding.
  tokens = np.zeros((3, 6), np.int32)
  tokens[0, :4], tokens[1, :2] = [7, 8, 9, 1], [30, 1]
  rows = np.pad(prompts, ((0, 1), (0, 0), (0, 0)))
  lengths = np.array([4, 2, 0], np.int32)
  weights = traverse_util.flatten_dict(params, sep="/")
  return config, params, prompts, (weights, rows, tokens, lengths)


def plain_batch(tiny, row, targets):
  """The network with a bank of prompts, and a batch of one input."""
  config, params, prompts, (_, _, tokens, lengths) = tiny
  network = T5(config, PromptConfig(num_slots=2, prompt_length=P, rank=0))
  layout = packing.BatchLayout(
    inputs_length=8,
    targets_length=8,
    prompt_length=P,
    num_slots=2,
    pack=False,
  )
  inputs = tokens[row, : lengths[row]]
  example = {"inputs": inputs, "targets": np.array(targets), "slot_id": row}
  params = {**params, "prompt": {"shared_prompt": prompts}}
  return network, params, batches.make_batch([example], layout)[0]


@functools.partial(jax.jit, static_argnames="network")
def apply(network, params, batch):
  return network.apply({"params": params}, batch)


def test_scores_are_sums_of_log_probabilities(tiny):
  config, *_, arguments = tiny
  labels = [[[5, 1], [6, 7, 1], [4, 1]], [[9, 8, 1], [5, 1]]]
  tokens, numbers = np.zeros((2, 3, 8), np.int32)
  for row, candidates in enumerate(labels):
    flat = [(t, n) for n, ids in enumerate(candidates, 1) for t in ids]
    for i, (token, number) in enumerate(flat):
      tokens[row, i], numbers[row, i] = token, number
  score = jax.jit(stablehlo_programs.score, static_argnums=0)
  found = score(T5(config), *arguments, tokens, numbers)
  assert found.shape == (3, 8) and found.dtype == np.float32
  assert np.isfinite(found).all()
  for row, candidates in enumerate(labels):
    for i, ids in enumerate(candidates):
      network, params, batch = plain_batch(tiny, row, ids)
      logits = apply(network, params, batch).logits[0]
      values = jax.nn.log_softmax(logits)[np.arange(len(ids)), ids]
      assert found[row, i] == pytest.approx(float(values.sum()), rel=1e-4)


def test_greedy_tokens_are_those_of_the_network(tiny):
  config, *_, arguments = tiny
  greedy_decode = jax.jit(decoding.greedy_decode, static_argnums=(0, 3))
  greedy = jax.jit(stablehlo_programs.greedy, static_argnums=(0, 1))
  found = np.asarray(greedy(T5(config), 5, *arguments))
  assert found.shape == (3, 5)
  for row in range(2):
    network, params, batch = plain_batch(tiny, row, [2, 1])
    expected = greedy_decode(network, params, batch, 5)
    np.testing.assert_array_equal(found[row], expected[0])
  assert (found[0] != found[1]).any()
