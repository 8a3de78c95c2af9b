"""The material in one file, and the texts that it holds."""

import dataclasses

import pytest

from mpt_jax.tasks.pretraining.packed import material as materials


@pytest.fixture
def small():
  def source(name, **texts):
    return {"name": name, "texts": texts}

  return materials.Material(
    labelled=[
      source("r8", oil=["oil 1", "oil 2"], trade=["trade 1"]),
      # These repeat texts of other fields.
      source("news_section", sports=["article"]),
    ],
    synsets=[["noun", 3, ["a", "b"], "gloss", ["an a", "no b"], {}, []]],
    definitions=[["law", "law", "a rule"], ["thing", "", "it is"]],
    computing=[["actor", "web", "an object"]],
    spellings=[["teh", "the"]],
    paragraphs=[["ca01", ["One.", "Two."]]],
    articles=[["Title", "text"]],
    descriptions=[["Short", "long"]],
    choices=[["Fog?", ["sea", "sand"], 0]],
    plain=["Zoë ran."],
  )


RUNNING = [
  *("oil 1", "oil 2", "trade 1"),
  *("law (law): a rule", "thing: it is"),
  "actor (web): an object",
  "a, b: gloss; an a; no b",
  "One. Two.",
  "Title. text",
  "Short. long",
  "Zoë ran.",
]


def test_running_texts_by_hand(small):
  assert list(materials.running_texts(small)) == RUNNING


def test_all_texts_by_hand(small):
  assert list(materials.all_texts(small)) == [
    *RUNNING,
    *("oil 1", "oil 2", "trade 1", "article"),
    "Fog? sea sand",
  ]


def test_a_file_is_read_as_it_was_written(small, tmp_path):
  path = materials.save(small, tmp_path / "deep" / "material.json.xz")
  assert materials.load(path) == small
  assert [p.name for p in path.parent.iterdir()] == ["material.json.xz"]


def test_a_file_that_is_no_material(small, tmp_path):
  path = tmp_path / "material.json.xz"
  path.write_bytes(b"not xz")
  with pytest.raises(ValueError, match=r"material\.json\.xz cannot be read"):
    materials.load(path)
  # A field that this version does not know.
  more = dataclasses.make_dataclass(
    "More", [("other", list, None)], bases=(materials.Material,), kw_only=True
  )
  materials.save(more(**vars(small), other=[]), path)
  with pytest.raises(ValueError, match="cannot be read .*'other'"):
    materials.load(path)
