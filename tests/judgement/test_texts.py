"""The texts of test examples, beside the answers to them."""

import pytest

from mpt_jax.judgement import texts

OWN = {"spam": ["cheap", "hello\u2028you"], "empty": [], "news": ['"goal"\n']}


def test_texts_are_read_as_written(tmp_path):
  texts.write(tmp_path, OWN)
  assert texts.read(tmp_path) == {k: v for k, v in OWN.items() if v}


def test_without_a_file_there_are_none(tmp_path):
  assert texts.read(tmp_path) == {}


@pytest.mark.parametrize(
  "damage, told",
  [
    (lambda lines: [lines[0].replace("cheap", "cheaq"), *lines[1:]], "line 1"),
    (lambda lines: ["{}", *lines[1:]], "line 1: damaged"),
    (lambda lines: ["7", *lines[1:]], "line 1: damaged"),
    (lambda lines: lines[1:], "text 0 of 'spam' is missing"),
    (lambda lines: [lines[0], lines[2][:20]], "line 2: damaged"),
  ],
)
def test_damage_is_told(tmp_path, damage, told):
  texts.write(tmp_path, OWN)
  path = tmp_path / texts.FILE
  path.write_text("\n".join(damage(path.read_text().splitlines())))
  with pytest.raises(ValueError, match=told):
    texts.read(tmp_path)
