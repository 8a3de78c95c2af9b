"""Where the cache is."""

import pathlib

from mpt_jax.io import cache


def test_the_own_variable_wins_over_the_desktops(monkeypatch):
  monkeypatch.setenv("HOME", "/home/ann")
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.delenv("MPT_CACHE_DIR", raising=False)
  assert cache.cache_dir() == pathlib.Path("/home/ann/.cache/mpt_jax")
  monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
  assert cache.cache_dir() == pathlib.Path("/fast/mpt_jax")
  assert cache.data_dir() == pathlib.Path("/fast/mpt_jax/data")
  monkeypatch.setenv("MPT_CACHE_DIR", "~/own")
  assert cache.cache_dir() == pathlib.Path("/home/ann/own")
