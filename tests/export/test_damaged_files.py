"""Readers of exports and of others' prompts refuse damage in one line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, FEW, fuzz
from prompt_fixtures import make_bank
from train_fixtures import save_tiny_backbone

from mpt_jax.backbones import backbone as backbones
from mpt_jax.export import (
  peft,
  prompt_files,
  stablehlo,
  stablehlo_serve,
)
from mpt_jax.prompts.bank import PromptBank


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Prompts as an adapter, x.npz and x.npy."""
  folder = tmp_path_factory.mktemp("damaged")
  prompt_files.export_prompts(make_bank(None, 2), "peft", folder / "x")
  prompt_files.export_prompts(make_bank(None, 2), "npz", folder / "x.npz")
  np.save(folder / "x.npy", np.ones((5, 4), np.float32))
  return folder


@pytest.mark.parametrize(
  "name", [peft.CONFIG, peft.TENSORS, prompt_files.NOTES]
)
@CASES
@given(data=st.data())
def test_adapters(name, folder, data):
  adapter = folder / "x"

  def read():
    return prompt_files.import_prompts([adapter], "peft")

  fuzz(data, adapter / name, read, names=[str(adapter)])


@pytest.mark.parametrize("kind", ["npz", "npy"])
@CASES
@given(data=st.data())
def test_numpy_files(kind, folder, data):
  path = folder / f"x.{kind}"
  fuzz(data, path, lambda: prompt_files.import_prompts([path], kind))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  """The folder of an export."""
  folder = tmp_path_factory.mktemp("stablehlo")
  save_tiny_backbone(folder / "t5")
  slot = {"task": "a", "label_names": ["yes", "no"], "template": "is: {text}"}
  params = {"shared_prompt": np.ones((1, 2, 32), np.float32)}
  fingerprint = backbones.identify_backbone(folder / "t5")[1]
  bank = PromptBank(params, ("a",), (0,), fingerprint, (slot,))
  stablehlo.export_stablehlo(
    bank,
    folder / "export",
    folder / "t5",
    inputs_lengths=[8],
    targets_length=2,
    platforms=("cpu",),
  )
  return folder / "export"


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
  "name",
  [
    *("manifest.json", "weights.safetensors", "programs/score_8.stablehlo"),
    *("prompts/a.npy", "prompts/a.json"),
  ],
)
@FEW
@given(data=st.data())
def test_exports(name, check, exported, data):
  """With `check`, damage gives no other prompt; without, no traceback."""

  def read():
    server = stablehlo_serve.Server(exported, check)
    task = server.task("a")
    if name.startswith("programs") and not check:
      server._program("score", 8)
    prompt = task["prompt"].tobytes()
    return task.get("label_names"), task.get("label_tokens"), prompt

  expected = read() if check and name != "prompts/a.json" else None
  fuzz(data, exported / name, read, names=[str(exported)], expected=expected)
