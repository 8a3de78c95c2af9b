"""What is kept about the process that made a folder."""

import json
import re
import types

from mpt_jax.io import digests, provenance
from mpt_jax.process import signals


def test_a_process_in_words():
  gpu = types.SimpleNamespace(platform="gpu", device_kind="X 1")
  cpu = types.SimpleNamespace(platform="cpu", device_kind="cpu")
  made = provenance.describe([gpu, gpu, cpu])
  assert made["devices"] == "2 × X 1"
  assert "devices" not in provenance.describe([cpu])
  assert re.fullmatch(r"mpt_jax \d+\.\d+\.\d+", made["version"])
  assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", made["date"])
  assert made["command"] == signals.typed_command()
  assert re.search(r"., \d+ cores$", made["processor"])


def test_a_processor_without_a_name_is_its_machine():
  assert provenance.processor("flags: x") == provenance.processor("") != ""


def test_each_start_is_added(tmp_path):
  assert provenance.read(tmp_path) == {}
  provenance.add_start(tmp_path)
  path = tmp_path / "about.json"
  about = {**provenance.read(tmp_path), "title": "kept"}
  path.write_text(json.dumps(digests.seal(about)))
  provenance.add_start(tmp_path, notes=["a"])
  about = provenance.read(tmp_path)
  assert len(about["starts"]) == 2 and about["title"] == "kept"
  assert about["notes"] == ["a"]
  # A damaged file stops no run.
  for text in ("{", '{"starts": 3}'):
    path.write_text(text)
    provenance.add_start(tmp_path)
    assert len(provenance.read(tmp_path)["starts"]) == 1
