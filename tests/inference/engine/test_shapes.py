"""The shapes of examples: few, within the bound, by an example's own length."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

from mpt_jax.inference.engine.memory import MAX_BYTES, Memory
from mpt_jax.inference.engine.shapes import FEW_POSITIONS, Shapes
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.plan import DENSE


def test_a_server_needs_few_shapes(make_config):
  shapes = _make_shapes(make_config, joined=True)
  seen = set()
  for seed in range(50):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(101, 357, rng.integers(1, 60)).tolist()
    chosen, shape = shapes.take_batch(sizes, few=True)
    seen.add(shape)
    assert chosen[0] == 0
    assert sum(sizes[i] for i in chosen) <= shape[1]
  assert seen <= {(1, n) for n in FEW_POSITIONS}


def _make_shapes(make_config, **changes):
  values = dict(
    prompt_length=100,
    inputs_length=256,
    targets_length=16,
    batch_size=64,
    num_beams=1,
    devices=1,
    joined=False,
    memory=Memory(make_config(emb_dim=64)),
  )
  return Shapes(**{**values, **changes})


def test_windows_stay_within_the_row(make_config):
  """The squares of 101 to 356 positions are 168, 232, 296 and 360 wide."""
  shapes = _make_shapes(make_config, joined=True)
  assert shapes.lengths == (168, 232, 296, 356)
  # One example of 110 positions needs its square of 168.
  assert shapes.take_batch([110])[1] == (1, 192)
  # The second begins at 110 and its square ends at 278.
  assert shapes.take_batch([110, 110])[1] == (1, 320)
  # No fewer than 4096 numbers of width 16.
  short = _make_shapes(
    make_config,
    prompt_length=1,
    inputs_length=7,
    joined=True,
    memory=Memory(make_config()),
  )
  assert short.take_batch([3])[1] == (1, 256)


def test_the_plan_of_long_rows_is_by_segments_where_they_are_joined(
  make_config,
):
  def of_engine(inputs_length, joins):
    return Shapes.of_engine(
      make_config(),
      {"kernel": np.zeros((4, 4), np.float32)},
      jax.make_mesh((8, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2),
      joins=joins,
      prompt_length=100,
      inputs_length=inputs_length,
      targets_length=4,
      batch_size=64,
      num_beams=1,
    )

  # Up to 128 positions, plain rows are as fast.
  assert of_engine(28, True).plan == DENSE
  assert not of_engine(28, True).joined
  # The longest and the shortest example that the engine may get.
  assert of_engine(29, True).plan == BySegments(129, 101)
  plain = of_engine(500, False)
  assert plain.plan == DENSE and plain.devices == 8 and plain.on_cpu
  assert plain.memory.max_bytes == MAX_BYTES


def test_activations_may_take_as_much_as_large_weights(make_config):
  weights = jax.ShapeDtypeStruct((2**20, 2**11), np.float32)
  made = Shapes.of_engine(
    make_config(),
    {"kernel": weights},
    jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2),
    joins=False,
    prompt_length=3,
    inputs_length=9,
    targets_length=4,
    batch_size=64,
    num_beams=1,
  )
  # 8 GiB over two devices.
  assert made.memory.max_bytes == 2**32


@pytest.mark.parametrize("devices", [1, 4])
def test_rows_are_a_multiple_of_the_devices_and_fit(make_config, devices):
  narrow = Memory(make_config(vocab_size=4000), 10**8)
  shapes = _make_shapes(make_config, devices=devices, memory=narrow)
  for length in shapes.lengths:
    for targets in (8, 32, 128):
      rows = shapes.score_rows(length, targets)
      assert rows % devices == 0
      assert rows // devices <= narrow.ranking_rows(length, targets)
    rows = shapes.num_rows(length)
    assert rows % devices == 0 and rows <= max(64, devices)
    assert rows // devices <= narrow.generating_rows(length, 16)
    chosen, (count, found) = shapes.take_batch([length] * 500)
    assert found == length and len(chosen) <= count and count % devices == 0


def test_an_accelerator_gets_as_many_rows_as_a_batch_may_have(make_config):
  sizes = [300] * 500
  for on_cpu, rows in ((True, 32), (False, 100)):
    shapes = _make_shapes(make_config, batch_size=100, on_cpu=on_cpu)
    chosen, shape = shapes.take_batch(sizes)
    assert len(chosen) == rows and shape == (rows, 356)
    assert shapes.score_rows(356, 8) == (16 if on_cpu else 100)


def test_examples_of_one_length_share_a_batch_of_plain_rows(make_config):
  shapes = _make_shapes(make_config)
  chosen, shape = shapes.take_batch([300, 110, 310, 356, 297])
  # Rows of 356 positions hold those of 297 and more.
  assert chosen == [0, 2, 3, 4] and shape == (8, 356)
