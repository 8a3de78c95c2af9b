"""Which plan the devices and the settings choose."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import choice
from mpt_jax.model.accelerator.plan import Accelerated, choose_keeps
from mpt_jax.model.config import T5Config
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.plan import Dense

LAYOUT = BatchLayout(inputs_length=16, targets_length=4, prompt_length=3)
CONFIG = T5Config.preset("t5_tiny")


def _mesh(platform, data=1, model=1, kind=""):
  """What is read of a mesh; no machine of the tests has such devices."""
  device = SimpleNamespace(platform=platform, device_kind=kind)
  devices = np.full((data, model), device, object)
  shape = {"data": data, "model": model}
  return SimpleNamespace(devices=devices, size=devices.size, shape=shape)


def _choose(mesh, config=CONFIG, layout=LAYOUT, **options):
  return choice.training_plan(mesh, config, layout, batch_size=32, **options)


def test_one_cpu_attends_by_segments():
  mesh = _mesh("cpu")
  # The prompt and the longest input; the prompt and the end of sequence.
  assert _choose(mesh) == BySegments(19, 4)
  for changes in (dict(row_length=19), dict(num_rows=8), dict(pack=False)):
    layout = dataclasses.replace(LAYOUT, **changes)
    assert _choose(mesh, layout=layout) == Dense()
  assert _choose(mesh, num_microbatches=2, row_multiple=2) == Dense()


def test_several_cpus_and_other_launchers_get_the_plain_plan():
  assert _choose(_mesh("cpu", data=8)) == Dense()
  # The tests have eight CPUs.
  assert not choice.is_one_cpu()
  assert _choose(None) == Dense()


@pytest.mark.parametrize(
  "mesh,platform",
  [
    (_mesh("tpu", 4, 2), "tpu"),
    (_mesh("gpu", kind="NVIDIA H100 80GB HBM3"), "cuda"),
    (_mesh("gpu", kind="AMD Instinct MI300X"), None),
  ],
)
def test_accelerators_scan_and_attend_in_fast_memory(mesh, platform):
  # 8 or 32 rows of a tiny T5 are more than its weights.
  expected = Accelerated(platform=platform, keeps="nothing", mesh=mesh)
  assert _choose(mesh) == expected
  # The position bias of a T5 that trains needs a gradient.
  whole = _choose(mesh, trains_everything=True)
  assert whole == dataclasses.replace(expected, platform=None)
  assert _choose(mesh, dataclasses.replace(CONFIG, dropout_rate=0.1)) == Dense()


def test_what_is_larger_than_the_weights_is_computed_again():
  config = T5Config.preset("t5_base", dtype="bfloat16")
  # By hand, 12 layers in each stack with 768 = D = H · K and 3072 wide blocks:
  # an encoder's layer has 4 · 768² + 2 · 768 · 3072 weights, a decoder's
  # 8 · 768² + 2 · 768 · 3072, of 2 bytes.
  weights = 2 * 12 * (12 * 768**2 + 4 * 768 * 3072)
  # Each input keeps q, k, v, out, wi and wo in the encoder, and the decoder's
  # k and v; each target keeps q, k, v, out, q, out, wi and wo.
  inputs = 12 * (3 * 768 + 3072 + 2 * 768 + 2 * 768)
  targets = 12 * (4 * 768 + 3072 + 3 * 768)

  def kept(rows):
    return 2 * rows * (512 * inputs + 64 * targets)

  assert kept(1) < weights / 2 < kept(2) < kept(8) < 2**30
  assert choose_keeps(config, 1, 512, 64) == "projections"
  assert choose_keeps(config, 2, 512, 64) == "nothing"
  # A short row.
  assert choose_keeps(config, 1, 128, 8) == "everything"
  # Large weights, and a mesh that divides them together with heads and wi.
  xxl = T5Config.preset("t5_1_1_xxl", dtype="bfloat16")
  assert choose_keeps(xxl, 1, 512, 64) == "nothing"  # 1.3 GiB.
  assert choose_keeps(xxl, 1, 512, 64, 4) == "projections"
  assert choose_keeps(xxl, 4, 512, 64, 4) == "nothing"
