"""The engine gives an example the same bits whatever shares its batch."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from mpt_jax.data.batches import EOS_ID
from mpt_jax.inference.engine import ragged
from mpt_jax.inference.engine.engine import Engine
from mpt_jax.inference.engine.example import Example, NotFiniteError
from mpt_jax.model import partitioning
from mpt_jax.model.objective import Model

P, T = 3, 6
# Short rows are plain; from 128 positions on they are joined on one device.
SHORT, LONG = 20, 150


@pytest.fixture(scope="module")
def parts(make_config, make_params):
  """(config, the T5's parameters, four prompts [4, P, D])."""
  config = make_config("1.1", num_encoder_layers=1, num_decoder_layers=1)
  params = make_params(Model(config, trainable="everything"), seed=5)
  rng = np.random.default_rng(0)
  prompts = rng.normal(0.0, 1.0, (4, P, config.emb_dim)).astype(np.float32)
  return config, params, prompts


def _one_device():
  return jax.make_mesh(
    (1, 1),
    ("data", "model"),
    axis_types=(AxisType.Auto, AxisType.Auto),
    devices=jax.devices()[:1],
  )


def _make(parts, inputs_length, mesh=None):
  return Engine(
    *parts,
    mesh=mesh or _one_device(),
    inputs_length=inputs_length,
    targets_length=T,
    batch_size=8,
    joins=mesh is None,
  )


def _ids(rng, n):
  return np.append(rng.integers(3, 40, n - 1), EOS_ID).astype(np.int32)


def _examples(rng, count, longest):
  return [
    Example(
      _ids(rng, int(rng.integers(2, longest + 5))),
      int(rng.integers(4)),
      [_ids(rng, int(k)) for k in rng.integers(2, 5, rng.integers(1, 5))],
    )
    for _ in range(count)
  ]


@pytest.fixture(scope="module", params=["plain", "joined", "devices"])
def engine(request, parts):
  if request.param == "devices":
    return _make(parts, SHORT, mesh=partitioning.make_mesh())
  return _make(parts, SHORT if request.param == "plain" else LONG)


def test_scores_have_the_same_bits_in_any_mixture(engine):
  rng = np.random.default_rng(1)
  examples = _examples(rng, 30, engine.inputs_length)
  alone = [engine.rank([example])[0] for example in examples[:10]]
  for count in (2, 7, 30):
    chosen = rng.permutation(30)[:count]
    made = engine.rank([examples[i] for i in chosen])
    for i, scores in zip(chosen, made, strict=True):
      if i < 10:
        np.testing.assert_array_equal(scores, alone[i])


def test_tokens_are_the_same_in_any_mixture(engine):
  rng = np.random.default_rng(2)
  examples = _examples(rng, 20, engine.inputs_length)
  everything = engine.generate(examples)
  for count in (1, 3, 11):
    chosen = rng.permutation(20)[:count]
    made = engine.generate([examples[i] for i in chosen])
    np.testing.assert_array_equal(made, everything[chosen])


def test_a_prompt_may_be_given_itself(engine, parts):
  (example, *_) = _examples(np.random.default_rng(4), 1, 9)
  given = example._replace(prompt=parts[2][example.prompt])
  np.testing.assert_array_equal(
    engine.rank([example])[0], engine.rank([given])[0]
  )


def test_a_prompt_that_overflows_spoils_no_neighbour(engine, parts):
  rng = np.random.default_rng(5)
  good = _examples(rng, 5, engine.inputs_length)
  bad = good[0]._replace(prompt=np.full(parts[2][0].shape, np.inf, np.float32))
  part = [bad, *good[1:3], bad, *good[3:]]
  _, shape = engine.shapes.take_batch([engine.size(e) for e in part])
  encoded = engine.encode(part, shape)
  for group in engine.divide(part, range(len(encoded.sizes))):
    made = engine.score(encoded, part, group)
    for i, scores in zip(group, made, strict=True):
      if part[i] is bad:
        assert not np.isfinite(scores).all()
      else:
        np.testing.assert_array_equal(scores, engine.rank([part[i]])[0])
  with pytest.raises(NotFiniteError, match="example 0"):
    engine.rank([bad])
  with pytest.raises(NotFiniteError, match="example 1"):
    engine.generate([good[1], bad])


def test_rows_enter_a_table_while_others_go_on(engine):
  """Three rows start at different steps, in rows that others left."""
  rng = np.random.default_rng(6)
  length = engine.shapes.lengths[0]
  examples = [Example(_ids(rng, 2 + i), i) for i in range(3)]
  expected = engine.generate(examples)
  keys = np.asarray(ragged.row_keys(0, np.arange(3)))
  table = engine.start_table(length)
  for i, example in enumerate(examples):
    _, shape = engine.shapes.take_batch([engine.size(example)])
    encoded = engine.encode([example], shape)
    table = engine.admit(table, encoded, [0], [i + 1], [0.0], keys[i : i + 1])
    table = engine.run_table(table, 2, 1 << 20)
  table = engine.run_table(table, T, 1 << 20)
  assert np.asarray(table["done"]).all()
  tokens = np.asarray(table["tokens"])
  np.testing.assert_array_equal(tokens[1:4], expected)
  # Each took one row's own steps: the first had six, the last two of them.
  index = np.asarray(table["index"])[1:4]
  for row, end in zip(expected, index, strict=True):
    ends = np.flatnonzero(row == EOS_ID)
    assert end == (ends[0] if len(ends) else T - 1)


def test_an_input_that_is_too_long_is_cut(engine):
  rng = np.random.default_rng(7)
  long = Example(_ids(rng, engine.inputs_length + 9), 0, [_ids(rng, 2)])
  cut = long.inputs[: engine.inputs_length].copy()
  cut[-1] = EOS_ID
  np.testing.assert_array_equal(
    engine.rank([long])[0], engine.rank([long._replace(inputs=cut)])[0]
  )
