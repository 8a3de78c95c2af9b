"""Debian's descriptions: apt's indices are joined, and kept in the cache."""

import pathlib

import pytest

from mpt_jax.tasks.public import debian, packages

PACKAGES = """\
Package: zeta
Source: zed (1.2)
Section: games
Description-md5: 11

Package: alpha
Description-md5: 22
Tag: a::b,
 c::d

Package: zeta
Section: later
Description-md5: 11

Package: bare
Section: utils
Description-md5: 99
"""
TRANSLATIONS = """\
Package: zeta
Description-md5: 11
Description-en: a game
 It has  levels.
 .
 And more: many.

Package: alpha
Description-md5: 22
Description-en: first
"""
ROWS = [
  {
    "package": "alpha",
    "source": "alpha",
    "section": "",
    "short": "first",
    "long": "",
  },
  {
    "package": "zeta",
    "source": "zed",
    "section": "games",
    "short": "a game",
    "long": "It has  levels.  And more: many.",
  },
]


@pytest.fixture
def apt(monkeypatch, tmp_path):
  """Replaces apt by one that answers from two small indices."""
  monkeypatch.setenv("MPT_CACHE_DIR", str(tmp_path / "cache"))
  made, calls = {"Packages": PACKAGES, "Translations": TRANSLATIONS}, []
  for kind, text in made.items():
    (tmp_path / kind).write_text(text)

  def run_client(command, folder, what, cache):
    calls.append(command)
    if "indextargets" in command:
      lines = [f"{kind} {tmp_path / kind}" for kind in made]
      lines += [f"Packages {tmp_path / 'missing'}", "Sources /x"]
      return "\n".join(lines).encode()
    if "cat-file" in command:
      return pathlib.Path(command[-1]).read_bytes()
    return b""

  monkeypatch.setattr(packages, "run_client", run_client)
  return made, calls


def test_indices_are_joined_once(apt):
  _, calls = apt
  assert debian.fetch_descriptions() == ROWS
  # Update, the list of indices, and one call for each index.
  assert len(calls) == 4
  assert debian.fetch_descriptions() == ROWS
  assert len(calls) == 4


def test_no_english_descriptions(apt):
  made, _ = apt
  del made["Translations"]
  with pytest.raises(packages.DataUnavailableError, match="no package index"):
    debian.fetch_descriptions()


def test_a_quarter_of_the_packages_is_held_out():
  held_out = sum(debian.is_held_out(f"package{i}") for i in range(4000))
  assert 0.22 < held_out / 4000 < 0.28
  # `printf vim | b2sum -l 64` begins with 12, and that of less with 4d. A
  # quarter of all bytes is below 40.
  assert debian.is_held_out("vim") and not debian.is_held_out("less")
