"""The one reader of rows: formats, encodings, and every bad line."""

import gzip
import json
import pickle

import pytest

from mpt_jax.data import rows, templates


def read(data, format):
  lines = data.splitlines(keepends=True) if b"\r" not in data else [data]
  return list(rows.read_rows(lines, "rows.file", format))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
  ("format", "lines"),
  [
    ("json", [b'{"a": "1", "b": "x y"}', b"", b'{"a": "2", "b": "z"}']),
    ("csv", [b"a,b", b'1,"x y"', b"", b"2,z"]),
    ("tsv", [b"a\tb", b"1\tx y", b"", b"2\tz"]),
  ],
)
def test_line_ends_and_byte_order_marks(format, lines, mark, end):
  first = 1 if format == "json" else 2
  assert read(mark + end.join(lines) + end, format) == [
    (first, {"a": "1", "b": "x y"}),
    (first + 2, {"a": "2", "b": "z"}),
  ]


def test_csv_follows_rfc_4180():
  data = b'a,b\n"1, 2","x ""y"""\n"two\nlines",\n3,4\n'
  assert read(data, "csv") == [
    (2, {"a": "1, 2", "b": 'x "y"'}),
    (3, {"a": "two\nlines", "b": ""}),
    (5, {"a": "3", "b": "4"}),
  ]


def test_long_documents():
  data = b"a,b\n" + b"x" * 200_000 + b",1\n"
  ((_, row),) = read(data, "csv")
  assert len(row["a"]) == 200_000


def test_everything_but_tabs_is_literal_in_tsv():
  data = b'a\tb\n"x\ty"\n\\t\t"z"\n'
  assert read(data, "tsv") == [
    (2, {"a": '"x', "b": 'y"'}),
    (3, {"a": "\\t", "b": '"z"'}),
  ]


def test_plain_text_keeps_blank_lines():
  assert [row["text"] for _, row in read(b"a\n\nb\n", "text")] == ["a", "", "b"]


def test_the_first_line_shows_the_format():
  assert read(b'\n{"a": 1}\n', None) == [(2, {"a": 1})]
  assert read(b"[1]\n{}\n", None)[1] == (2, {"text": "{}"})
  assert read(b"", None) == []


def test_numbers_keep_their_spelling():
  data = b'{"a": 1.0, "b": 1e5, "c": -0, "d": 10, "e": 0.10, "f": "1.0"}'
  ((_, row),) = read(data, "json")
  row = pickle.loads(pickle.dumps(row))
  assert templates.fill("{a} {b} {c} {d} {e} {f}", row) == (
    "1.0 1e5 -0 10 0.10 1.0"
  )
  # They are numbers where a row is written again.
  assert json.loads(json.dumps(row)) == json.loads(data)


def test_one_idea_of_text_in_all_formats():
  for format, data in (
    ("json", b'{"a": 1.50, "b": "NaN"}'),
    ("csv", b"a,b\n1.50,NaN\n"),
    ("tsv", b"a\tb\n1.50\tNaN\n"),
  ):
    ((_, row),) = read(data, format)
    assert templates.fill("{a} {b}", row) == "1.50 NaN"


@pytest.mark.parametrize(
  ("format", "data", "message"),
  [
    ("json", b'{"a": 1}\n{"a": 1', "line 2: not valid JSON"),
    ("json", b'{"a": 1} {"a": 2}', "line 1: not valid JSON: Extra data"),
    ("json", b"[3]", "line 1: expected a JSON object.*got int"),
    ("json", b"null", "line 1: expected a JSON object.*got NoneType"),
    ("json", b'{"a": 1, "a": 2}', "line 1: the field 'a' occurs twice"),
    ("json", b'{"a": {"b": 1, "b": 2}}', "line 1: the field 'b' occurs"),
    ("json", b'{"a": %s}' % (b"1" * 5000), "line 1: Exceeds the limit"),
    ("json", b'{"a": %s' % (b"[" * 100000), "line 1: .*recursion"),
    ("json", '{"a": "é"}'.encode("latin-1"), "line 1: not UTF-8 text"),
    ("json", '{"a": 1}'.encode("utf-16"), "line 1: .*UTF-16"),
    ("json", '{"a": 1}'.encode("utf-16-le"), "line 1: .*NUL byte"),
    ("csv", b"a,b\n1,\xff\n", "line 2: not UTF-8 text"),
    ("csv", b"a,b\n1,\0\n", "line 2: .*NUL byte"),
    ("csv", b"a,b,a\n1,2,3\n", "line 1: the column 'a' occurs twice"),
    ("csv", b"a,b\n1\n", r"line 2: expected 2 columns \(a, b\), got 1"),
    ("csv", b"a,b\n\n1,2,3\n", "line 3: expected 2 columns .*got 3"),
    ("csv", b'a,b\n1,2\n"3,4\n5,6\n', "line 3: unexpected end of data"),
    ("csv", b'a,b\n"1" x,2\n', "line 2: "),
    ("csv", b"\na,b\n", "the first line, which names the columns, is empty"),
    ("tsv", b"a\ta\n1\t2\n", "line 1: the column 'a' occurs twice"),
    ("tsv", b"a\tb\n1\n", "line 2: expected 2 columns .*got 1"),
    ("tsv", b"a\tb\n1\t2\t3\n", "line 2: expected 2 columns .*got 3"),
    ("tsv", b"\na\tb\n", "the first line, which names the columns, is empty"),
  ],
)
def test_bad_lines(format, data, message):
  with pytest.raises(ValueError, match=message) as error:
    read(data, format)
  assert str(error.value).startswith("rows.file")
  assert "\n" not in str(error.value)


def test_files_put_together_repeat_the_header():
  """As a row it would be a text to learn and to predict."""
  with pytest.raises(
    ValueError, match="line 3: the names of the columns again"
  ):
    read(b"text,label\na,b\ntext,label\nc,d\n", "csv")
  with pytest.raises(
    ValueError, match="line 2: the names of the columns again"
  ):
    read(b"a\tb\na\tb\n", "tsv")
  # A text may be the name of its column.
  assert len(read(b"text\ntext\n", "csv")) == 1


def test_a_compressed_file_is_named():
  with pytest.raises(ValueError, match="compressed by gzip; unpack it"):
    read(gzip.compress(b"{}\n"), "json")


def test_a_header_alone_has_no_rows():
  assert read(b"a,b\n", "csv") == read(b"a\tb", "tsv") == read(b"", "csv") == []


def test_files_by_their_extension(tmp_path):
  path = tmp_path / "train-[1]*.CSV"
  path.write_text("a\n1\n")
  assert list(rows.read_file(path)) == [(2, {"a": "1"})]
  with pytest.raises(FileNotFoundError, match="none.csv"):
    list(rows.read_file(tmp_path / "none.csv"))


@pytest.mark.parametrize(
  "text",
  [
    '[{"a": 1}, {"a": [2, 3]}]',
    '\n[\n  {"a": 1},\n  {"a": [2,\n 3]}\n]\n',
    '[{"a": 1}\n,{"a": [2, 3]}\n]',
  ],
)
def test_an_array_of_objects(text):
  made = read(text.encode(), "json")
  assert [row for _, row in made] == [{"a": 1}, {"a": [2, 3]}]


def test_rows_of_an_array_are_numbered_by_line():
  made = read(b'[\n{"a": 1}, {"a": 2},\n\n{"a": 1.0}\n]\n', "json")
  assert [(number, str(row["a"])) for number, row in made] == [
    (2, "1"),
    (2, "2"),
    (4, "1.0"),
  ]
  assert read(b"[]\n", "json") == []


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('[{"a": 1}', "line 1: not valid JSON: expected ',' of the array"),
    ('[{"a": 1},\n]', "line 2: not valid JSON: Expecting value"),
    ('[{"a": 1}\n{"a": 2}]', "line 2: not valid JSON: expected ','"),
    ('[\n{"a": 1},\n3]', "line 3: expected a JSON object .* got int"),
    ('[{"a": 1},\n{"a": 1, "a": 2}]', "line 2: the field 'a' occurs twice"),
    ('[{"a": 1}]\n{"a": 2}', "more text follows the array"),
    ('{"a": 1}\n[{"a": 2}]', "line 2: expected a JSON object .* got list"),
  ],
)
def test_arrays_that_are_broken(text, message):
  with pytest.raises(ValueError, match=f"^rows.file, {message}|{message}"):
    read(text.encode(), "json")


def test_the_layout_of_a_table_can_be_given():
  def rows_of(data, format, **options):
    lines = data.splitlines(keepends=True)
    return [r for _, r in rows.read_rows(lines, "rows.file", format, **options)]

  assert rows_of(b'"x;y";z\n', "csv", header=("a", "b"), separator=";") == [
    {"a": "x;y", "b": "z"}
  ]
  assert rows_of(b'a|b\n"x|z"\n', "tsv", separator="|") == [
    {"a": '"x', "b": 'z"'}
  ]
  assert rows_of(b'a\tb\n"x ""y"\tz\n', "tsv", quotes=True) == [
    {"a": 'x "y', "b": "z"}
  ]
  assert rows_of(b"a\tb\nx\ny\tz\tw\n", "tsv", ragged=True) == [
    {"a": "x"},
    {"a": "y", "b": "z"},
  ]
  assert rows_of(b"a\tb\n\xe9\t1\n", "tsv", encoding="latin-1") == [
    {"a": "é", "b": "1"}
  ]


def test_files_that_gzip_has_packed(tmp_path):
  path = tmp_path / "rows.csv.gz"
  path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
  assert list(rows.read_file(path)) == [(2, {"a": "1", "b": "2"})]
  path = tmp_path / "whole.json"
  path.write_text('{\n "a": [1.0]}', encoding="utf-8")
  assert str(rows.read_document(path)["a"][0]) == "1.0"
  path.write_text("{", encoding="utf-8")
  with pytest.raises(ValueError, match="whole.json: not valid JSON"):
    rows.read_document(path)
