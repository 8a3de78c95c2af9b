"""A tiny pretraining run: resuming to the bit, and the T5 at its end."""

import ast
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pretraining_fixtures
import pytest

from mpt_jax.backbones import backbone

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
TINY = dict(
  rows=8,
  emb_dim=16,
  mlp_dim=32,
  num_heads=1,
  encoder_layers=1,
  decoder_layers=1,
  warmup=2,
  dtype="float32",
)


@pytest.fixture(scope="module")
def pretrain():
  """The benchmarks' modules are beside their commands, not in a package."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(FOLDER))
    import pretrain

    yield pretrain


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  pretraining_fixtures.write_data(folder)
  return folder


def train(pretrain, data, folder, steps, rows=8, **options):
  settings = pretrain.Settings(**{**TINY, "rows": rows})
  pretrain.train(data, folder, settings, steps, workers=0, **options)


@pytest.fixture(scope="module")
def whole(pretrain, data, tmp_path_factory):
  """A run of 60 steps, which reads more than one shard."""
  folder = tmp_path_factory.mktemp("run")
  train(pretrain, data, folder, 60, log_period=20)
  return folder


def test_a_resumed_run_is_the_same_to_the_bit(pretrain, data, whole, tmp_path):
  train(pretrain, data, tmp_path, 60, save_seconds=0.0, stop_at=37)
  with np.load(tmp_path / "checkpoint.npz") as file:
    assert file["step"] == 37
  train(pretrain, data, tmp_path, 60, log_period=20)
  with (
    np.load(whole / "checkpoint.npz") as a,
    np.load(tmp_path / "checkpoint.npz") as b,
  ):
    assert a.files == b.files
    assert all(np.array_equal(a[name], b[name]) for name in a.files)


def test_losses_fall_and_lines_say_what_was_done(whole):
  lines = (whole / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row["step"] for row in rows] == [20, 40, 60]
  assert rows[-1]["loss"] < rows[0]["loss"]
  assert rows[-1]["rate_factor"] == pytest.approx(1 / 15)
  assert rows[-1]["examples"] > 60 * 8


def test_other_settings_are_refused(pretrain, data, whole):
  with pytest.raises(ValueError, match="other settings"):
    train(pretrain, data, whole, 60, rows=16)


def test_the_t5_is_written_as_a_folder(pretrain, data, whole, tmp_path):
  pretrain.export(whole, data, tmp_path / "t5")
  made = backbone.load_backbone(tmp_path / "t5")
  assert made.config.emb_dim == 16
  assert (tmp_path / "t5" / "sentencepiece.model").exists()


def test_a_run_ends_with_its_time(pretrain, data, tmp_path):
  train(pretrain, data, tmp_path, 10**6, minutes=0.05)
  with np.load(tmp_path / "checkpoint.npz") as file:
    assert 0 < file["step"] < 10**6


ALONE = """
import sys
import pretrain
print(sorted({name.partition(".")[0] for name in sys.modules}))
"""
# What jax, flax and optax do not bring along, or only with their extras.
OTHERS = {
  *("clu", "gin", "matplotlib", "safetensors", "scipy", "sentencepiece"),
  *("seqio", "sklearn", "tensorboard", "tensorflow", "torch"),
}


def test_the_trainer_needs_jax_flax_optax_and_numpy_alone():
  environment = {**os.environ, "PYTHONPATH": f"{FOLDER}{os.pathsep}{ROOT}"}
  done = subprocess.run(
    [sys.executable, "-c", ALONE],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  assert not OTHERS & {*ast.literal_eval(done.stdout)}


def test_the_gpu_script_writes_a_t5(data, tmp_path):
  script = FOLDER / "pretrain_gpu.sh"
  options = (
    "--rows 8 --emb_dim 16 --mlp_dim 32 --num_heads 1 --encoder_layers 1"
    " --decoder_layers 1 --steps 12 --workers 1"
  )
  python = str(pathlib.Path(sys.executable).parent)
  environment = {
    **os.environ,
    "OPTIONS": options,
    "PART_BYTES": "200000",
    "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
  }
  command = ["bash", str(script), str(data), str(tmp_path), "5"]
  subprocess.run(command, env=environment, check=True, capture_output=True)
  folder = tmp_path / "t5"
  parts = sorted(folder.glob("params.safetensors.part*"))
  assert len(parts) > 1 and not (folder / "params.safetensors").exists()
  joined = b"".join(part.read_bytes() for part in parts)
  (folder / "params.safetensors").write_bytes(joined)
  vocabulary = sorted(folder.glob("sentencepiece.model.part*"))
  joined = b"".join(part.read_bytes() for part in vocabulary)
  (folder / "sentencepiece.model").write_bytes(joined)
  assert backbone.load_backbone(folder).config.emb_dim == 16
  assert (tmp_path / "metrics.jsonl").exists()


def test_a_run_goes_on_with_the_t5_of_another(pretrain, data, whole, tmp_path):
  t5 = tmp_path / "t5"
  pretrain.export(whole, data, t5, "float32")
  start = dict(start=str(t5), first_shard=3)
  settings = pretrain.Settings(**TINY, **start)
  size = pretrain.shards.ShardMaker(data).recipe.vocab_size
  expected = backbone.load_backbone(t5).params
  params = pretrain.first_params(settings, data, size)
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  pretrain.train(data, tmp_path / "more", settings, 1, workers=0)
  with np.load(tmp_path / "more" / "checkpoint.npz") as file:
    assert tuple(file["position"]) == (3, 1)
  other = dataclasses.replace(settings, mlp_dim=16)
  with pytest.raises(ValueError, match="--start .*mlp_dim=32.*mlp_dim=16"):
    pretrain.first_params(other, data, size)
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "sentencepiece.model").write_bytes(b"another")
  with pytest.raises(ValueError, match="gather the data with --vocabulary"):
    pretrain.first_params(settings, tmp_path / "data", size)


def test_products_in_bfloat16_are_xlas_but_for_the_order_of_sums(pretrain):
  """Losses and gradients of the T5 with and without them, in float32 bits."""
  settings = pretrain.Settings(**{**TINY, "dtype": "bfloat16"})
  model = pretrain.make_model(settings, 32)
  params = pretrain.init_params(settings, 32)
  random = np.random.default_rng(0)
  ones = np.ones((2, 6), np.int32)
  batch = {
    "encoder_input_tokens": random.integers(3, 32, (2, 6)),
    "decoder_input_tokens": random.integers(3, 32, (2, 6)),
    "decoder_target_tokens": random.integers(3, 32, (2, 6)),
    "decoder_loss_weights": np.ones((2, 6), np.float32),
    **{
      f"{side}_{name}_ids": ones * (name == "segment")
      for side in ("encoder", "decoder")
      for name in ("segment", "slot")
    },
  }

  def loss(params):
    return model.loss(params, {}, batch)[0]

  expected = jax.value_and_grad(loss)(params)
  with pretrain.products.in_bfloat16():
    actual = jax.value_and_grad(loss)(params)
    text = str(jax.make_jaxpr(loss)(params))
  assert "custom_vjp_call" in text and "matmul" in text and "logits" in text

  def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02 * np.abs(b).max())

  jax.tree.map(close, actual, expected)


def test_gradients_of_the_products_are_those_of_float32(pretrain):
  x, kernel, table = (
    jax.random.normal(jax.random.key(i), shape)
    for i, shape in enumerate(((5, 4), (4, 3), (7, 4)))
  )
  for product, b, plain in (
    (pretrain.products.matmul, kernel, lambda x, b: x @ b),
    (pretrain.products.logits, table, lambda x, b: x @ b.T),
  ):
    weights = jax.random.normal(jax.random.key(9), plain(x, b).shape)
    actual, expected = (
      jax.value_and_grad(
        lambda *ab, f=f, w=weights: jnp.sum(f(*ab) * w), (0, 1)
      )(x, b)
      for f in (product, plain)
    )
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      actual,
      expected,
    )
