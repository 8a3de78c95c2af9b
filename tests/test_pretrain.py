"""A tiny pretraining run: resuming to the bit, and the T5 at its end."""

import ast
import json
import os
import pathlib
import subprocess
import sys

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
