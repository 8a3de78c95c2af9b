"""The page: sections under headings, in the templates of this room."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jinja2
from markupsafe import Markup, escape

from mpt_jax.report import svg

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a page.

  Attributes:
    title: its heading.
    body: its content.
  """

  title: str
  body: Markup


@dataclasses.dataclass(frozen=True)
class Part:
  """Sections of one run.

  Attributes:
    title: the run's name; "" if the page is about this run alone.
    lead: what the run is.
    notes: what a reader must know first.
    sections: the sections.
  """

  title: str
  sections: Sequence[Section]
  lead: str = ""
  notes: Sequence[str] = ()


def soft(text: str) -> Markup:
  """Lets a browser break a name after an underscore.

  >>> soft("a_<b>")
  Markup('a_<wbr>&lt;b&gt;')
  """
  return Markup(escape(text).replace("_", Markup("_<wbr>")))


@functools.cache
def _environment() -> jinja2.Environment:
  made = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  made.filters["soft"] = soft
  return made


def fill(template: str, **values) -> Markup:
  """Fills a template; all texts in the values are escaped.

  Args:
    template: the name of a file in templates/.
    **values: what the template names.
  """
  return Markup(_environment().get_template(template).render(**values))


def make_page(title: str, parts: Sequence[Part]) -> str:
  """Returns the page: one HTML file without scripts and without a network.

  Args:
    title: the heading.
    parts: the runs.
  """
  page = fill(
    "page.html",
    title=title,
    parts=parts,
    style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
  )
  return svg.numbered(page)
