"""What people have: odd layouts, nested fields, references, folders."""

import gzip
import itertools
import json

import pytest
import seqio

from mpt_jax import tasks

_names = (f"file_rows_task_{i}" for i in itertools.count())


def register(files, **kwargs):
  kwargs.setdefault("template", "{text}")
  return tasks.register_file_task(
    next(_names), files, vocabulary=seqio.ByteVocabulary(), **kwargs
  )


def examples(files, split="train", **kwargs):
  return register(files, **kwargs).source.examples(split)


def test_a_table_without_a_header(tmp_path):
  path = tmp_path / "rows.csv"
  path.write_text('1,"a, b"\n0,c\n')
  found = examples(
    {"train": path}, columns=("label", "text"), label_names=("bad", "good")
  )
  assert found == [("a, b", "good"), ("c", "bad")]


@pytest.mark.parametrize(
  ("name", "content", "layout", "expected"),
  [
    ("a.csv", "label;text\nx;a, b\n", {"separator": ";"}, "a, b"),
    ("a.dat", "label::text\nx::a:b\n", {"separator": "::"}, "a:b"),
    ("a.csv", 'label,text\nx,"a\n', {"quotes": False}, '"a'),
    ("a.tsv", 'label\ttext\nx\t"a\tb"\n', {"quotes": True}, "a\tb"),
    ("a.tsv", "label\ttext\nx\tnaïve\n", {"encoding": "latin-1"}, "naïve"),
  ],
)
def test_separators_quotes_and_encodings(
  tmp_path, name, content, layout, expected
):
  path = tmp_path / name
  path.write_bytes(content.encode(layout.get("encoding", "utf-8")))
  assert examples({"train": path}, **layout) == [(expected, "x")]


def test_trec_has_a_label_before_each_text(tmp_path):
  path = tmp_path / "train_5500.label"
  text = "NUM:dist How far is Málaga ?\nHUM:ind Who ran ?\n"
  path.write_text(text, encoding="latin-1")
  kwargs = dict(
    pattern=r"(?P<coarse>\w+):(?P<fine>\w+) (?P<text>.*)", encoding="latin-1"
  )
  assert examples(
    {"train": path}, target="coarse", label_names=("HUM", "NUM"), **kwargs
  ) == [("How far is Málaga ?", "NUM"), ("Who ran ?", "HUM")]
  assert examples({"train": path}, target="{coarse}:{fine}", **kwargs)[0] == (
    "How far is Málaga ?",
    "NUM:dist",
  )
  path.write_text("Who?\n")
  with pytest.raises(ValueError, match="line 1: 'Who\\?' does not match"):
    examples({"train": path}, target="coarse", **kwargs)


def test_gzip_and_an_array(tmp_path):
  rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
  path = tmp_path / "rows.json.gz"
  path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
  assert examples({"train": path}) == [("a", "x"), ("b", "y")]


def test_fields_within_objects(tmp_path):
  path = tmp_path / "rows.jsonl"
  rows = [
    {"q": {"text": "Who?"}, "answers": {"text": ["Al", "Bo"], "start": [0, 1]}},
    {"q": {"text": "When?"}, "answers": {"text": ["1999"], "start": [4]}},
  ]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  found = examples({"train": path}, template="{q.text}", target="answers.text")
  assert found == [("Who?", "Al"), ("When?", "1999")]
  assert found[0].features == {"answers": ["Al", "Bo"]}
  # A list of objects.
  path.write_text('{"q": "a", "answers": [{"text": "b"}, {"text": "c"}]}\n')
  found = examples({"train": path}, template="{q}", target="{answers.text}")
  assert found[0].features == {"answers": ["b", "c"]}
  for template, message in (
    ("{answers}", "field 'answers' is a list"),
    ("{answers.text}", "field 'answers.text' is a list"),
    ("{answers.txt}", "no field 'answers.txt'"),
    ("{q.text}", "no field 'q.text'"),
  ):
    with pytest.raises(ValueError, match=message):
      examples({"train": path}, template=template, target="q")


def test_several_references(tmp_path):
  path = tmp_path / "rows.csv"
  path.write_text("id,text,one,two\n7,a,x,y\n8,b,z,\n7,a,w,x\n")
  both = {"train": path, "test": path}
  task = register(both, target=("one", "two"))
  assert [e.features["answers"] for e in task.source.examples("test")] == [
    ["x", "y"],
    ["z"],
    ["w", "x"],
  ]
  task = register(both, target=("one", "two"), key="id", metric_fns=("bleu",))
  assert len(task.source.examples("train")) == 3
  found = task.source.examples("test")
  assert found == [("a", "x"), ("b", "z")]
  assert [e.features["answers"] for e in found] == [["x", "y", "w"], ["z"]]
  with pytest.raises(ValueError, match="a label stands alone"):
    register(both, target="one", key="id", label_names=("x", "z"))


def test_one_file_with_a_column_of_splits(tmp_path):
  path = tmp_path / "rows.tsv"
  path.write_text(
    "fold\ttext\tlabel\ntrain\ta\tx\ndev\tb\ty\ntest\tc\tx\ntrain\td\ty\n"
  )
  task = register(path, split_by="fold")
  assert task.splits == ("train", "validation", "test")
  found = {split: task.source.examples(split) for split in task.splits}
  assert found == {
    "train": [("a", "x"), ("d", "y")],
    "validation": [("b", "y")],
    "test": [("c", "x")],
  }


def test_splits_that_are_carved_out_of_one_file(tmp_path):
  path = tmp_path / "rows.csv"
  lines = [f"t{i},x\n" for i in range(100)]
  path.write_text("text,label\n" + "".join(lines))
  carve = {"validation": 0.1, "test": 20}

  def parts(**kwargs):
    task = register(path, carve=carve, **kwargs)
    assert task.splits == ("train", "validation", "test")
    return [task.source.examples(split) for split in task.splits]

  first = parts()
  assert list(map(len, first)) == [70, 10, 20]
  assert len({text for part in first for text, _ in part}) == 100
  assert parts() == first != parts(seed=1)
  # The order of the lines does not matter, and equal inputs stay together.
  path.write_text("text,label\n" + "".join(lines[::-1]))
  assert parts() == first
  path.write_text("text,label\n" + "t,x\n" * 9)
  with pytest.raises(ValueError, match="leaves no examples of 9"):
    parts()


def test_a_folder_of_files(tmp_path):
  for name, text in (
    ("pos/2", "fine\nday"),
    ("pos/1", "good"),
    ("neg/1", "bad"),
  ):
    file = tmp_path / f"{name}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
  assert examples(
    {"train": tmp_path}, target="folder", label_names=("neg", "pos")
  ) == [("bad", "neg"), ("good", "pos"), ("fine\nday", "pos")]
  shards = tmp_path / "shards"
  shards.mkdir()
  (shards / "b.jsonl").write_text('{"text": "2", "label": "x"}\n')
  (shards / "a.csv").write_text("text,label\n1,y\n")
  (shards / "README").write_text("?")
  assert examples({"train": shards}) == [("1", "y"), ("2", "x")]
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match="empty has no files"):
    examples({"train": tmp_path / "empty"})


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    (dict(files="a.csv"), "is one file: say with split_by"),
    (dict(files={"train": "a.csv"}, split_by="x"), "belongs to one file"),
    (dict(files="a.csv", carve={"test": 0}), r"carve\['test'\]"),
    (dict(files="a.csv", carve={"test": 1.5}), "a whole number, or a share"),
    (dict(files={"test": "a.csv"}, carve={"x": 1}), "drawn out of 'train'"),
    (dict(files={"train": "a.dat"}), "unknown extension '.dat'"),
    (dict(files={"train": "a.dat.gz"}), "unknown extension"),
    (dict(files={"train": "a.csv"}, columns="text"), "several names"),
    (dict(files={"train": "a.csv"}, encoding="utf8x"), "unknown encoding"),
    (dict(files={"train": "a"}, pattern="(a"), "pattern '\\(a'"),
    (dict(files={"train": "a"}, pattern="a"), "must have named groups"),
    (dict(files={"train": "a.csv"}, colums=("a",)), "argument 'colums'"),
    (
      dict(files={"train": "a.csv"}, separator="::", quotes=True),
      "must be one character",
    ),
  ],
)
def test_arguments_that_do_not_fit(kwargs, message):
  with pytest.raises((ValueError, TypeError), match=message):
    register(**kwargs)
