"""Interrupted outputs: what is kept, continued and refused."""

import json

import pytest

from mpt_jax.inference.prediction_output import open_output

BEGUN = {"prompts": "a", "sizes": (1, 2)}


class Stop(Exception):
  pass


def interrupt(target, lines, begun=BEGUN):
  """Writes `lines`, bytes, and stops before the output is complete."""
  with pytest.raises(Stop), open_output(target, begun) as (file, _):
    file.write(lines)
    file.flush()
    raise Stop


def test_a_whole_output_leaves_nothing_beside_it(tmp_path):
  target = tmp_path / "deep" / "out.jsonl"
  with open_output(target, BEGUN) as (file, num_lines):
    assert num_lines == 0 and not target.exists()
    file.write(b"one\n")
  assert target.read_bytes() == b"one\n"
  assert list(target.parent.iterdir()) == [target]


def test_it_continues_after_the_last_whole_line(tmp_path):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\ntwo\nthr")
  with open_output(target, BEGUN) as (file, num_lines):
    assert num_lines == 2
    file.write(b"three\n")
  assert target.read_bytes() == b"one\ntwo\nthree\n"


def test_an_output_without_lines_leaves_no_trace(tmp_path):
  interrupt(tmp_path / "out.jsonl", b"")
  assert not list(tmp_path.iterdir())


def test_other_lines_are_not_continued(tmp_path):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\n")
  other = {**BEGUN, "prompts": "b"}
  with (
    pytest.raises(ValueError, match="begun with another prompts"),
    open_output(target, other),
  ):
    pass
  with (
    pytest.raises(ValueError, match="cannot be resumed"),
    open_output(target, None),
  ):
    pass
  assert (tmp_path / "out.jsonl.partial").read_bytes() == b"one\n"


def test_damaged_notes_are_not_believed(tmp_path):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\n")
  notes = tmp_path / "out.jsonl.partial.json"
  found = json.loads(notes.read_text())
  assert found["begun"] == {"prompts": "a", "sizes": [1, 2]}
  found["begun"]["prompts"] = "b"
  for text in ("{", "[]", json.dumps(found)):
    notes.write_text(text)
    for begun in (BEGUN, {**BEGUN, "prompts": "b"}):
      with (
        pytest.raises(ValueError, match="cannot be resumed"),
        open_output(target, begun),
      ):
        pass


@pytest.mark.parametrize(
  "name", ["out.jsonl.partial", "out.jsonl.partial.sums"]
)
def test_damaged_lines_are_written_again(tmp_path, capsys, name):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\ntwo\nthree\n")
  path = tmp_path / name
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1  # In "two", and in its digest.
  path.write_bytes(data)
  with open_output(target, BEGUN) as (file, num_lines):
    assert num_lines == 1
    file.write(b"two\n")
  assert target.read_bytes() == b"one\ntwo\n"
  assert "line 2 of" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == [target]


def test_lines_without_digests_are_not_believed(tmp_path):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\n")
  with open(tmp_path / "out.jsonl.partial", "ab") as file:
    file.write(b"two\n")
  with open_output(target, BEGUN) as (_, num_lines):
    assert num_lines == 1


def test_a_finished_output_that_was_not_moved_is_complete(tmp_path):
  target = tmp_path / "out.jsonl"
  interrupt(target, b"one\ntwo\n")
  with open_output(target, BEGUN) as (_, num_lines):
    assert num_lines == 2
  assert target.read_bytes() == b"one\ntwo\n"


def test_two_writers_are_refused(tmp_path):
  target = tmp_path / "out.jsonl"
  with open_output(target, BEGUN) as (file, _):
    file.write(b"one\n")
    with (
      pytest.raises(ValueError, match="another process is writing"),
      open_output(target, BEGUN),
    ):
      pass
  assert target.read_bytes() == b"one\n"
