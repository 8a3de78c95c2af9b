"""The exported folder gives the predictor's results without mpt_jax."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export
from stablehlo_fixtures import (
  LENGTHS,
  NAMES,
  TARGETS_LENGTH,
  P,
  export_folder,
  make_bank,
  save_backbone,
)
from train_fixtures import save_tiny_backbone

from mpt_jax.backbones import backbone as backbones
from mpt_jax.cli import main as cli
from mpt_jax.data import batches, packing
from mpt_jax.export import stablehlo, stablehlo_serve
from mpt_jax.inference import predictor as predict
from mpt_jax.inference.engine import decoding
from mpt_jax.model.network import T5
from mpt_jax.prompts.bank import select
from mpt_jax.prompts.config import PromptConfig

# All of 46 to 61 tokens: few programs to compile, and rows as long as those of
# `predict`, so that sums are rounded alike.
ROWS = [
  {"task": "mood", "text": "a good house " * 16},
  {"task": "free", "text": "say <extra_id_0> more, ünïcode ☃ " * 5},
  {"task": "colour/2", "text": "bad " * 50, "label": 1},
  {"task": "mood", "text": "green water " * 24},
  {"task": "free", "text": "tree " * 52},
]


# Runs in a folder's own Python: nothing but jax and what it needs.
SERVE = """
import sys

class Blocked:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in {
      "mpt_jax", "tasks", "flax", "orbax", "seqio", "optax", "tensorflow",
      "safetensors", "tensorstore", "torch", "gin", "clu",
    }:
      raise ImportError(f"{name} is not to be had here")

sys.meta_path.insert(0, Blocked())

import json, pathlib, numpy as np
from serve import Server

job = json.load(sys.stdin)
server = Server(".")
result = {"rows": server.predict(job["rows"])}
result["ids"] = server.generate(["free"] * 2, job["inputs"]).tolist()
count = lambda: sum(p._cache_size() for p in server._programs.values())
compiled = count()
np.save("prompts/new.npy", np.array(job["new"], np.float32))
result["names"] = server.names()
result["new"] = server.generate(["new"] * 2, job["inputs"]).tolist()
result["compiled"] = [compiled, count()]
print(json.dumps(result))
"""


def greedy_ids(backbone, bank, inputs):
  """Greedy tokens through the network and its bank: the last two prompts'."""
  loaded = backbones.load_backbone(backbone)
  num = len(bank.names)
  network = T5(
    loaded.config, PromptConfig(num_slots=num, prompt_length=P, rank=0)
  )
  params = {**loaded.params, "prompt": {"shared_prompt": bank.composed}}
  config = packing.BatchLayout(
    inputs_length=LENGTHS[1],
    targets_length=TARGETS_LENGTH,
    prompt_length=P,
    num_slots=num,
    pack=False,
    length_multiple=64,
  )
  examples = [
    {"inputs": np.array(ids), "targets": np.array([2, 1]), "slot_id": slot_id}
    for slot_id in (num - 2, num - 1)
    for ids in inputs
  ]
  batch = batches.make_batch(examples, config)[0]
  decode = jax.jit(decoding.greedy_decode, static_argnums=(0, 3))
  ids = np.asarray(decode(network, params, batch, TARGETS_LENGTH)).tolist()
  return ids[: len(inputs)], ids[len(inputs) :]


@pytest.mark.parametrize(
  "version, dtype", [("1.0", "float32"), ("1.1", "bfloat16")]
)
def test_serves_without_mpt_jax(version, dtype, tmp_path, make_params):
  backbone = save_backbone(tmp_path / "t5", make_params, version, dtype)
  more = make_bank(backbone, (*NAMES, "new"))
  bank = select(more, NAMES)
  lengths = LENGTHS[1:]
  out = export_folder(bank, tmp_path / "out", backbone, inputs_lengths=lengths)
  (out / "job.py").write_text(SERVE)
  rng = np.random.default_rng(1)
  inputs = [[*map(int, rng.integers(3, 7000, n)), 1] for n in (4, 47)]
  job = {"rows": ROWS, "inputs": inputs, "new": more.composed[-1].tolist()}
  # XLA must optimise as little as in this process.
  environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  environment.pop("PYTHONPATH", None)
  result = subprocess.run(
    [sys.executable, "job.py"],
    cwd=out,
    env=environment,
    input=json.dumps(job),
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  served = json.loads(result.stdout)

  predictor = predict.Predictor(
    bank,
    backbone,
    inputs_length=LENGTHS[1],
    targets_length=TARGETS_LENGTH,
  )
  # bfloat16 has 8 bits, and the labels stand in rows of another length.
  tolerance = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
  for ours, theirs in zip(served["rows"], predictor.predict(ROWS), strict=True):
    assert ours["prediction"] == theirs["prediction"]
    scores = theirs.get("scores", {})
    assert list(ours.get("scores", {})) == list(scores)
    for label, value in scores.items():
      assert ours["scores"][label] == pytest.approx(value, rel=tolerance)
  assert (served["ids"], served["new"]) == greedy_ids(backbone, more, inputs)
  assert served["new"] != served["ids"]
  assert served["names"] == sorted([*NAMES, "new"])
  before, after = served["compiled"]
  assert before == after == 2


def test_folder(exported, bank, backbone):
  manifest = json.loads((exported / "manifest.json").read_text())
  files = {
    path.relative_to(exported).as_posix()
    for path in exported.rglob("*")
    if path.is_file()
  }
  programs = {
    f"programs/{kind}_{length}.stablehlo"
    for kind in ("greedy", "score")
    for length in LENGTHS
  }
  prompts = {
    f"prompts/{name}.{suffix}"
    for name in ("mood", "colour%2F2", "free")
    for suffix in ("npy", "json")
  }
  fixed = {"weights.safetensors", "sentencepiece.model", "serve.py"}
  assert set(manifest["sha256"]) == programs | fixed | {"README.md"}
  assert files == programs | prompts | fixed | {"README.md", "manifest.json"}
  assert manifest["jax_version"] == jax.__version__
  assert manifest["backbone"] == bank.backbone
  tensors = dict(stablehlo_serve.read_tensors(exported / "weights.safetensors"))
  loaded = backbones.load_backbone(backbone)
  for name, array in tensors.items():
    expected = loaded.params
    for part in name.split("/"):
      expected = expected[part]
    np.testing.assert_array_equal(array, expected)
  assert len(tensors) == len(jax.tree.leaves(loaded.params))
  for name, prompt in zip(NAMES, bank.composed, strict=True):
    path = exported / "prompts" / (name.replace("/", "%2F") + ".npy")
    np.testing.assert_array_equal(np.load(path), prompt)


# --------------------------------------------------------------- new prompts


def run(*argv):
  return cli.main([str(x) for x in argv])


def test_command(exported, bank, backbone, tmp_path, capsys):
  bank.save(tmp_path / "prompts.safetensors")
  out = tmp_path / "out"
  export_it = ("export", tmp_path / "prompts.safetensors", "--to", "stablehlo")
  options = ("--backbone", backbone, "--inputs-length", 29, "--platforms")
  command = (*export_it, "--out", out, *options, "cpu")
  assert run(*command, "--targets-length", 5, "--task", "free") == 0
  assert "any number of rows, on cpu" in capsys.readouterr().out
  assert stablehlo_serve.Server(out).names() == ["free"]
  before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

  assert run(*command) == 2
  assert f"the folder {out} is not empty" in capsys.readouterr().err
  server = stablehlo_serve.Server(out)
  add = (*export_it, "--add", "--out", out)
  assert run(*add, "--task", "mood") == 0
  assert ": added 1 prompt: mood" in capsys.readouterr().out
  for suffix in ("npy", "json"):
    added = (out / "prompts" / f"mood.{suffix}").read_bytes()
    assert added == (exported / "prompts" / f"mood.{suffix}").read_bytes()
  assert server.task("mood")["label_names"] == ["yes", "no"]
  assert all(path.read_bytes() == data for path, data in before.items())

  assert run(*add) == 2
  assert "has a prompt 'mood' already" in capsys.readouterr().err
  assert server.names() == ["free", "mood"]
  assert run(*add, "--dtype", "bfloat16") == 2
  assert "--dtype does not go with --add" in capsys.readouterr().err
  npz = ("--to", "npz", "--out", tmp_path / "x.npz", "--platforms", "cpu")
  assert run("export", tmp_path / "prompts.safetensors", *npz) == 2
  assert "--platforms goes with --to stablehlo" in capsys.readouterr().err


def test_bfloat16_of_a_float32_t5(bank, backbone, tmp_path):
  out = export_folder(
    bank, tmp_path / "out", backbone, dtype="bfloat16", inputs_lengths=[29]
  )
  for _, array in stablehlo_serve.read_tensors(out / "weights.safetensors"):
    assert array.dtype == jax.numpy.bfloat16
  data = (out / "programs" / "score_29.stablehlo").read_bytes()
  weights = export.deserialize(bytearray(data)).in_avals[:-5]
  assert {str(aval.dtype) for aval in weights} == {"bfloat16"}


def test_prompts_of_another_t5(exported, bank, tmp_path):
  other = dataclasses.replace(bank, backbone="f" * 16)
  with pytest.raises(ValueError, match="trained on another T5"):
    stablehlo.add_prompts(other, exported)
  longer = make_bank(save_tiny_backbone(tmp_path / "t5"), ["x"], length=P + 1)
  longer = dataclasses.replace(longer, backbone=bank.backbone)
  with pytest.raises(
    ValueError, match="the prompts have 4 rows, those of .* 3"
  ):
    stablehlo.add_prompts(longer, exported)
  slots = ({"task": "x", "label_names": ("yes", "no " * 200)},)
  wordy = make_bank(tmp_path / "t5", ["x"], length=P)
  wordy = dataclasses.replace(wordy, backbone=bank.backbone, slots=slots)
  with pytest.raises(ValueError, match="a label of 'x' has .* score at most"):
    stablehlo.add_prompts(wordy, exported)
  with pytest.raises(ValueError, match="trained on another T5"):
    stablehlo.add_prompts(bank, exported, tmp_path / "t5")
  with pytest.raises(FileNotFoundError, match="manifest.json"):
    stablehlo.add_prompts(bank, tmp_path)


def test_nothing_is_left_of_an_export_that_fails(
  bank, backbone, tmp_path, monkeypatch
):
  other = dataclasses.replace(bank, backbone="f" * 16)
  with pytest.raises(ValueError, match="trained on another T5"):
    export_folder(other, tmp_path / "out", backbone)
  with pytest.raises(ValueError, match="at least 1, got"):
    export_folder(bank, tmp_path / "out", backbone, inputs_lengths=[0, 4])
  with pytest.raises(ValueError, match="platforms must be some of"):
    export_folder(bank, tmp_path / "out", backbone, platforms=["abacus"])

  def full(*args):
    raise OSError("no space left")

  monkeypatch.setattr(stablehlo, "write_programs", full)
  with pytest.raises(OSError, match="no space left"):
    export_folder(bank, tmp_path / "out", backbone)
  assert list(tmp_path.iterdir()) == []
