"""Datasets in the user's own files, and errors about missing files."""

import gzip
import itertools
import json

import pytest
import seqio

from mpt_jax import tasks
from mpt_jax.tasks import tfds_tasks, user_files
from mpt_jax.tasks.benchmarks import datasets
from mpt_jax.tasks.public import packages

_names = (f"user_files_task_{i}" for i in itertools.count())


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path))
  return tmp_path


def fresh(name):
  return tfds_tasks.register_dataset(
    next(_names),
    datasets.DATASETS[name],
    vocabulary=seqio.ByteVocabulary(),
  )


def test_data_dir(monkeypatch, tmp_path):
  monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path / "a"))
  assert user_files.data_dir() == tmp_path / "a"
  monkeypatch.delenv("MPT_DATA_DIR")
  monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
  assert user_files.data_dir() == tmp_path / "mpt_jax"


def test_scitail(folder):
  (folder / "scitail").mkdir()
  # A quote that is never closed is part of the text.
  (folder / "scitail" / "scitail_1.0_test.tsv").write_text(
    'A "half\tIt is hot.\tentails\nZoë\tcold\tneutral\n', encoding="utf-8"
  )
  task = fresh("scitail")
  assert task.source.examples("test") == [
    ('premise: A "half hypothesis: It is hot.', "0"),
    ("premise: Zoë hypothesis: cold", "1"),
  ]
  with pytest.raises(FileNotFoundError) as error:
    task.source.examples("train")
  for part in ("scitail_1.0_train.tsv", str(folder), "https://allenai.org"):
    assert part in str(error.value)


GOOD = {"context": "c", "qas": [{"question": "q", "answers": ["a"]}]}


@pytest.mark.parametrize(
  ("passage", "message"),
  [
    ([1], "line 1: expected a JSON object .*got int"),
    (None, "line 1: expected a JSON object .*got NoneType"),
    ({**GOOD, "context": None}, "has no attribute 'strip'"),
    ({**GOOD, "qas": [{"question": "q", "answers": "Paris"}]}, "not a list of"),
    (
      {**GOOD, "qas": [{"question": "q", "answers": [1]}]},
      "line 1: .*not a list",
    ),
    ({**GOOD, "qas": [{"question": "q"}]}, "'answers'"),
  ],
)
def test_files_that_are_not_mrqas_are_reported(folder, passage, message):
  path = folder / "mrqa" / "news_qa" / "dev" / "NewsQA.jsonl.gz"
  path.parent.mkdir(parents=True)
  path.write_bytes(gzip.compress(json.dumps(passage).encode()))
  expected = f"NewsQA.jsonl.gz is not the file from .*{message}"
  with pytest.raises(ValueError, match=expected):
    fresh("mrqa_newsqa").source.examples("test")


@pytest.mark.parametrize("damage", ["cut short", "other bytes", "empty"])
def test_an_interrupted_download_is_reported(folder, damage):
  path = folder / "mrqa" / "news_qa" / "dev" / "NewsQA.jsonl.gz"
  path.parent.mkdir(parents=True)
  rows = [{**GOOD, "context": f"context {i * 7919 % 1000}"} for i in range(300)]
  whole = gzip.compress("\n".join(map(json.dumps, rows)).encode())
  path.write_bytes(
    {
      "cut short": whole[:-30],
      "other bytes": whole[:200] + bytes(50) + whole[250:],
      "empty": b"",
    }[damage]
  )
  with pytest.raises(ValueError, match="NewsQA.jsonl.gz is not the file from"):
    fresh("mrqa_newsqa").source.examples("test")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('mr,ref\n"name[A]",Hi\n"name[B]"\n', "line 3: expected 2 columns"),
    ("mr,ref\na,b,c\n", "line 2: expected 2 columns"),
    ('mr,ref\n"a,b\nc,d\n', "unexpected end of data"),
    ("mr\na\n", "'ref'"),
    ("mr,ref\n", "it is empty"),
  ],
)
def test_files_that_are_not_e2es_are_reported(folder, text, message):
  path = folder / "e2e_nlg_2017" / "testset_w_refs.csv"
  path.parent.mkdir()
  path.write_text(text)
  with pytest.raises(ValueError, match=f"testset_w_refs.csv is not.*{message}"):
    fresh("e2e_nlg_2017").source.examples("test")


def test_scitail_lines_are_numbered(folder):
  path = folder / "scitail" / "scitail_1.0_test.tsv"
  path.parent.mkdir()
  path.write_text("a\tb\tentails\n\nc\td\n")
  with pytest.raises(ValueError, match="line 3: expected 3 columns .*got 2"):
    fresh("scitail").source.examples("test")


def test_newsqa(folder):
  (folder / "mrqa" / "news_qa" / "dev").mkdir(parents=True)
  lines = [
    {"header": {"dataset": "NewsQA", "split": "dev"}},
    {
      "context": " Bo won. ",
      "qas": [
        {"question": "Who? ", "answers": ["Bo", "Bo won"]},
        {"question": "What?", "answers": ["won"]},
      ],
    },
  ]
  path = folder / "mrqa" / "news_qa" / "dev" / "NewsQA.jsonl.gz"
  with gzip.open(path, "wt", encoding="utf-8") as file:
    file.writelines(json.dumps(line) + "\n" for line in lines)
  found = fresh("mrqa_newsqa").source.examples("test")
  assert found == [
    ("question: Who? context: Bo won.", "Bo"),
    ("question: What? context: Bo won.", "won"),
  ]
  assert found[0].features == {"answers": ["Bo", "Bo won"]}
  path.write_text("not gzip")
  with pytest.raises(ValueError, match=r"NewsQA.jsonl.gz is not the file from"):
    fresh("mrqa_newsqa").source.examples("test")


def test_e2e_2017_groups_references(folder):
  (folder / "e2e_nlg_2017").mkdir()
  rows = (
    'mr,ref\n"name[A], food[B]",One.\nname[C],Two.\n"name[A], food[B]",Three.\n'
  )
  for name in ("trainset.csv", "testset_w_refs.csv"):
    (folder / "e2e_nlg_2017" / name).write_text(rows, encoding="utf-8")
  task = fresh("e2e_nlg_2017")
  assert len(task.source.examples("train")) == 3
  found = task.source.examples("test")
  assert found == [
    ("meaning representation: name[A], food[B]", "One."),
    ("meaning representation: name[C]", "Two."),
  ]
  assert found[0].features == {"references": ["One.", "Three."]}


def test_missing_files_are_reported(folder):
  with pytest.raises(FileNotFoundError) as error:
    tasks.get_task("e2e_nlg_2017").source.examples("test")
  for part in ("testset_w_refs.csv", str(folder), "MPT_DATA_DIR", "https://"):
    assert part in str(error.value)


def test_tfds_that_cannot_fetch_is_reported(folder, monkeypatch):
  import tensorflow_datasets as tfds

  def refuse(*args, **kwargs):
    raise ConnectionError("no network")

  monkeypatch.setattr(tfds, "load", refuse)
  with pytest.raises(packages.DataUnavailableError) as error:
    fresh("scitail").source.examples("test")
  for part in ("'sci_tail:1.*.*'", "no network", "tfds build sci_tail"):
    assert part in str(error.value)
  assert "TFDS_DATA_DIR" in str(error.value)
  assert str(folder / "scitail") in str(error.value)
