"""Charts as inline SVG, drawn by matplotlib in the colours of the page.

A chart is drawn in stand-in colours, and each is replaced by a variable of
templates/style.css. So a chart follows the reader's light or dark theme, and
its text has the page's font.
"""

import dataclasses
import html
import io
import re
import textwrap
import warnings
from collections.abc import Callable

from markupsafe import Markup

from mpt_jax.report.names import NUM_COLORS

# Stand-ins; matplotlib writes colours as they are here.
INK, MUTED, GRID, PAGE = "#010101", "#010102", "#010103", "#010104"
_SERIES = tuple(f"#0101{16 + i:02x}" for i in range(NUM_COLORS))
_VARIABLES = {
  INK: "--ink",
  MUTED: "--muted",
  GRID: "--grid",
  PAGE: "--page",
  **{color: f"--c{i}" for i, color in enumerate(_SERIES)},
}
# Points. A phone is as wide as a chart, so its text is as large as the page's.
WIDTH, FONT = 252, 9
# The width of a letter and the height of a line, in multiples of the font's.
_LETTER, _LINE = 0.56, 1.25
# Characters that XML does not allow.
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclasses.dataclass(frozen=True)
class Figure:
  """A chart below its title, above its caption."""

  svg: Markup
  title: str = ""
  caption: str = ""


def draw_svg(draw: Callable, label: str, height: float, margins) -> Markup:
  """Makes an inline SVG.

  Args:
    draw: draws on the axes that it is given.
    label: what a reader who cannot see it is told.
    height: of the whole chart, in points.
    margins: left, right, bottom and top of the axes, in points.
  """
  import matplotlib
  from matplotlib.figure import Figure as Drawing

  settings = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mpt_jax",
    # A name may hold a dollar sign.
    "text.parse_math": False,
    "font.size": FONT,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
  }
  left, right, bottom, top = margins
  box = (
    left / WIDTH,
    bottom / height,
    (WIDTH - left - right) / WIDTH,
    (height - bottom - top) / height,
  )
  with matplotlib.rc_context(settings):
    drawing = Drawing(figsize=(WIDTH / 72, height / 72))
    draw(drawing.add_axes(box))
    buffer = io.StringIO()
    with warnings.catch_warnings():
      # The browser has the glyphs that matplotlib's font lacks.
      warnings.filterwarnings("ignore", "Glyph .* missing from font")
      drawing.savefig(buffer, format="svg", transparent=True)
  return _themed(buffer.getvalue(), label)


def _themed(svg: str, label: str) -> Markup:
  """Makes an SVG file part of a page."""
  svg, label = (_NO_XML.sub("", text) for text in (svg, label))
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  # This style would hold for the whole page, and style.css has it.
  svg = re.sub(r"<style type=.*?</style>", "", svg, flags=re.DOTALL)
  for color, variable in _VARIABLES.items():
    svg = svg.replace(color, f"var({variable})")
  view_box = re.search(r'viewBox="[^"]*"', svg)[0]
  opening = f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>'
  return Markup(opening + svg[svg.index(">") + 1 :].strip())


def numbered(page: str) -> str:
  """Makes the ids of a page's charts differ from chart to chart."""
  numbers = iter(range(1, len(page)))

  def rename(chart):
    number = next(numbers)
    new = rf"\g<1>f{number}-"
    return re.sub(
      r"<[^>]*>",
      lambda tag: re.sub(r'(\bid="|url\(#|href="#)', new, tag[0]),
      chart[0],
    )

  return re.sub(r"<svg .*?</svg>", rename, page, flags=re.DOTALL)


def text_width(text: str) -> float:
  return _LETTER * FONT * max(map(len, text.split("\n")), default=0)


def wrapped(name: str, most: int) -> str:
  return "\n".join(textwrap.wrap(name, most) or [""])


def color_of(number) -> str:
  return MUTED if number is None else _SERIES[number]


def text_height(text: str) -> float:
  return FONT * _LINE * (text.count("\n") + 1)
