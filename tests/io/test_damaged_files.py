"""Readers of small JSON files refuse damage, or do without the file."""

import contextlib
import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz

from mpt_jax.io import digests, files, locks
from mpt_jax.prompts import run_settings

FIELDS = {"backbone": "t5", "batch": {"inputs_length": 8, "x": [1, 2.5]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("damaged")


@CASES
@given(data=st.data())
def test_settings_of_a_run(folder, data):
  path = folder / run_settings.FILE
  path.write_text(json.dumps(digests.seal(FIELDS)))

  def read():
    settings = run_settings.read(folder)
    # Someone may remove the digest on purpose, and change the settings.
    if digests.FIELD in json.loads(path.read_text()):
      assert settings == FIELDS
    return run_settings.backbone(settings), run_settings.lengths(settings)

  fuzz(data, path, read)


@CASES
@given(data=st.data())
def test_json_objects(folder, data):
  path = folder / "a.json"
  path.write_text(json.dumps(FIELDS))
  fuzz(data, path, lambda: files.read_json(path))


@CASES
@given(data=st.data())
def test_lines_with_digests(folder, data):
  path = folder / "metrics.jsonl"
  lines = [digests.seal({"step": i, "loss": 0.5}) for i in range(3)]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  good = [{"step": i, "loss": 0.5} for i in range(3)]

  def read():
    found = [fields for _, fields in digests.read_lines(path)]
    sealed = path.read_bytes().count(b'"digest"') >= 3
    assert not sealed or all(f is None or f in good for f in found)

  fuzz(data, path, read)


@CASES
@given(data=st.data())
def test_sums(folder, data):
  (folder / "a").write_text("a")
  (folder / "b").write_text("b")
  path = folder / digests.SUMS
  path.write_text(digests.sums(folder, ["a", "b"]))

  def read():
    return digests.compare_sums(folder, path, ["a", "b"]) is None

  def compare():
    # What is taken for undamaged has both digests.
    text = path.read_bytes().decode("utf-8", "replace")
    assert not read() or set(text.splitlines()) >= set(
      digests.sums(folder, ["a", "b"]).splitlines()
    )

  fuzz(data, path, compare)


@CASES
@given(data=st.data())
def test_locks_of_dead_processes(folder, data):
  path = folder / "lock.json"
  holder = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": "x"}
  path.write_text(json.dumps({**holder, "token": "a"}))

  def read():
    found = locks._read(path)
    with contextlib.suppress(PermissionError):
      return locks._has_died(found), locks._refusal(path)

  assert os.path.exists(path)
  fuzz(data, path, read)
