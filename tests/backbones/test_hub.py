"""T5s by their names on the Hugging Face hub, from a server on loopback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hf_folders import check_logits, make_hf
from hub_server import COMMIT, Hub, serving
from safetensors.numpy import load_file
from tokenizer_folders import write_spiece

from mpt_jax.backbones import backbone as backbones
from mpt_jax.backbones.hub import Name, fetch, find_name
from mpt_jax.cli import main as cli

REASON = "needs huggingface_hub (the extra hub)"
OTHERS = {
  "README.md": "# A model",
  "modeling_t5.py": "raise SystemExit('code of a model must not run')",
  "flax_model.msgpack": "x",
  "onnx/model.safetensors": "x",
  "model.fp16.safetensors": "x",
}


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
  """(PyTorch's model, its folder with a vocabulary and files of no use)."""
  folder = tmp_path_factory.mktemp("t5")
  write_spiece(folder, "t5")
  model = make_hf(folder)
  (folder / "pytorch_model.bin").write_text("a pickle that must not be read")
  for name, text in OTHERS.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
  return model, folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
  """A `Hub` that huggingface_hub talks to; its cache is tmp_path/"cache".

  huggingface_hub reads the environment when it is imported, so its constants
  are set.
  """
  constants = pytest.importorskip("huggingface_hub.constants", reason=REASON)
  with serving() as served:
    template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield served


def test_what_is_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  known = {
    "google/flan-t5-base": Name("google/flan-t5-base", None),
    "a/b.c-d_1@v1.0": Name("a/b.c-d_1", "v1.0"),
    "a/b@refs/pr/1": Name("a/b", "refs/pr/1"),
  }
  assert {text: find_name(text) for text in known} == known
  assert [str(name) for name in known.values()] == list(known)
  for other in (
    *("default", "t5-base", "./a/b", "../a/b", "~/a/b", "/a/b", "a/b/c"),
    *("gs://a/b", "a/b@", "a/b@/x", "a /b", "a/é", ".a/b", "", "a/b\n"),
  ):
    assert find_name(other) is None, other
  # What exists is a folder.
  (tmp_path / "google" / "flan-t5-base").mkdir(parents=True)
  assert find_name("google/flan-t5-base") is None


def test_a_model_loads_and_only_its_files_are_sent(t5, hub, tmp_path):
  model, hub.models["tiny/t5"] = t5
  loaded = backbones.load_backbone("tiny/t5")
  check_logits(loaded, model)
  assert loaded.name == "tiny/t5"
  assert loaded.vocabulary_path.endswith("spiece.model")
  assert sorted(hub.sent) == [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "spiece.model",
  ]
  folder = backbones.load_backbone(t5[1])
  assert folder.fingerprint == loaded.fingerprint
  # It is in huggingface_hub's cache, and not sent again.
  kept = tmp_path / "cache" / "models--tiny--t5" / "snapshots" / COMMIT
  assert fetch(Name("tiny/t5", COMMIT)) == kept
  assert fetch(Name("tiny/t5", "main")) == kept
  assert len(hub.sent) == 4


def test_shards(hub, tmp_path):
  folder = hub.models["tiny/shards"] = tmp_path / "shards"
  model = make_hf(folder)
  (folder / "model.safetensors").unlink()
  model.save_pretrained(folder, max_shard_size="8KB")
  shards = {path.name for path in folder.glob("model-*.safetensors")}
  check_logits(backbones.load_backbone("tiny/shards"), model)
  assert len(shards) > 1 and shards < set(hub.sent)


def test_pytorchs_files_where_there_are_no_others(hub, tmp_path):
  torch = pytest.importorskip("torch")
  folder = hub.models["tiny/old"] = tmp_path / "old"
  model = make_hf(folder)
  (folder / "model.safetensors").unlink()
  torch.save(model.state_dict(), folder / "pytorch_model.bin")
  check_logits(backbones.load_backbone("tiny/old"), model)
  assert hub.sent[-1] == "pytorch_model.bin"


def test_offline_and_without_a_network_the_cache_serves(t5, hub, monkeypatch):
  from huggingface_hub import constants

  _, hub.models["tiny/t5"] = t5
  expected = backbones.load_backbone("tiny/t5").fingerprint
  hub.sent.clear()
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  assert backbones.identify_backbone("tiny/t5@main")[1] == expected
  with pytest.raises(FileNotFoundError, match="'tiny/b' .*HF_HUB_OFFLINE is s"):
    backbones.load_backbone("tiny/b")
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
  # No server listens at port 9.
  monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
  assert backbones.identify_backbone("tiny/t5")[1] == expected
  with pytest.raises(FileNotFoundError, match="127.0.0.1:9 cannot be reached"):
    backbones.load_backbone("tiny/b")
  assert hub.sent == []


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("tiny/typo", "neither a folder 'tiny/typo' .* nor .*hf auth login"),
    ("tiny/t5@v9", "'tiny/t5' has no revision 'v9' .*/tiny/t5/commits"),
    ("tiny/gated", "'tiny/gated' is gated: accept .*/tiny/gated, then log in"),
    ("tiny/bert", "model_type must be .*got 'bert'"),
    ("tiny/empty", "'tiny/empty' .* is no T5 .* has no config.json"),
  ],
)
def test_errors_are_one_line(name, message, t5, hub, tmp_path, capsys):
  for other in ("t5", "gated"):
    hub.models[f"tiny/{other}"] = t5[1]
  hub.gated.add("tiny/gated")
  for other, fields in (("bert", {"model_type": "bert"}), ("empty", None)):
    folder = hub.models[f"tiny/{other}"] = tmp_path / other
    folder.mkdir()
    (folder / "model.safetensors").write_text("x")
    if fields is not None:
      (folder / "config.json").write_text(json.dumps(fields))
  with pytest.raises((OSError, ValueError), match=message) as error:
    backbones.load_backbone(name)
  assert "\n" not in str(error.value)
  # No weights were sent before the error.
  assert not any("model" in sent for sent in hub.sent)


def test_a_gated_model_with_a_token(t5, hub, monkeypatch):
  model, hub.models["tiny/gated"] = t5
  hub.gated.add("tiny/gated")
  monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
  check_logits(backbones.load_backbone("tiny/gated"), model)


def test_without_huggingface_hub(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(FileNotFoundError, match=r"'a/b'; .*'mpt_jax\[hub\]'"):
    backbones.load_backbone("a/b")


def test_convert_and_inspect_take_names(t5, hub, tmp_path, capsys):
  _, hub.models["tiny/t5"] = t5
  out = tmp_path / "out"
  assert cli.main(["convert", "tiny/t5@main", "--out", str(out)]) == 0
  source = json.loads((out / "manifest.json").read_text())["source"]
  assert (source["hub"], source["commit"]) == ("tiny/t5", COMMIT)
  kept = load_file(out / "params.safetensors")["token_embedder/embedding"]
  np.testing.assert_array_equal(kept, t5[0].shared.weight.detach().numpy())
  assert cli.main(["inspect", "tiny/t5"]) == 0
  assert "backbone tiny/t5" in capsys.readouterr().out


def test_a_process_reads_the_environment(t5, tmp_path):
  with serving() as served:
    served.models["tiny/t5"] = t5[1]
    home = {"HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "home")}
    unset = ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
    kept = {k: v for k, v in os.environ.items() if k not in unset}
    command = "import mpt_jax; print(mpt_jax.load_backbone('tiny/t5').name)"
    made = subprocess.run(
      [sys.executable, "-c", command],
      env={**kept, **home},
      capture_output=True,
      text=True,
      check=True,
    )
  assert made.stdout == "tiny/t5\n"
  assert (tmp_path / "home" / "hub" / "models--tiny--t5").is_dir()
