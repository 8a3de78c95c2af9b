"""The default mesh on TPUs for which t5x has none, on simulated devices."""

import pytest

from mpt_jax.t5x.submesh import choose_submesh

V5E = ("tpu", "TPU v5 lite", (4, 4, 1, 1), (2, 2, 1, 1))
V5P = ("tpu", "TPU v5", (4, 4, 4, 1), (2, 2, 1, 1))
V6E = ("tpu", "TPU v6 lite", (16, 16, 1, 1), (2, 4, 1, 1))


@pytest.mark.parametrize(
  ("devices", "num_partitions", "expected"),
  [
    (V5E, 1, (1, 1, 1, 1)),
    (V5E, 2, (1, 2, 1, 1)),
    (V5E, 4, (2, 2, 1, 1)),
    (V5E, 16, (4, 4, 1, 1)),
    (V5P, 8, (2, 2, 2, 1)),
    (V6E, 64, (8, 8, 1, 1)),
    # Two cores of a chip come before two chips.
    (("tpu", "TPU v7", (4, 4, 4, 2), (2, 2, 1, 2)), 4, (1, 1, 2, 2)),
    # t5x knows these.
    (("tpu", "TPU v3", (4, 4, 1, 2), (2, 2, 1, 2)), 4, None),
    (("tpu", "TPU v4", (4, 4, 4, 1), (2, 2, 1, 1)), 4, None),
    (("gpu", "NVIDIA H100", (1, 8), (1, 8)), 4, None),
    (("cpu", "cpu", (1, 8), (1, 8)), 4, (1, 1, 1, 4)),
  ],
)
def test_the_block_is_compact(devices, num_partitions, expected):
  assert choose_submesh(*devices, num_partitions) == expected


@pytest.mark.parametrize(
  ("devices", "num_partitions"),
  [(V5E, 3), (V5E, 32), (("cpu", "cpu", (1, 8), (1, 8)), 3)],
)
def test_a_number_that_does_not_fit_is_refused(devices, num_partitions):
  with pytest.raises(ValueError, match=rf"num_partitions={num_partitions} "):
    choose_submesh(*devices, num_partitions)
