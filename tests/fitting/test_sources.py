"""Rows from files and from objects in memory."""

import gzip

import numpy as np
import pytest

from mpt_jax.fitting.sources import read_source, task_name


class Frame:
  """Has what a pandas.DataFrame has, with its missing values."""

  columns = ("text", "label")

  def to_dict(self, how):
    assert how == "records"
    return [
      {"text": "a b", "label": np.int64(1)},
      {"text": float("nan"), "label": np.float64("nan")},
    ]


class Feature:
  names = ["bad", "good"]


class Dataset:
  """Has what a datasets.Dataset has."""

  column_names = ("text", "label")
  features = {"text": object(), "label": Feature()}

  def __iter__(self):
    return iter([{"text": "a b", "label": 1}, {"text": "c d", "label": -1}])


def write(path, text, encoding="utf-8"):
  path.write_bytes(text.encode(encoding))
  return path


def test_a_table_of_a_spreadsheet(tmp_path):
  path = write(
    tmp_path / "My train.csv",
    'text;label\r\n"a; ""b""";x\r\n;y\r\n',
    "utf-8-sig",
  )
  source = read_source(path)
  assert source.rows == [
    {"text": 'a; "b"', "label": "x"},
    {"text": None, "label": "y"},
  ]
  assert source.name == "my"
  assert source.places == ["My train.csv, line 2", "My train.csv, line 3"]


def test_a_text_file_with_tabs_is_a_table(tmp_path):
  header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
  path = write(
    tmp_path / "msr.txt", header + '1\t2\t3\tsay "a\tb\n', "utf-8-sig"
  )
  (row,) = read_source(path).rows
  assert row["Quality"] == "1" and row["#1 String"] == 'say "a'


def test_compressed_json(tmp_path):
  path = tmp_path / "a.jsonl.gz"
  path.write_bytes(gzip.compress(b'{"a": 1.0, "b": ["x", "y"]}\n'))
  (row,) = read_source(path).rows
  assert str(row["a"]) == "1.0" and row["b"] == ["x", "y"]


def test_objects_in_memory():
  expected = [{"text": "a b", "label": 1}, {"text": None, "label": None}]
  assert read_source(Frame()).rows == expected
  columns = {"text": ["a b", ""], "label": [1, None]}
  assert read_source(columns).rows == expected
  assert read_source(iter(expected)).rows == expected
  assert read_source(Dataset()).rows == [
    {"text": "a b", "label": "good"},
    {"text": "c d", "label": None},
  ]


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("a.parquet", "", "unknown extension '.parquet'"),
    ("a.txt", "one text\n", "plain lines has no labels"),
    ("a.csv", "text,label\n", "a.csv is empty"),
  ],
)
def test_files_that_cannot_be_rows(tmp_path, name, text, message):
  with pytest.raises(ValueError, match=message):
    read_source(write(tmp_path / name, text))


def test_objects_that_cannot_be_rows(tmp_path):
  with pytest.raises(TypeError, match="got int"):
    read_source(3)
  with pytest.raises(TypeError, match="a row must be a dict"):
    read_source(["text"])
  with pytest.raises(ValueError, match="different lengths"):
    read_source({"a": [1], "b": []})
  write(tmp_path / "x.csv", "a,b\n1,2\n")
  with pytest.raises(ValueError, match=r"is a folder; name its files.*x\.csv"):
    read_source(tmp_path)
  with pytest.raises(FileNotFoundError, match="no file"):
    read_source(tmp_path / "none.csv")


def test_names_of_tasks():
  assert task_name("a/train.csv") == "train"
  assert task_name("a/Äpfel und Birnen.tsv") == "äpfel_und_birnen"
  assert task_name("a/---.csv") == "task"
