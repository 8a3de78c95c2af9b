"""Vocabularies of T5's folders: ids equal to seqio's and Hugging Face's."""

import json
import pathlib
import shutil

import pytest
from odd_texts import make_texts
from tokenizer_folders import write_spiece

from mpt_jax.text import unigram, vocabularies, vocabulary_files
from mpt_jax.text.vocabularies import Tokenizer

REASON = "Hugging Face's side needs transformers (the test extra)"


@pytest.fixture(scope="module", params=["t5", "mt5"])
def spiece(request, tmp_path_factory):
  return write_spiece(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_CACHE_DIR", str(tmp_path / "cache"))
  return tmp_path / "cache"


@pytest.fixture(scope="module")
def tokenizer_folder(spiece, tmp_path_factory):
  """A folder as transformers saves it, with tokenizer.json alone."""
  transformers = pytest.importorskip("transformers", reason=REASON)
  source = tmp_path_factory.mktemp("source")
  shutil.copy(spiece, source / "spiece.model")
  extra_ids = 0 if spiece.parent.name.startswith("mt5") else 100
  settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": extra_ids}
  (source / "tokenizer_config.json").write_text(json.dumps(settings))
  folder = tmp_path_factory.mktemp("saved")
  tokenizer = transformers.AutoTokenizer.from_pretrained(source)
  tokenizer.save_pretrained(folder)
  (folder / "spiece.model").unlink(missing_ok=True)
  assert (folder / "tokenizer.json").is_file()
  return folder


def test_tokenizer_json_has_the_same_ids(spiece, tokenizer_folder, cache):
  tokenizers = pytest.importorskip("tokenizers", reason=REASON)
  theirs = tokenizers.Tokenizer.from_file(
    str(tokenizer_folder / "tokenizer.json")
  )
  path = vocabulary_files.find_vocabulary(tokenizer_folder, {})
  assert pathlib.Path(path).parent == cache
  ours, original = Tokenizer(path), Tokenizer(spiece)
  seqio = vocabularies.seqio_vocabulary(path)
  texts = [*make_texts(), "one <extra_id_0> two <extra_id_1>"]
  for text in texts:
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False).ids, text
    assert ids == original.encode(text) == list(seqio.encode(text)), text
    assert ours.decode(ids) == original.decode(ids) == seqio.decode(ids)
  # The texts are not trivial: most ids occur.
  assert len({i for text in texts for i in ours.encode(text)}) > 80
  size, _ = vocabularies.vocabulary_size(path)
  assert size == seqio.vocab_size == vocabularies.vocabulary_size(spiece)[0]
  assert size == theirs.get_vocab_size()


def test_sentinels(spiece, tokenizer_folder, cache):
  made = vocabulary_files.find_vocabulary(tokenizer_folder, {})
  size, extra_ids = vocabularies.vocabulary_size(spiece)
  own = spiece.parent.name.startswith("mt5")
  assert extra_ids == (0 if own else 100)
  for path in (spiece, made):
    ours, seqio = Tokenizer(path), vocabularies.seqio_vocabulary(path)
    for number in (0, 1, 99):
      ids = ours.encode(f"<extra_id_{number}>")
      assert ids == list(seqio.encode(f"<extra_id_{number}>"))
      assert len(ids) == 1
      if not own:
        # They follow the pieces, from the hundredth down to the first.
        assert ids == [size - 1 - number]


def test_model_is_made_once(tokenizer_folder, cache, monkeypatch):
  path = vocabulary_files.find_vocabulary(tokenizer_folder, {})
  monkeypatch.setattr(unigram, "sentencepiece_model", None)
  assert vocabulary_files.find_vocabulary(tokenizer_folder, {}) == path
  name = pathlib.Path(path).name
  assert {p.name for p in cache.iterdir()} == {name, f"{name}.sha256"}


def test_which_file_counts(spiece, tokenizer_folder, tmp_path, cache):
  shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)
  shutil.copy(spiece, tmp_path / "spiece.model")
  found = vocabulary_files.find_vocabulary(tmp_path, {})
  assert found == str(tmp_path / "spiece.model") and not cache.exists()
  # Without a Hugging Face config there is no guessing.
  (tmp_path / "spiece.model").unlink()
  assert vocabulary_files.find_vocabulary(tmp_path) is None


def test_number_of_sentinels_of_the_tokenizer_config(spiece, tmp_path, cache):
  shutil.copy(spiece, tmp_path / "spiece.model")
  settings = tmp_path / "tokenizer_config.json"

  def found(extra_ids):
    settings.write_text(json.dumps({"extra_ids": extra_ids}))
    return vocabulary_files.find_vocabulary(tmp_path, {})

  unchanged = str(tmp_path / "spiece.model")
  assert found(100) == found(None) == unchanged
  own = spiece.parent.name.startswith("mt5")
  assert (found(0) == unchanged) == own
  path = found(7)
  assert (path == unchanged) == own
  if own:
    return
  pieces = vocabularies.vocabulary_size(spiece)[0] - 100
  assert vocabularies.vocabulary_size(path)[0] == pieces + 7
  text = "one <extra_id_0> two <extra_id_6>"
  ids = Tokenizer(path).encode(text)
  # They follow the pieces, from the last down to the first.
  assert [i for i in ids if i >= pieces] == [pieces + 6, pieces]
  assert ids == list(vocabularies.seqio_vocabulary(path).encode(text))
  transformers = pytest.importorskip("transformers", reason=REASON)
  settings.write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 7}')
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  assert theirs.encode(text, add_special_tokens=False) == ids
  with pytest.raises(ValueError, match="extra_ids must be a number"):
    found("seven")
  # There are no sentinels, or only those that the settings name.
  named = {"additional_special_tokens": ["<extra_id_0>"], "extra_ids": 0}
  settings.write_text(json.dumps(named))
  assert vocabulary_files.find_vocabulary(tmp_path, {}) == unchanged
  settings.write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
  path = vocabulary_files.find_vocabulary(tmp_path, {})
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
  folder = tmp_path / "saved"
  theirs.save_pretrained(folder)
  (folder / "spiece.model").unlink(missing_ok=True)
  made = vocabulary_files.find_vocabulary(folder, {})
  for model in (path, made):
    assert vocabularies.vocabulary_size(model) == (pieces, 0)
    assert vocabularies.seqio_vocabulary(model).vocab_size == pieces
    ids = Tokenizer(model).encode(text)
    assert theirs.encode(text, add_special_tokens=False) == ids
    assert ids == list(vocabularies.seqio_vocabulary(model).encode(text))


@pytest.mark.parametrize(
  "where", [{"tokenizer_class": "ByT5Tokenizer"}, {"model_type": "t5"}]
)
def test_byte_tokenizer_is_found_by_its_class(where, tmp_path):
  (tmp_path / "tokenizer_config.json").write_text(
    json.dumps(
      {} if "tokenizer_class" in where else {"tokenizer_class": "T5Tokenizer"}
    )
  )
  found = vocabulary_files.find_vocabulary(tmp_path, where)
  assert (found == str(vocabularies.BYTES_PATH)) == ("tokenizer_class" in where)


def test_no_file(tmp_path):
  with pytest.raises(FileNotFoundError, match="no sentencepiece model at"):
    vocabularies.seqio_vocabulary(tmp_path / "none.model")
  assert vocabulary_files.find_vocabulary(tmp_path, {}) is None
