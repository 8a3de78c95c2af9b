"""Files and folders appear whole or not at all."""

import os
import stat

import pytest
from etils import epath

from mpt_jax.io import files


class Stop(Exception):
  """Stands for whatever ends a program in the middle of writing."""


@pytest.mark.parametrize("existing", [None, "old"])
def test_file_is_replaced_in_one_move(tmp_path, existing):
  path = tmp_path / "new" / "a.txt"
  if existing:
    path.parent.mkdir()
    path.write_text(existing)
  with files.replacing(path) as temporary:
    assert not temporary.exists() and temporary.parent == path.parent
    temporary.write_text("whole")
    assert path.exists() == bool(existing)
    if existing:
      assert path.read_text() == existing
  assert path.read_text() == "whole"
  assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("existing", [None, "old"])
def test_failure_leaves_what_was_there(tmp_path, existing):
  path = tmp_path / "a.txt"
  if existing:
    path.write_text(existing)
  with pytest.raises(Stop), files.replacing(path) as temporary:
    temporary.write_text("half")
    raise Stop
  # The same holds if the block ends before it has written anything.
  with pytest.raises(Stop), files.replacing(path):
    raise Stop
  assert os.listdir(tmp_path) == (["a.txt"] if existing else [])
  if existing:
    assert path.read_text() == existing


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
  path = tmp_path / "a.txt"
  path.write_text("old")
  with pytest.raises(FileNotFoundError), files.replacing(path):
    pass
  assert path.read_text() == "old"


def test_text_is_utf8_and_files_are_readable_by_others(tmp_path):
  old = os.umask(0o022)
  try:
    files.write_text(tmp_path / "a.txt", "é☃\n")
    files.write_bytes(tmp_path / "b.bin", b"\x00\xff")
  finally:
    os.umask(old)
  assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\xe2\x98\x83\n"
  assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
  for path in tmp_path.iterdir():
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("exists", [False, True])
def test_folder_takes_its_name_when_it_is_filled(tmp_path, exists):
  path = tmp_path / "new" / "run"
  if exists:
    path.mkdir(parents=True)
  with files.new_folder(path) as temporary:
    (temporary / "a").write_text("1")
    (temporary / "inner").mkdir()
    assert path.exists() == exists and not (path / "a").exists()
  assert sorted(os.listdir(path)) == ["a", "inner"]
  assert os.listdir(path.parent) == ["run"]


def test_nothing_stays_of_a_folder_that_failed(tmp_path):
  path = tmp_path / "run"
  with pytest.raises(Stop), files.new_folder(path) as temporary:
    (temporary / "a").write_text("1")
    raise Stop
  assert not os.listdir(tmp_path)


def test_a_folder_that_was_filled_meanwhile_stays(tmp_path):
  path = tmp_path / "run"
  with pytest.raises(OSError), files.new_folder(path) as temporary:
    (temporary / "a").write_text("1")
    path.mkdir()
    (path / "theirs").write_text("2")
  assert os.listdir(tmp_path) == ["run"]
  assert os.listdir(path) == ["theirs"]


def test_leftovers_of_killed_processes(tmp_path):
  # A process with this id was killed before: its id may be ours again.
  folder = tmp_path / f"run.{os.getpid()}.partial"
  folder.mkdir()
  (folder / "old").write_text("1")
  with files.new_folder(tmp_path / "run") as temporary:
    assert not os.listdir(temporary)
  names = ["a.json", "a.json.12.partial", "b.json.12.partial", "a.json.txt"]
  for name in names:
    (tmp_path / name).write_text("x")
  files.remove_leftovers(tmp_path / "a.json")
  left = {"run", "a.json", "b.json.12.partial", "a.json.txt"}
  assert set(os.listdir(tmp_path)) == left


def test_check_free(tmp_path):
  assert files.check_free(tmp_path / "new") == tmp_path / "new"
  assert files.check_free(tmp_path) == tmp_path
  with pytest.raises(ValueError, match="is a folder; name a file with --out"):
    files.check_free(tmp_path, folder=False)
  (tmp_path / "a").write_text("x")
  with pytest.raises(ValueError, match="is not empty; name another --out"):
    files.check_free(tmp_path)
  for folder in (True, False):
    with pytest.raises(ValueError, match="exists; remove it, or name another"):
      files.check_free(tmp_path / "a", folder=folder)


@pytest.mark.parametrize("name", ["exp[1]", "a*b", "c?", "d e"])
def test_a_folder_lists_its_own_files(tmp_path, name):
  for other in (name, "exp1", "axb", "cc"):
    (tmp_path / other / "in").mkdir(parents=True, exist_ok=True)
    (tmp_path / other / "in" / "file.1").write_text("")
  folder = epath.Path(files.literal(tmp_path / name)) / "in"
  assert [str(p) for p in folder.glob("file.*")] == [
    str(tmp_path / name / "in" / "file.1")
  ]


def test_addresses_stay():
  assert str(files.literal("gs://bucket/a[1]/")) == "gs://bucket/a[1]"
