"""The page: one sound file, readable on a phone, in the dark and on paper."""

import pathlib
import re

import pytest
from markupsafe import Markup
from report_pages import Checker

from mpt_jax.report import page

STYLE = pathlib.Path(page.__file__).parent / "templates" / "style.css"


def make(**changes):
  sections = [page.Section(f"S{i} <x>", Markup("<p>in</p>")) for i in range(3)]
  part = page.Part("run & co", sections, "a <lead>", ["a <note>"])
  return page.make_page("A <title>", [part], **changes)


def test_the_page_is_one_sound_file():
  made = make()
  checker = Checker(made)
  assert made.startswith("<!doctype html>")
  assert "script" not in checker.tags and "link" not in checker.tags
  assert "img" not in checker.tags
  # Nothing comes from elsewhere, and a browser would refuse it.
  assert "//" not in re.sub(r"<!doctype.*?>|/\*.*?\*/", "", made)
  assert "@import" not in made and "url(" not in made
  assert "default-src 'none'; style-src 'unsafe-inline'" in made
  assert [i for i in checker.links if not i.startswith("#")] == []
  assert {i[1:] for i in checker.links} == set(checker.ids)
  assert len(checker.ids) == 3


def test_texts_are_escaped():
  made = make()
  for text in ("A &lt;title&gt;", "S1 &lt;x&gt;", "run &amp; co"):
    assert text in made
  for text in ("a &lt;lead&gt;", "a &lt;note&gt;", "<p>in</p>"):
    assert text in made
  assert "<x>" not in made


def test_an_unknown_name_in_a_template_is_an_error():
  with pytest.raises(Exception, match="'after' is undefined"):
    page.fill("figures.html", before=(), groups=())


def rules(css, start):
  """The rules within an @media block."""
  begin = css.index("{", css.index(start)) + 1
  depth, end = 1, begin
  while depth:
    depth += {"{": 1, "}": -1}.get(css[end], 0)
    end += 1
  return " ".join(css[begin : end - 1].split())


def test_the_style_is_for_phones_the_dark_and_paper():
  css = STYLE.read_text()
  made = make()
  assert css.strip() in made
  assert '<meta name="viewport" content="width=device-width' in made
  # The first column stays while the others scroll.
  assert re.search(r"tr > :first-child \{[^}]*position: sticky; left: 0", css)
  assert re.search(r"\.scroll \{[^}]*overflow-x: auto", css)
  assert "@media (max-width: 36rem)" in css
  dark = rules(css, "@media screen and (prefers-color-scheme: dark)")
  light = css[css.index(":root") : css.index("}")]
  for name in re.findall(r"(--[\w-]+):", dark):
    assert f"{name}:" in light
  # Paper is light: colours stay, tables are whole, headings are not alone.
  paper = rules(css, "@media print")
  assert "print-color-adjust: exact" in paper
  assert ".scroll { overflow: visible; }" in paper
  assert re.search(r"h1, h2, h3, h4[^}]*\{ break-after: avoid; \}", paper)
  assert re.search(r"tr, [^}]*figure[^}]*\{ break-inside: avoid; \}", paper)
  assert "nav { display: none; }" in paper
  assert "--page: #fff" in paper


def test_every_colour_of_a_chart_is_in_the_style():
  from mpt_jax.report import svg

  css = STYLE.read_text()
  for variable in svg._VARIABLES.values():
    # Once in the light and once in the dark; the page itself on paper too.
    assert css.count(f"{variable}:") >= 2, variable
