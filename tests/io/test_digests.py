"""Digests of JSON objects, of lines and of folders."""

import hashlib
import json

import pytest

from mpt_jax.io import digests


def test_the_digest_of_fields_is_that_of_the_documentation():
  sealed = digests.seal({"b": [1, 2.5], "a": "é"})
  text = rb'{"a":"\u00e9","b":[1,2.5]}'
  assert sealed["digest"] == hashlib.sha256(text).hexdigest()
  # Order, and what JSON makes of tuples and of floats, do not count.
  again = json.loads(json.dumps(digests.seal({"a": "é", "b": (1, 2.5)})))
  assert again["digest"] == sealed["digest"]
  assert digests.unseal(again, "x") == {"a": "é", "b": [1, 2.5]}


@pytest.mark.parametrize(
  "change", [{"b": 3}, {"c": None}, {"digest": "0" * 64}, {"digest": None}]
)
def test_other_fields_are_refused_by_the_name_of_the_file(change):
  sealed = digests.seal({"a": 1, "b": 2})
  with pytest.raises(ValueError, match="a.json is damaged.*remove 'digest'"):
    digests.unseal({**sealed, **change}, "a.json")


def test_a_lost_field_is_refused():
  sealed = digests.seal({"a": 1, "b": 2})
  del sealed["b"]
  with pytest.raises(ValueError, match="a.json is damaged"):
    digests.unseal(sealed, "a.json")


@pytest.mark.parametrize("name", ["digesT", "eigest", "di\x07est"])
def test_a_damaged_name_of_the_digest_does_not_switch_it_off(name):
  sealed = digests.seal({"a": 1})
  sealed[name] = sealed.pop("digest")
  with pytest.raises(ValueError, match="a.json is damaged"):
    digests.unseal(sealed, "a.json")


def test_fields_without_a_digest_are_taken():
  assert digests.unseal({"a": 1}, "a.json") == {"a": 1}


def test_lines(tmp_path):
  path = tmp_path / "a.jsonl"
  whole = json.dumps(digests.seal({"step": 1, "loss": 0.1 + 0.2}))
  other = whole.replace('"step": 1', '"step": 2')
  path.write_bytes(
    "\n".join([whole, other, '{"step": 3}', "[1]", whole[:9]]).encode()
    + b"\n\xff\n"
  )
  found = dict(digests.read_lines(path))
  assert found == {
    1: {"step": 1, "loss": 0.1 + 0.2},
    2: None,
    3: {"step": 3},
    4: None,
    5: None,
    6: None,
  }


@pytest.fixture
def folder(tmp_path):
  (tmp_path / "d" / "e").mkdir(parents=True)
  (tmp_path / "a").write_text("1")
  (tmp_path / "d" / "e" / "b").write_text("2")
  (tmp_path / ".hidden").write_text("3")
  return tmp_path


def test_sums(folder):
  names = digests.find_files(folder)
  assert names == ["a", "d/e/b"]
  text = digests.sums(folder, names)
  # From sha256sum.
  assert text.splitlines()[0] == (
    "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b  a"
  )
  path = folder / ".sums"
  path.write_text(text)

  def compare():
    return digests.compare_sums(folder, path, digests.find_files(folder))

  assert compare() is None
  (folder / "d" / "c").write_text("")
  assert compare() == "d/c was added"
  (folder / "d" / "c").unlink()
  (folder / "d" / "e" / "b").write_text("3")
  assert compare() == "the SHA-256 of d/e/b differs from .sums"
  (folder / "d" / "e" / "b").unlink()
  assert compare() == "d/e/b is missing"
  for damaged in ("x", "x  y  z", ""):
    path.write_text(damaged)
    assert compare() in (".sums cannot be read", "a was added")


def test_a_file_has_the_sha256_of_its_content(tmp_path):
  (tmp_path / "a").write_bytes(b"")
  # The SHA-256 of nothing.
  assert digests.file_sha256(tmp_path / "a").startswith("e3b0c44298fc1c14")
