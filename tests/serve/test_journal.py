"""The journal: what was acknowledged is there again."""

import numpy as np
import pytest
from serving import make_bank

from mpt_jax.serve.journal import FILE, STALE, Journal


@pytest.fixture
def one(backbone):
  return make_bank(backbone, ["x"])


def _reopen(folder):
  journal = Journal(folder)
  journal.close()
  return journal.changes


def test_changes_are_read_again(tmp_path, one):
  journal = Journal(tmp_path / "state")
  journal.put("x", one, 1)
  journal.put("y", one, 2)
  journal.put("x", one, 3)
  journal.remove("y", forget=True)
  journal.remove("given", forget=False)
  journal.close()
  assert _reopen(tmp_path / "state") == {
    "x": "task-000000000003.safetensors",
    "y": None,
    "given": None,
  }
  again = Journal(tmp_path / "state")
  loaded = again.load("x")
  np.testing.assert_array_equal(
    loaded.params["task_rows"], one.params["task_rows"]
  )
  assert again.next_number() == 4
  again.close()
  # The replaced and the removed task left no file.
  files = {p.name for p in (tmp_path / "state").glob("*.safetensors")}
  assert files == {"task-000000000003.safetensors"}


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path, one):
  journal = Journal(tmp_path)
  journal.put("x", one, 1)
  journal.put("y", one, 2)
  journal.close()
  path = tmp_path / FILE
  whole = path.read_bytes()
  for cut in range(1, len(whole.splitlines()[1]) + 1):
    path.write_bytes(whole[:-cut])
    # The file of y is kept or not; its name may only come with a whole line.
    (tmp_path / "task-000000000002.safetensors").touch()
    assert list(_reopen(tmp_path)) in (["x"], ["x", "y"])
  path.write_bytes(whole[:-30])
  assert list(_reopen(tmp_path)) == ["x"]


def test_damage_within_is_an_error(tmp_path, one):
  journal = Journal(tmp_path)
  journal.put("x", one, 1)
  journal.put("y", one, 2)
  journal.close()
  path = tmp_path / FILE
  path.write_text(path.read_text().replace('"x"', '"z"'))
  with pytest.raises(ValueError, match="line 1: the line is damaged"):
    Journal(tmp_path)
  # The folder is free again.
  path.unlink()
  Journal(tmp_path).close()


def test_one_process_holds_the_folder(tmp_path):
  journal = Journal(tmp_path)
  with pytest.raises(ValueError, match="is in use by process"):
    Journal(tmp_path)
  journal.close()
  Journal(tmp_path).close()


def test_the_journal_stays_short(tmp_path, one):
  journal = Journal(tmp_path)
  journal.put("kept", one, 0)
  for i in range(STALE + 100):
    journal.put("x", one, i + 1)
    journal.remove("x", forget=True)
  journal.close()
  lines = (tmp_path / FILE).read_bytes().splitlines()
  assert len(lines) < STALE + 10
  assert len(list(tmp_path.glob("*.safetensors"))) == 1
  assert _reopen(tmp_path)["kept"] == "task-000000000000.safetensors"
