"""Official files give the examples that TFDS gives, to the text."""

import gzip
import itertools

import official_files
import pytest
import seqio
import tfds_rows

from mpt_jax.tasks import tfds_tasks
from mpt_jax.tasks.benchmarks import datasets

_names = (f"official_files_task_{i}" for i in itertools.count())
NAMES = sorted(set(datasets.DATASETS) - {"e2e_nlg_2017"})


@pytest.fixture(scope="module")
def no_files(tmp_path_factory):
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    yield


def examples_of(name):
  """{split: (inputs, targets, further features)} of a new task."""
  dataset = datasets.DATASETS[name]
  task = tfds_tasks.register_dataset(
    next(_names), dataset, vocabulary=seqio.ByteVocabulary()
  )
  return {
    split: [
      (*example, getattr(example, "features", {}))
      for example in task.source.examples(split)
    ]
    for split in dataset.splits.names
  }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("packed", [False, True])
def test_files_equal_tfds(name, packed, no_files, tmp_path, monkeypatch):
  expected = examples_of(name)
  official_files.write(tmp_path / name, name)
  if packed:
    for path in [*tmp_path.rglob("*")]:
      if path.is_file() and path.suffix != ".gz":
        path.with_name(f"{path.name}.gz").write_bytes(
          gzip.compress(path.read_bytes())
        )
        path.unlink()
  monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path))
  monkeypatch.setattr("tensorflow_datasets.load", None)
  assert datasets.DATASETS[name].files.exist()
  assert examples_of(name) == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_unpacked_archive_is_found(name, tmp_path, monkeypatch):
  files = datasets.DATASETS[name].files
  places = itertools.product((files.folder, *files.also), ("", *files.inside))
  for i, place in enumerate(places):
    root = (tmp_path / str(i)).joinpath(*place)
    monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path / str(i)))
    assert not files.exist()
    official_files.write(root, name)
    for split in files.names:
      assert files.find(split).is_relative_to(root)
      assert files.rows(split)
