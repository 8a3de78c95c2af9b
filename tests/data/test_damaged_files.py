"""The readers of rows and templates refuse damage in one line."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, damaged_bytes, fuzz, may_refuse

from mpt_jax.data import rows, templates

FILES = {
  "a.jsonl": (
    '{"text": "a \\u00e9", "n": 1.50, "x": [1, "b"]}\n\n{"text": ""}\n'
  ),
  "a.csv": 'text,label\n"a, ""b""\r\nc",1\n\nd,2\n',
  "a.tsv": 'text\tlabel\n"a\t1\n\nb\\\t2\r\n',
  "a.txt": "one\r\n\ntwo é\n",
}


@pytest.mark.parametrize("name", FILES)
@CASES
@given(data=st.data())
def test_rows(name, tmp_path_factory, data):
  path = tmp_path_factory.getbasetemp() / name
  path.write_text(FILES[name], encoding="utf-8", newline="")

  def read():
    for _, row in rows.read_file(path):
      for field, value in row.items():
        # A field is refused in one line too, which the tasks complete.
        with contextlib.suppress(ValueError):
          templates.as_text(value, field)

  fuzz(data, path, read)


@CASES
@given(data=st.data())
def test_templates(data):
  whole = "review {{1}}: {text} {First name}{a:>{b}} {#1 String}"
  template = data.draw(damaged_bytes(whole.encode())).decode("utf-8", "replace")

  def read():
    names = templates.fields(template)
    return templates.fill(template, dict.fromkeys(names, "x"))

  may_refuse(read, "template")
