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


def test_a_damaged_file_is_made_again(tmp_path):
  path, made = tmp_path / "new" / "a.model", []

  def make():
    made.append(1)
    return b"content"

  for _ in range(2):
    assert cache.keep(path, make) == path and path.read_bytes() == b"content"
  assert len(made) == 1
  sums = tmp_path / "new" / "a.model.sha256"
  for damaged, data in ((path, b"contend"), (sums, b""), (path, b"")):
    damaged.write_bytes(data)
    assert cache.keep(path, make).read_bytes() == b"content"
  sums.unlink()
  cache.keep(path, make)
  assert len(made) == 5
