"""Folders of the package, of gin files, and of runs."""

import os

import pytest

from mpt_jax.io import checks, paths


def test_addresses_stay_and_local_paths_become_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert paths.absolute("gs://bucket/runs/") == "gs://bucket/runs"
  assert paths.absolute("runs") == str(tmp_path / "runs")
  assert paths.absolute(tmp_path / "a" / ".." / "b") == str(tmp_path / "b")


def test_the_home_folder_is_expanded(monkeypatch):
  monkeypatch.setenv("HOME", "/home/ann")
  assert (
    paths.expand("~/runs/a")
    == paths.absolute("~/runs/a/")
    == ("/home/ann/runs/a")
  )
  assert paths.expand("a/~b") == "a/~b"
  # Settings, too.
  assert checks.path("train.model_dir", "~/a") == "/home/ann/a"


@pytest.mark.parametrize("name", ["exp[1]", "a*", "b?"])
def test_a_program_that_reads_patterns_gets_none(name):
  paths.check_no_pattern("runs/{a} b", "MODEL_DIR", "t5x")
  with pytest.raises(ValueError, match="MODEL_DIR=.*: t5x takes the char"):
    paths.check_no_pattern(f"runs/{name}", "MODEL_DIR", "t5x")


def test_an_address_is_refused_where_a_local_folder_is_needed(tmp_path):
  paths.check_local(tmp_path, "a backbone")
  with pytest.raises(
    ValueError, match="a backbone cannot be .* gs://bucket/t5"
  ):
    paths.check_local("gs://bucket/t5", "a backbone")


@pytest.mark.parametrize("name", ["gin/base.gin", "mpt_jax/gin/base.gin"])
def test_gin_files_have_two_names(name):
  found = [os.path.join(path, name) for path in paths.GIN_SEARCH_PATHS]
  assert any(os.path.isfile(path) for path in found)
  assert (paths.GIN / "base.gin").is_file()
