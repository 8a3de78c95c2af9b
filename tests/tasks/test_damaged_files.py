"""Files of datasets: the user's, official ones and cached ones."""

import functools
import gzip
import json

import pytest
import seqio
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz

from mpt_jax import tasks
from mpt_jax.tasks import readers, user_files
from mpt_jax.tasks.pretraining import tasks as pretraining
from mpt_jax.tasks.public import debian

ROWS = [
  {"text": "fine é", "n": 1.50, "label": "good"},
  {"text": 'a, "b"', "n": 2, "label": "bad"},
]
JSON = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
  "jsonl": JSON,
  "csv": 'text,n,label\nfine é,1.50,good\n"a, ""b""",2,bad\n',
  "tsv": 'text\tn\tlabel\nfine é\t1.50\tgood\na, "b"\t2\tbad\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("damaged_rows")


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("labels", [("bad", "good"), None])
@CASES
@given(data=st.data())
def test_file_tasks(labels, suffix, folder, data):
  path = folder / f"rows.{suffix}"
  path.write_text(FILES[suffix], encoding="utf-8")
  task = _register(str(path), labels)

  # A source remembers its examples.
  def read():
    return task.source._load("train")

  assert len(read()) == 2
  fuzz(data, path, read)


@functools.cache
def _register(path, labels):
  return tasks.register_file_task(
    f"damaged_{path.rpartition('.')[2]}_{labels is None}",
    {"train": path},
    template="{n}: {text}",
    label_names=labels,
    vocabulary=seqio.ByteVocabulary(),
  )


PASSAGE = {"context": "c", "qas": [{"question": "q", "answers": ["a", "b"]}]}
OFFICIAL = {
  "a.tsv": (
    readers.Table({"label": "label"}, header=("premise", "label")),
    b"It is.\tentails\n",
  ),
  "a.jsonl.gz": (
    readers.JsonLines(readers.mrqa),
    gzip.compress(b'{"header": {}}\n' + json.dumps(PASSAGE).encode(), mtime=0),
  ),
  "a.csv": (
    readers.Table({"mr": "mr", "ref": "ref"}, format="csv"),
    b'mr,ref\n"name[A], x[B]",A is B.\n',
  ),
}


@pytest.mark.parametrize("name", OFFICIAL)
@CASES
@given(data=st.data())
def test_official_files(name, folder, data):
  reader, content = OFFICIAL[name]
  files = user_files.UserFiles(
    folder=str(folder),
    names={"train": name},
    read=reader,
    origin="https://a.org",
    owner="",
    licence="",
    size="",
    counts={},
  )
  (folder / name).write_bytes(content)
  assert files.rows("train")
  fuzz(data, folder / name, lambda: files.rows("train"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("cache")
    patch.setenv("MPT_CACHE_DIR", str(folder))
    yield folder / "data"


@pytest.mark.parametrize("kind", ["examples", "texts", "debian"])
@CASES
@given(data=st.data())
def test_cached_rows(kind, cache, data):
  """Files that are made once and kept."""
  fields = {"package": "a", "source": "a", "section": "x", "short": "s"}
  path, row, read = {
    "examples": (
      pretraining.supervised_path("train"),
      {"inputs": "a", "targets": "b"},
      lambda: pretraining._load_supervised("train"),
    ),
    "texts": (
      pretraining.text_path(),
      {"text": "a"},
      lambda: pretraining._load_texts("train"),
    ),
    "debian": (
      cache / "debian-descriptions" / "rows.jsonl",
      {**fields, "long": "é"},
      debian.fetch_descriptions,
    ),
  }[kind]
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text((json.dumps(row) + "\n") * 3)
  fuzz(data, path, read)
