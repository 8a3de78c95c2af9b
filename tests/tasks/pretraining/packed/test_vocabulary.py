"""The vocabulary of the tiny material."""

import json

import pytest
import sentencepiece

from mpt_jax.tasks.pretraining.packed import shards, vocabulary
from mpt_jax.text import vocabularies


@pytest.fixture(scope="module")
def folder(material, tmp_path_factory):
  folder = tmp_path_factory.mktemp("vocabulary")
  # 900 pieces and T5's 100 sentinels.
  vocabulary.write(material, folder, 1000)
  return folder


@pytest.fixture(scope="module")
def model(folder):
  path = str(folder / shards.VOCABULARY)
  return sentencepiece.SentencePieceProcessor(model_file=path)


def test_whole_words_are_those_of_the_material(material):
  words = vocabulary.whole_words(material)
  assert list(words) == sorted({*words})
  # Labels of the material, a field, a kind, a feeling, a genre and a synonym.
  expected = {"trade", "oil", "law", "artifact", "joy", "lore", "merger"}
  assert expected <= {*words}
  # "" is no field.
  assert "" not in words


def test_special_ids_are_those_of_t5(model):
  # Raffel et al.'s vocabulary: padding, end of sequence, unknown; no beginning.
  assert (model.pad_id(), model.eos_id(), model.unk_id()) == (0, 1, 2)
  assert model.bos_id() == -1
  assert model.get_piece_size() == 900


def test_further_words_are_kept_whole(tmp_path):
  corpus = tmp_path / "texts.txt"
  corpus.write_text("a river of stone and silver\n" * 50, encoding="utf-8")
  pieces = {}
  for words in ((), ("zyxwvut",)):
    path = tmp_path / f"{len(words)}.model"
    vocabulary.train_vocabulary(corpus, path, 260, words)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces[words] = model.encode("zyxwvut", out_type=str)
  assert pieces["zyxwvut",] == ["▁zyxwvut"] and len(pieces[()]) > 1


def test_nothing_but_the_model_and_its_pieces_is_left(folder, model):
  names = sorted(path.name for path in folder.iterdir())
  assert names == [shards.PIECES, shards.VOCABULARY]
  rows = json.loads((folder / shards.PIECES).read_text(encoding="utf-8"))
  # All but the three special ones.
  assert [i for _, i, _ in rows] == list(range(3, 900))
  assert rows[0][0] == model.id_to_piece(3)


def test_a_model_that_is_there_is_taken(material, tmp_path):
  default = vocabularies.default_vocabulary_path()
  vocabulary.write(material, tmp_path, 10, default)
  copied = tmp_path / shards.VOCABULARY
  assert copied.read_bytes() == default.read_bytes()
  assert (tmp_path / shards.PIECES).exists()
  # The folder's own model stays where it is.
  vocabulary.write(material, tmp_path, 10, copied)
  assert copied.read_bytes() == default.read_bytes()
