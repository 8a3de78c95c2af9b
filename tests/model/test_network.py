"""The T5 itself: shapes, masks, packing, hidden states, dtypes, dropout."""

import dataclasses
import functools

import flax.linen.partitioning
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model.network import T5
from mpt_jax.model.objective import Model
from mpt_jax.prompts.config import PromptConfig

VERSIONS = ("1.0", "1.1")


def _model(config, prompt_length=3, num_slots=2):
  return Model(
    config, PromptConfig(num_slots=num_slots, prompt_length=prompt_length)
  )


@functools.partial(jax.jit, static_argnames=("network", "all_hidden"))
def _apply(network, params, batch, all_hidden=False):
  return network.apply({"params": params}, batch, all_hidden=all_hidden)


def _batch(examples, pack, prompt_length=3, num_slots=2, **settings):
  config = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=prompt_length,
    num_slots=num_slots,
    pack=pack,
    **settings,
  )
  return make_batch(examples, config)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_forward_shapes(version, make_config, make_params, make_examples):
  config = make_config(version)
  model = _model(config)
  params = make_params(model)
  batch = _batch(make_examples(3, 2), pack=False)
  rows, length = batch["encoder_input_tokens"].shape
  target_length = batch["decoder_input_tokens"].shape[1]
  output = _apply(model.network, params, batch, all_hidden=True)
  assert output.logits.shape == (rows, target_length, 40)
  assert [h.shape for h in output.encoder_hidden] == [(rows, length, 16)] * 3
  assert [h.shape for h in output.decoder_hidden] == [
    (rows, target_length, 16)
  ] * 3
  last = _apply(model.network, params, batch)
  assert len(last.encoder_hidden) == len(last.decoder_hidden) == 1
  np.testing.assert_array_equal(
    last.encoder_hidden[0], output.encoder_hidden[-1]
  )
  np.testing.assert_array_equal(
    last.decoder_hidden[0], output.decoder_hidden[-1]
  )


def test_parameter_names_are_those_of_t5x(make_config):
  # Names as they stand in t5x's checkpoints of T5 1.0 and 1.1 (minimal
  # examples/t5/network.py), for one block of each stack.
  attention = {f"{p}/kernel" for p in ("query", "key", "value", "out")}
  common = {
    "token_embedder/embedding",
    "encoder/relpos_bias/rel_embedding",
    "encoder/encoder_norm/scale",
    "encoder/layers_0/pre_attention_layer_norm/scale",
    "encoder/layers_0/pre_mlp_layer_norm/scale",
    "decoder/relpos_bias/rel_embedding",
    "decoder/decoder_norm/scale",
    "decoder/layers_0/pre_self_attention_layer_norm/scale",
    "decoder/layers_0/pre_cross_attention_layer_norm/scale",
    "decoder/layers_0/pre_mlp_layer_norm/scale",
    "encoder/layers_0/mlp/wo/kernel",
    "decoder/layers_0/mlp/wo/kernel",
  }
  for module in (
    "encoder/layers_0/attention",
    "decoder/layers_0/self_attention",
    "decoder/layers_0/encoder_decoder_attention",
  ):
    common |= {f"{module}/{name}" for name in attention}
  mlps = {
    "1.0": {f"{s}/layers_0/mlp/wi/kernel" for s in ("encoder", "decoder")},
    "1.1": {
      f"{s}/layers_0/mlp/wi_{i}/kernel"
      for s in ("encoder", "decoder")
      for i in (0, 1)
    }
    | {"decoder/logits_dense/kernel"},
  }
  for version, mlp in mlps.items():
    config = make_config(version, num_encoder_layers=1, num_decoder_layers=1)
    model = Model(config, trainable="everything")
    variables = jax.eval_shape(model.init_variables, jax.random.key(0))
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    assert set(flat) == common | mlp


@pytest.mark.parametrize("version", VERSIONS)
def test_every_parameter_has_logical_axes(version, make_config):
  model = _model(make_config(version))
  variables = jax.eval_shape(model.init_variables, jax.random.key(0))
  axes = flax.linen.partitioning.get_axis_names(variables["params_axes"])
  params = traverse_util.flatten_dict(variables["params"], sep="/")
  axes = traverse_util.flatten_dict(axes, sep="/")
  assert set(axes) == set(params)
  for name, names in axes.items():
    assert len(names) == params[name].ndim, name
    assert all(isinstance(axis, str) for axis in names), name


def test_padding_changes_nothing(make_config, make_params, make_examples):
  model = _model(make_config("1.1"))
  params = make_params(model)
  example = make_examples(1)[0]
  outputs = []
  for multiple in (1, 32):
    batch = _batch([example], pack=False, length_multiple=multiple)
    # What stands at padding must not matter either.
    for stack in ("encoder", "decoder"):
      padding = batch[f"{stack}_segment_ids"] == 0
      batch[f"{stack}_input_tokens"][padding] = 7
    outputs.append(_apply(model.network, params, batch))
  n = len(example["targets"])
  np.testing.assert_allclose(
    outputs[0].logits[0, :n], outputs[1].logits[0, :n], atol=1e-5
  )


@pytest.mark.parametrize("version", VERSIONS)
def test_packed_rows_equal_plain_rows(
  version, make_config, make_params, make_examples
):
  model = _model(make_config(version))
  params = make_params(model)
  examples = make_examples(6, num_slots=2, seed=1)
  plain = _batch(examples, pack=False)
  packed = _batch(examples, pack=True, row_length=40)
  assert packed["encoder_input_tokens"].shape[0] < 6
  plain_out, packed_out = (
    _apply(model.network, params, b, all_hidden=True) for b in (plain, packed)
  )

  def by_example(batch, values, stack):
    """Values of the real positions, keyed by the example's tokens."""
    result = {}
    for row in range(values.shape[0]):
      segments = batch[f"{stack}_segment_ids"][row]
      for segment in range(1, segments.max() + 1):
        targets = batch["decoder_target_tokens"][row][
          batch["decoder_segment_ids"][row] == segment
        ]
        inputs = batch["encoder_input_tokens"][row][
          batch["encoder_segment_ids"][row] == segment
        ]
        key = (tuple(inputs), tuple(targets))
        result[key] = np.asarray(values[row][segments == segment])
    return result

  states = [
    (plain_out.logits, packed_out.logits, "decoder"),
    *(
      (a, b, stack)
      for stack in ("encoder", "decoder")
      for a, b in zip(
        getattr(plain_out, f"{stack}_hidden"),
        getattr(packed_out, f"{stack}_hidden"),
        strict=True,
      )
    ),
  ]
  for plain_values, packed_values, stack in states:
    expected = by_example(plain, plain_values, stack)
    found = by_example(packed, packed_values, stack)
    assert len(expected) == 6 and set(found) == set(expected)
    for key in expected:
      np.testing.assert_allclose(
        found[key], expected[key], atol=3e-5, err_msg=stack
      )


def test_decoder_is_causal_and_reads_its_own_example(
  make_config, make_params, make_examples
):
  model = _model(make_config())
  params = make_params(model)
  batch = _batch(make_examples(4, 2, seed=2), pack=True, row_length=60)
  assert batch["encoder_input_tokens"].shape[0] == 1

  def apply(b):
    return _apply(model.network, params, b).logits

  before = apply(batch)
  segments = batch["decoder_segment_ids"][0]
  last_of_first = np.flatnonzero(segments == 1)[-1]

  changed = {k: v.copy() for k, v in batch.items()}
  changed["decoder_input_tokens"][0, last_of_first] += 1
  difference = np.abs(apply(changed) - before)[0].max(-1)
  assert difference[last_of_first] > 1e-3
  others = (segments > 0) & (np.arange(len(segments)) != last_of_first)
  assert np.all(difference[others] == 0)

  changed = {k: v.copy() for k, v in batch.items()}
  position = np.flatnonzero(batch["encoder_segment_ids"][0] == 2)[-1]
  changed["encoder_input_tokens"][0, position] += 1
  difference = np.abs(apply(changed) - before)[0].max(-1)
  assert np.all(difference[segments == 2] > 1e-4)
  assert np.all(difference[(segments > 0) & (segments != 2)] == 0)


def test_cross_segments_separate_candidates_of_one_input(
  make_config, make_params
):
  # Two candidates for one input score as if each stood alone.
  model = _model(make_config())
  params = make_params(model)
  inputs, candidates = np.array([5, 6, 1]), [np.array([9, 8, 1]), [11, 1]]
  both = _batch([{"inputs": inputs, "targets": candidates}], pack=True)
  logits = _apply(model.network, params, both).logits[0]
  start = 0
  for candidate in candidates:
    alone = _batch([{"inputs": inputs, "targets": np.array(candidate)}], False)
    expected = _apply(model.network, params, alone).logits[0]
    n = len(candidate)
    np.testing.assert_allclose(
      logits[start : start + n], expected[:n], atol=3e-5
    )
    start += n


def test_prompt_positions_replace_embeddings(
  make_config, make_params, make_examples
):
  # With an embedding table as the prompt, slots equal ordinary tokens.
  config = make_config()
  model = _model(config, prompt_length=3, num_slots=1)
  params = make_params(model)
  tokens = np.array([7, 30, 12])
  params["prompt"]["shared_prompt"] = params["token_embedder"]["embedding"][
    tokens
  ][None]
  params["prompt"]["task_columns"] = np.ones((1, 3, 1), np.float32)
  params["prompt"]["task_rows"] = np.ones((1, 1, 16), np.float32)
  (example,) = make_examples(1, longest=6)
  with_slots = _batch([example], pack=False, num_slots=1)
  with_tokens = _batch(
    [{**example, "inputs": np.concatenate([tokens, example["inputs"]])}],
    pack=False,
    prompt_length=0,
    num_slots=1,
  )
  without_prompt = {k: v for k, v in params.items() if k != "prompt"}
  expected = _apply(T5(config), without_prompt, with_tokens)
  found = _apply(model.network, params, with_slots)
  np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)


def test_bfloat16_is_near_float32(make_config, make_params, make_examples):
  model = _model(make_config("1.1"))
  # The bank's and the network's usual scale: bfloat16 has 8 bits.
  params = jax.tree.map(lambda x: 0.3 * x, make_params(model))
  batch = _batch(make_examples(4, 2), pack=True)
  half = _model(make_config("1.1", dtype="bfloat16"))
  output = _apply(half.network, params, batch)
  expected = _apply(model.network, params, batch)
  assert output.logits.dtype == jnp.float32
  assert output.encoder_hidden[-1].dtype == jnp.bfloat16
  error = jnp.abs(output.logits - expected.logits).max()
  assert 0 < error < 0.05 * jnp.abs(expected.logits).max()


def test_dropout_draws_only_when_asked(make_config, make_params, make_examples):
  config = make_config(num_encoder_layers=1, num_decoder_layers=1)
  model = _model(dataclasses.replace(config, dropout_rate=0.5))
  params = make_params(model)
  batch = _batch(make_examples(2, 2), pack=False)
  plain = _apply(model.network, params, batch).logits
  without = dataclasses.replace(model.config, dropout_rate=0.0)
  np.testing.assert_array_equal(
    plain, _apply(_model(without).network, params, batch).logits
  )

  @jax.jit
  def drop(seed):
    rngs = {"dropout": jax.random.key(seed)}
    return model.network.apply(
      {"params": params}, batch, deterministic=False, rngs=rngs
    ).logits

  np.testing.assert_array_equal(drop(0), drop(0))
  assert np.abs(drop(0) - plain).max() > 1e-2
  assert np.abs(drop(0) - drop(1)).max() > 1e-2
