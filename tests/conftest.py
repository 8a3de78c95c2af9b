"""Settings of all tests: eight virtual CPU devices, strict broadcasting."""

import importlib.metadata
import os
import signal

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    # The tests compile many tiny programs and run each only a few times. These
    # flags, and the setting below, halve their time.
    "--xla_cpu_parallel_codegen_split_count=1",
    # JAX 0.12 does not know this one, and XLA ends the process then.
    "--xla_cpu_use_fusion_emitters=false"
    if importlib.metadata.version("jaxlib").startswith("0.10.")
    else "",
  ]
)

import jax
import numpy as np
import pytest

from mpt_jax.model.config import T5Config

# A background job of a script ignores SIGINT, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def make_config():
  """T5Config of a few thousand parameters: make_config("1.0", **changes)."""

  def make(version="1.0", **changes):
    preset = {"1.0": "t5_tiny", "1.1": "t5_1_1_tiny"}[version]
    values = dict(
      vocab_size=40,
      emb_dim=16,
      num_heads=3,
      head_dim=4,
      mlp_dim=24,
      num_encoder_layers=2,
      num_decoder_layers=2,
    )
    return T5Config.preset(preset, **{**values, **changes})

  return make


@pytest.fixture(scope="session")
def make_params():
  """Random parameters of a Model, large enough to make attention sharp.

  The initial query kernels are so small that wrong masks and biases would
  hardly show; all tensors are drawn again with a larger spread.
  """

  def make(model, seed=0):
    shapes = jax.eval_shape(model.init_variables, jax.random.key(0))["params"]
    rng = np.random.default_rng(seed)

    def draw(path, x):
      return np.asarray(rng.normal(0.0, 0.3, x.shape), np.float32) + np.float32(
        "scale" in jax.tree_util.keystr(path)
      )

    return jax.tree_util.tree_map_with_path(draw, shapes)

  return make


@pytest.fixture(scope="session")
def make_examples():
  """Random tokenised examples of differing lengths, ending in EOS."""

  def make(num, num_slots=1, seed=0, longest=9, vocab_size=40):
    rng = np.random.default_rng(seed)

    def ids(n):
      return np.append(rng.integers(3, vocab_size, n), 1)

    return [
      {
        "inputs": ids(rng.integers(2, longest)),
        "targets": ids(rng.integers(1, 5)),
        "slot_id": i % num_slots,
      }
      for i in range(num)
    ]

  return make
