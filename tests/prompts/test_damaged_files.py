"""Prompt files: no damage loads as other prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz
from prompt_fixtures import make_bank

from mpt_jax.prompts.bank import load_bank


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp("prompts") / "prompts.safetensors"
  make_bank(None, 2).save(path)
  return path


@CASES
@given(data=st.data())
def test_prompt_files(path, data):
  def read():
    bank = load_bank(path)
    return bank.fields, {k: v.tobytes() for k, v in bank.params.items()}

  fuzz(data, path, read, expected=read())
