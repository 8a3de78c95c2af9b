"""Prompts find their T5, dtype and lengths in the folder of their run."""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
from train_fixtures import save_tiny_backbone

from mpt_jax.inference.loading import load
from mpt_jax.prompts import run_settings
from mpt_jax.prompts.bank import PromptBank


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
  return save_tiny_backbone(tmp_path_factory.mktemp("t5") / "t5")


@pytest.fixture(scope="module")
def run(t5, tmp_path_factory):
  """A run folder with prompts and settings."""
  folder = tmp_path_factory.mktemp("run")
  settings = {
    "backbone": t5,
    "dtype": "bfloat16",
    "batch": {"inputs_length": 20, "targets_length": 4},
  }
  (folder / "experiment.json").write_text(json.dumps(settings))
  prompts = {"shared_prompt": np.ones((1, 2, 32), np.float32)}
  fingerprint = load(None, t5).backbone.fingerprint
  bank = PromptBank(prompts, ("a",), (0,), fingerprint, ({"task": "a"},))
  bank.save(folder / "prompts" / "last.safetensors")
  return folder


@pytest.mark.parametrize("name", ["", "prompts/last.safetensors"])
def test_a_run_says_which_t5_and_lengths(run, t5, name):
  loaded = load(run / name)
  assert loaded.backbone.name == t5
  assert loaded.backbone.config.dtype == "bfloat16"
  assert (loaded.inputs_length, loaded.targets_length) == (20, 4)
  assert loaded.bank.names == ("a",)


def test_what_the_caller_says_goes_before_the_run(run):
  assert load(run, dtype="float32").backbone.config.dtype == "float32"


def test_prompts_without_a_run_get_the_default_lengths(run, t5):
  bank = load(run).bank
  loaded = load(bank, t5)
  assert loaded.bank is bank
  assert (loaded.inputs_length, loaded.targets_length) == (
    run_settings.INPUTS_LENGTH,
    run_settings.TARGETS_LENGTH,
  )


def test_prompts_of_another_t5_are_refused(run):
  with pytest.raises(ValueError, match="another T5|T5"):
    load(run, "default")


def test_the_t5_alone_has_no_prompts(t5):
  assert load(None, t5).bank is None


def test_another_vocabulary_than_the_runs_is_refused(run, t5, tmp_path):
  shutil.copytree(run, tmp_path / "run")
  path = tmp_path / "run" / "experiment.json"
  settings = json.loads(path.read_text())
  vocabulary = pathlib.Path(t5, "sentencepiece.model").read_bytes()
  for data, same in ((vocabulary, True), (vocabulary + b"x", False)):
    settings["vocabulary_sha256"] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(settings))
    if same:
      assert load(tmp_path / "run").bank.names == ("a",)
    else:
      with pytest.raises(
        ValueError, match="sentencepiece.model is not the voc"
      ):
        load(tmp_path / "run")
  # A T5 that the user names is taken with its vocabulary.
  assert load(tmp_path / "run", t5).bank.names == ("a",)


def test_a_run_without_its_settings_is_named(run, t5):
  (run / "experiment.json").unlink()
  with pytest.warns(
    UserWarning, match="has no experiment.json, so the lengths"
  ):
    load(run, t5)
