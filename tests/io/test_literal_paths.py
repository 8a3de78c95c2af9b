"""Paths that their own glob does not take for a pattern."""

import pytest
from etils import epath

from mpt_jax.io.literal_paths import literal


@pytest.mark.parametrize("name", ["exp[1]", "a*b", "c?", "d e"])
def test_a_folder_lists_its_own_files(tmp_path, name):
  for other in (name, "exp1", "axb", "cc"):
    (tmp_path / other / "in").mkdir(parents=True, exist_ok=True)
    (tmp_path / other / "in" / "file.1").write_text("")
  folder = epath.Path(literal(tmp_path / name)) / "in"
  assert [str(p) for p in folder.glob("file.*")] == [
    str(tmp_path / name / "in" / "file.1")
  ]


def test_addresses_stay():
  assert str(literal("gs://bucket/a[1]/")) == "gs://bucket/a[1]"
