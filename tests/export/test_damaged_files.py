"""Readers of others' prompts refuse damage in one line and raise nothing else."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import FAST, damaged_bytes, damaged_json, may_refuse
from prompt_fixtures import make_bank

from mpt_jax.export import peft, prompt_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("damaged")


@pytest.fixture(scope="module")
def adapter(folder):
  prompt_files.export_prompts(make_bank(None, 2), "peft", folder / "x")
  return folder / "x"


@pytest.mark.parametrize(
  "name", [peft.CONFIG, peft.TENSORS, prompt_files.NOTES]
)
@FAST
@given(data=st.data())
def test_adapters(name, adapter, data):
  path = adapter / name
  original = path.read_bytes()
  if name != peft.TENSORS and data.draw(st.booleans()):
    fields = data.draw(damaged_json(json.loads(original)))
    path.write_text(json.dumps(fields))
  else:
    path.write_bytes(data.draw(damaged_bytes(original)))
  try:
    may_refuse(prompt_files.import_prompts, [adapter], "peft")
  finally:
    path.write_bytes(original)


@FAST
@given(data=st.data())
def test_npz(folder, data):
  path = folder / "x.npz"
  if not (folder / "good.npz").is_file():
    prompt_files.export_prompts(make_bank(None, 2), "npz", folder / "good.npz")
  path.write_bytes(data.draw(damaged_bytes((folder / "good.npz").read_bytes())))
  may_refuse(prompt_files.import_prompts, [path], "npz")


@FAST
@given(data=st.data())
def test_npy(folder, data):
  path = folder / "x.npy"
  if not (folder / "good.npy").is_file():
    np.save(folder / "good.npy", np.ones((5, 4), np.float32))
  path.write_bytes(data.draw(damaged_bytes((folder / "good.npy").read_bytes())))
  read = lambda: prompt_files.import_prompts([path], "npy")
  may_refuse(read)
