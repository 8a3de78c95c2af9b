"""A source archive comes from pip's index as it stands, and nothing runs it."""

import io
import subprocess
import sys
import tarfile

import pytest

from mpt_jax.tasks.public import source_archive


@pytest.fixture
def index(tmp_path):
  """(environment, archive) of an index that pip.conf names."""
  folder = tmp_path / "simple" / "pack"
  folder.mkdir(parents=True)
  archive = folder / "pack-1.0.tar.gz"
  # A build would write this file.
  code = f"open({str(tmp_path / 'was_run')!r}, 'w')".encode()
  with tarfile.open(archive, "w:gz") as file:
    info = tarfile.TarInfo("pack-1.0/setup.py")
    info.size = len(code)
    file.addfile(info, io.BytesIO(code))
  links = "".join(
    f'<a href="{name}">{name}</a>' for name in (archive.name, "pack-2.0.tar.gz")
  )
  (folder / "index.html").write_text(links)
  config = tmp_path / "pip.conf"
  config.write_text(f"[global]\nindex-url = {folder.parent.as_uri()}\n")
  return {"PIP_CONFIG_FILE": str(config), "PATH": "/usr/bin:/bin"}, archive


def run(environment, *arguments):
  command = [sys.executable, source_archive.__file__, *map(str, arguments)]
  return subprocess.run(
    command, capture_output=True, text=True, env=environment
  )


def test_the_bytes_are_those_of_the_index(index, tmp_path):
  environment, archive = index
  made = run(environment, "pack", archive.name, tmp_path, 1)
  assert made.returncode == 0, made.stderr
  assert (tmp_path / archive.name).read_bytes() == archive.read_bytes()
  assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
  ("project", "name", "megabytes", "message"),
  [
    ("pack", "pack-3.0.tar.gz", 1, "no index that pip knows has pack-3.0"),
    ("other", "other-1.0.tar.gz", 1, "no index that pip knows has other-1.0"),
    ("pack", "pack-1.0.tar.gz", 1e-6, "has more than 1e-06 MB"),
    # The index names a file that it does not have.
    ("pack", "pack-2.0.tar.gz", 1, "ERROR: "),
  ],
)
def test_one_line_for_what_is_missing(
  project, name, megabytes, message, index, tmp_path
):
  made = run(index[0], project, name, tmp_path, megabytes)
  assert made.returncode == 1
  assert message in made.stderr and "Traceback" not in made.stderr
