"""Placement on eight devices: which axis is split, and what comes back."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mpt_jax.model import partitioning
from mpt_jax.model.network import T5, init_variables
from mpt_jax.prompts.config import PromptConfig


@pytest.fixture(scope="module")
def network(make_config):
  return T5(make_config("1.1"), PromptConfig(num_slots=2, prompt_length=3))


@pytest.fixture(scope="module")
def variables(network):
  def init(key):
    return init_variables(network, key)

  return jax.eval_shape(init, jax.random.key(0))


def test_a_model_partition_that_does_not_divide_the_devices():
  with pytest.raises(ValueError, match="=3 does not divide the 8 devices"):
    partitioning.make_mesh(3)


@pytest.mark.parametrize("count", [0, -1, 16])
def test_other_numbers_of_partitions_that_are_refused(count):
  with pytest.raises(ValueError, match=f"={count} does not divide"):
    partitioning.make_mesh(count)


def test_a_mesh_has_all_devices():
  for count in (1, 2, 8):
    mesh = partitioning.make_mesh(count)
    assert dict(mesh.shape) == {"data": 8 // count, "model": count}


def specs(mesh, variables):
  """The axes that are split, of one parameter of each kind."""
  found = partitioning.param_shardings(mesh, variables)
  layer = found["decoder"]["layers_0"]
  return {
    "embedding": found["token_embedder"]["embedding"].spec,
    "query": layer["self_attention"]["query"]["kernel"].spec,
    "out": layer["self_attention"]["out"]["kernel"].spec,
    "wi": layer["mlp"]["wi_0"]["kernel"].spec,
    "wo": layer["mlp"]["wo"]["kernel"].spec,
    "scale": layer["pre_mlp_layer_norm"]["scale"].spec,
    "logits": found["decoder"]["logits_dense"]["kernel"].spec,
    "prompt": found["prompt"]["shared_prompt"].spec,
  }


def test_what_is_split_over_two_devices(variables):
  # The vocabulary, the heads and the inner width; prompts are whole.
  assert specs(partitioning.make_mesh(2), variables) == {
    "embedding": P("model", None),
    "query": P(None, "model"),
    "out": P("model", None),
    "wi": P(None, "model"),
    "wo": P("model", None),
    "scale": P(None),
    "logits": P(None, "model"),
    "prompt": P(None, None, None),
  }


def test_an_axis_that_the_devices_do_not_divide_is_whole(variables):
  # 40 pieces and an inner width of 24 are divided by 8; 3 · 4 of heads are not.
  found = specs(partitioning.make_mesh(8), variables)
  assert found["embedding"] == P("model", None)
  assert found["wi"] == P(None, "model")
  assert found["query"] == P(None, None) and found["out"] == P(None, None)


def test_parameters_are_placed_and_fetched(network, variables):
  mesh = partitioning.make_mesh(2)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(x.dtype), variables["params"]
  )
  placed = partitioning.put_params(mesh, network, params)
  wi = placed["encoder"]["layers_0"]["mlp"]["wi_0"]["kernel"]
  # A device holds half of the inner width of 24.
  assert {shard.data.shape for shard in wi.addressable_shards} == {(16, 12)}
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(partitioning.fetch(x), y),
    placed,
    params,
  )


def test_a_batch_is_split_by_rows():
  mesh = partitioning.make_mesh(2)
  batch = {"x": np.arange(24).reshape(8, 3), "y": np.arange(8)}
  placed = partitioning.put_batch(mesh, batch)
  # Four pairs of devices with two rows each.
  for shard in placed["x"].addressable_shards:
    assert shard.data.shape == (2, 3)
    np.testing.assert_array_equal(shard.data, batch["x"][shard.index])
  found = partitioning.fetch(placed["y"])
  assert isinstance(found, np.ndarray)
  np.testing.assert_array_equal(found, batch["y"])


def test_one_sharding_for_a_whole_tree():
  mesh = partitioning.make_mesh(4)
  tree = {"a": np.ones(3), "b": [np.zeros((2, 2))]}
  placed = partitioning.put(tree, partitioning.replicated(mesh))
  for array in jax.tree.leaves(placed):
    assert array.is_fully_replicated and len(array.sharding.device_set) == 8
