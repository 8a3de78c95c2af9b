"""The material of tiny packages: what is read, and what is kept out."""

import package_files
import pytest

from mpt_jax.tasks.pretraining.packed import gather, material, overlap, shards
from mpt_jax.tasks.public import sources
from mpt_jax.text import vocabularies


@pytest.fixture
def packages(monkeypatch, tmp_path):
  folder = tmp_path / "packages"
  folder.mkdir()
  package_files.provide_all(monkeypatch, folder)


def test_no_target_is_among_the_sources():
  assert not any(sources.SOURCES[name].held_out for name in gather.NAMES)


def test_every_field_of_the_material(packages):
  made = gather.gather()
  labelled = {source["name"]: source["texts"] for source in made.labelled}
  assert {*gather.NAMES} <= labelled.keys()
  # 500 of the 560 reviews are for tests, and 6 of the rest for validation.
  assert sum(map(len, labelled["rotten_tomatoes"].values())) == 54
  assert labelled["r8"] == {"earnings": ["Wire reuters-r8 train"]}
  assert labelled["news_section"]["sports"] == ["A day"]
  # An index of a synset in place of its key, and the opposite's word.
  kinds, hot, cold = {"kind": [0]}, ["hot", "cold"], ["cold", "hot"]
  assert made.synsets == [
    ["noun", 3, ["entity"], "that which is", [], {}, []],
    ["noun", 5, ["animal", "beast"], "a living thing", ["go"], kinds, []],
    ["adj", 0, ["hot"], "of a high heat", [], {"opposite": [3]}, [hot]],
    ["adj", 0, ["cold"], "of little heat", [], {"opposite": [2]}, [cold]],
  ]
  assert made.definitions == [["bark", "medicine", "Dried bark of trees."]]
  assert made.computing == [["actor", "programming", "In C, an object."]]
  # A wrong word with several right ones is no question.
  assert made.spellings == [["teh", "the"], ["rivver", "river"]]
  last = "It stayed there until the evening came at last."
  assert made.paragraphs == [["ca01", ["Fog came in.", last]]]
  assert [title for title, _ in made.articles] == ["A day", ""]
  # vim is held out: see test_debian.
  assert made.descriptions == [["a tool", "A small program for a test."]]
  assert made.choices == [["Fog?", ["sea", "sand"], 0]] * 4
  story, *dialogues = made.plain
  assert story == "A long story."
  assert [text.count("Ross: ") for text in dialogues] == [20, 5]
  assert dialogues[1].startswith("Ross: Line 20. Ross: Line 21.")


def test_texts_with_a_banned_run_are_left_out(packages):
  texts = (
    "It stayed there until the evening came at last.",
    "It rained today and nobody at all went out.",
    "Ross: Line 0. Ross: Line 1. Ross: Line 2.",
  )
  made = gather.gather({run for text in texts for run in overlap.runs(text)})
  assert made.paragraphs == [["ca01", ["Fog came in."]]]
  assert [title for title, _ in made.articles] == [""]
  assert [text[:13] for text in made.plain] == [
    "A long story.",
    "Ross: Line 20",
  ]


@pytest.mark.parametrize(
  ("row", "expected"),
  [
    (
      {
        "question": "Fog ?",
        "options": "A. the\n sea\nB. sand",
        "answer": "B. sand",
      },
      ["Fog ?", ["the sea", "sand"], 1],
    ),
    (
      {
        "passage": "It is wet.",
        "question": "Fog?",
        "options": " A. 1. a\n B. b\n C. c",
        "answer": "1. a",
      },
      ["It is wet. Fog?", ["1. a", "b", "c"], 0],
    ),
    # The answer is none of the options, or there is no choice.
    ({"question": "?", "options": "A. a\nB. b", "answer": "C. c"}, None),
    ({"question": "?", "options": "A. a", "answer": "A. a"}, None),
  ],
)
def test_choices_by_hand(row, expected):
  assert gather.parse_choice(row) == expected


def test_the_command_writes_a_data_folder(packages, monkeypatch, tmp_path):
  monkeypatch.setattr(overlap, "held_out_runs", set)
  model = vocabularies.default_vocabulary_path()
  folder = tmp_path / "data"
  command = ["--data", str(folder), "--vocabulary", str(model)]
  assert gather.main(command) == 0
  assert {path.name for path in folder.iterdir()} == {
    *(material.FILE, shards.PIECES, shards.VOCABULARY, "recipe.json"),
  }
  assert material.load(folder / material.FILE) == gather.gather()
  assert shards.ShardMaker(folder).recipe == shards.Recipe()
