"""The settings of a run, as users of its prompts read them."""

import json

import pytest

from mpt_jax.io import digests
from mpt_jax.prompts import run_settings


def test_they_are_found_from_the_folder_and_from_its_prompts(tmp_path):
  settings = {
    "backbone": "/t5",
    "batch": {"inputs_length": 96, "targets_length": 8},
  }
  (tmp_path / "run" / "prompts").mkdir(parents=True)
  (tmp_path / "run" / "experiment.json").write_text(json.dumps(settings))
  for path in ("run", "run/prompts/best.safetensors"):
    assert run_settings.read(tmp_path / path) == settings
  assert run_settings.backbone(settings) == "/t5"
  assert run_settings.lengths(settings) == (96, 8)


def test_prompts_outside_of_a_run_have_the_defaults(tmp_path):
  settings = run_settings.read(tmp_path / "prompts.safetensors")
  assert settings == {}
  assert run_settings.backbone(settings) == "default"
  # T5's own length of inputs, and answers of some words.
  assert run_settings.lengths(settings) == (512, 64)


def test_damaged_settings_are_refused(tmp_path):
  path = tmp_path / "experiment.json"
  sealed = digests.seal({"backbone": "/t5", "dtype": "float32"})
  path.write_text(json.dumps(sealed))
  assert run_settings.read(tmp_path) == {"backbone": "/t5", "dtype": "float32"}
  for text in (json.dumps({**sealed, "backbone": "/t6"}), "[1]", "{", "\xff"):
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="experiment.json is damaged"):
      run_settings.read(tmp_path)


def test_a_random_t5_has_no_folder():
  assert run_settings.backbone({"backbone": None}) == "default"


def test_differences():
  old = {"a": {"b": 1, "old": 2}, "slots": [{"task": "x"}], "n": [1]}
  new = {"a": {"b": 2, "new": 3}, "slots": [{"task": "y"}], "n": [1, 2]}
  found = list(run_settings.differences(old, new))
  assert found == ["a.b", "n", "slots[0].task"]
  free = {"eval": {"num_rows": 4}}
  assert not list(run_settings.differences(free, {"eval": {"num_rows": 8}}))
