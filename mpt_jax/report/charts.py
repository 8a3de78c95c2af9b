"""The kinds of charts: dots with intervals, bars, curves, points."""

import dataclasses
import math
from collections.abc import Sequence

from markupsafe import Markup

from mpt_jax.report.svg import (
  GRID,
  INK,
  MUTED,
  PAGE,
  color_of,
  draw_svg,
  text_height,
  text_width,
  wrapped,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A line of `dots` or `bars`.

  Attributes:
    name: its name.
    color: a number of the palette.
    value: the mean, or the bar's length.
    interval: its ends, or None.
    draws: the values of single draws.
    text: what stands at the right end.
    is_plain: the axis need not reach so far; an arrow shows where it is.
  """

  name: str
  color: int
  value: float
  interval: tuple[float, float] | None = None
  draws: Sequence[float] = ()
  text: str = ""
  is_plain: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """A curve of `lines`, or a point of `points`.

  Attributes:
    name: its name at its end; "" for none.
    color: a number of the palette, None for a muted line.
    xs: positions.
    ys: values.
    band: (lower, upper) ends at each position, or None.
    thin: one of many lines behind the others.
    dashed: it does not depend on x.
    is_plain: see `Row`.
  """

  name: str
  color: int | None
  xs: Sequence[float]
  ys: Sequence[float]
  band: tuple[Sequence[float], Sequence[float]] | None = None
  thin: bool = False
  dashed: bool = False
  is_plain: bool = False


def _limits(values, plain) -> tuple[float, float]:
  """The ends of an axis that shows all values, and plain ones if near.

  Args:
    values: what must be within.
    plain: lists of values, of which the first decides whether they are near.

  >>> _limits([60.0, 70.0], [[50.0], [10.0, 55.0]])
  (48.8, 71.2)
  """
  low, high = min(values), max(values)
  span = (high - low) or 1.0
  near = [
    x for own in plain if low - span <= own[0] <= high + span for x in own
  ]
  low, high = min([low, *near]), max([high, *near])
  edge = 0.06 * ((high - low) or 1.0)
  return low - edge, high + edge


def _rows(rows, label, xlabel, paint) -> Markup:
  """Draws named rows below each other.

  Args:
    rows: the rows, the first one on top.
    label: see `svg.draw_svg`.
    xlabel: what the axis shows.
    paint: draws one row: paint(axes, position, row).
  """
  shown = [wrapped(row.name, 17) for row in rows]
  heights = [text_height(text) + 5 for text in shown]
  left = max(map(text_width, shown)) + 8
  right = max(text_width(row.text) for row in rows) + 10
  places, at = [], 0.0
  for height in heights:
    places.append(at + height / 2)
    at += height

  def draw(axes):
    for place, row in zip(places, rows, strict=True):
      axes.axhline(place, color=GRID, linewidth=0.6, zorder=0.5)
      paint(axes, place, row)
      axes.annotate(
        row.text,
        (1.0, place),
        xycoords=axes.get_yaxis_transform(),
        xytext=(6, 0),
        textcoords="offset points",
        verticalalignment="center",
      )
    axes.set_yticks(places, shown)
    for text in axes.get_yticklabels():
      text.set_color(INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(at, 0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(xlabel)

  return draw_svg(draw, label, at + 36, (left, right, 32, 4))


def dots(
  rows: Sequence[Row], label: str, xlabel: str, zero: bool = False
) -> Markup:
  """Draws a dot for each draw, a large one for the mean, and the interval.

  Args:
    rows: the rows.
    label: see `svg.draw_svg`.
    xlabel: what the axis shows.
    zero: mark zero, for differences.
  """
  each = [r for r in rows if not r.is_plain] or rows
  values = [x for r in each for x in (r.value, *(r.interval or ()), *r.draws)]
  plain = [(r.value, *(r.interval or ())) for r in rows if r.is_plain]
  low, high = _limits(values + [0.0] * zero, plain)

  def paint(axes, place, row):
    color = color_of(row.color)
    axes.set_xlim(low, high)
    if zero:
      axes.axvline(0, color=MUTED, linewidth=0.8)
    if not low <= row.value <= high:
      marker, at = ("<", low) if row.value < low else (">", high)
      axes.plot([at], [place], marker, color=color, markersize=5, clip_on=False)
      return
    if len(row.draws) > 1:
      axes.scatter(
        row.draws, [place] * len(row.draws), s=11, color=color, alpha=0.45,
        linewidths=0,
      )  # fmt: skip
    if row.interval is not None:
      axes.plot(row.interval, [place, place], color=color, linewidth=2)
    axes.scatter(
      [row.value], [place], s=32, color=color, edgecolors=PAGE, linewidths=1,
      zorder=3,
    )  # fmt: skip

  return _rows(rows, label, xlabel, paint)


def bars(rows: Sequence[Row], label: str, xlabel: str) -> Markup:
  """Draws a bar from zero for each row, with its interval."""

  def paint(axes, place, row):
    axes.barh(place, row.value, height=9, color=color_of(row.color))
    if row.interval is not None:
      axes.plot(row.interval, [place, place], color=INK, linewidth=1.2)
    axes.axvline(0, color=MUTED, linewidth=0.8)

  return _rows(rows, label, xlabel, paint)


def _spread(wanted: Sequence[float], heights, low, high) -> list[float]:
  """Moves labels apart, in their order, and keeps them within bounds.

  Args:
    wanted: the middle of each label.
    heights: of each label.
    low: lower bound of all labels.
    high: upper bound.

  >>> _spread([1.0, 1.0, 5.0], [2.0, 2.0, 2.0], 0.0, 10.0)
  [1.0, 3.0, 5.0]
  >>> _spread([9.0, 9.5], [2.0, 2.0], 0.0, 10.0)
  [7.0, 9.0]
  """
  order = sorted(range(len(wanted)), key=lambda i: wanted[i])
  places = list(wanted)
  floor = low
  for i in order:
    places[i] = max(places[i], floor + heights[i] / 2)
    floor = places[i] + heights[i] / 2
  ceiling = high
  for i in reversed(order):
    places[i] = min(places[i], ceiling - heights[i] / 2)
    ceiling = places[i] - heights[i] / 2
  return places


def lines(
  curves: Sequence[Line], label: str, xlabel: str, ylabel: str, ticks=None
) -> Markup:
  """Draws curves with their names at their right ends.

  Args:
    curves: the curves.
    label: see `svg.draw_svg`.
    xlabel: what x is.
    ylabel: what y is.
    ticks: {position: text} of x, or None.
  """
  named = [curve for curve in curves if curve.name and len(curve.xs)]
  shown = [wrapped(curve.name, 16) for curve in named]
  height = max(150, sum(map(text_height, shown)) + 45)
  right = max(map(text_width, shown), default=0) + 14
  margins = (40, right, 32, 8)
  each = [c for c in curves if not c.is_plain] or curves
  values = [y for c in each for ys in (c.ys, *(c.band or ())) for y in ys]
  plain = [[y] for c in curves if c.is_plain for y in c.ys]

  def draw(axes):
    axes.set_ylim(*_limits(values, plain))
    for curve in curves:
      _draw_line(axes, curve)
    axes.grid(axis="y")
    axes.margins(x=0.03)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.locator_params(axis="y", nbins=5)
    steps = {x for curve in curves for x in curve.xs}
    if ticks is None and len(steps) == 1:
      axes.set_xticks(list(steps))
    elif ticks is None:
      axes.locator_params(axis="x", nbins=5, integer=True)
    else:
      axes.set_xticks(list(ticks), list(ticks.values()))
    _name_ends(axes, named, shown, height - margins[2] - margins[3])

  return draw_svg(draw, label, height, margins)


def _draw_line(axes, curve):
  color = color_of(curve.color)
  # A single value is a point, and a line would not show it.
  marker = "o" if len(curve.xs) == 1 else None
  style = dict(
    color=color,
    linewidth=0.7 if curve.thin else 1.8,
    alpha=0.4 if curve.thin else 1.0,
    linestyle="--" if curve.dashed else "-",
    markersize=3,
  )
  if curve.band is not None:
    axes.fill_between(
      curve.xs, *curve.band, color=color, alpha=0.14, linewidth=0
    )
  axes.plot(curve.xs, curve.ys, marker=marker, **style)


def _name_ends(axes, named, shown, points):
  """Writes the name of each curve beside its end, without overlaps.

  Args:
    axes: the axes.
    named: the curves.
    shown: their names.
    points: the height of the axes, in points.
  """
  low, high = axes.get_ylim()
  unit = (high - low) / points
  ends = [curve.ys[-1] for curve in named]
  places = _spread(
    [min(max(y, low), high) for y in ends],
    [unit * text_height(text) for text in shown],
    low - 4 * unit,
    high + 4 * unit,
  )
  for curve, text, place, end in zip(named, shown, places, ends, strict=True):
    if not low <= end <= high:
      text += " ↓" if end < low else " ↑"
    axes.annotate(
      text,
      (1.0, place),
      xycoords=("axes fraction", "data"),
      xytext=(5, 0),
      textcoords="offset points",
      verticalalignment="center",
      color=color_of(curve.color),
      annotation_clip=False,
    )


def _log_ticks(values) -> list[float]:
  """Values that have room for their texts on a logarithmic axis.

  >>> _log_ticks([100, 101, 1000, 9000, 10000])
  [100, 1000, 10000]
  """
  found = sorted(set(values))
  room = 0.3 * math.log(found[-1] / found[0])
  made = found[:1]
  for x in found[1:-1]:
    if min(math.log(x / made[-1]), math.log(found[-1] / x)) >= room:
      made.append(x)
  return made + found[1:][-1:]


def points(
  found: Sequence[Line], label: str, xlabel: str, ylabel: str
) -> Markup:
  """Draws a named point for each `Line`, over a logarithmic x."""
  shown = [wrapped(point.name, 16) for point in found]
  right = max(map(text_width, shown)) + 14
  margins, height = (
    (40, right, 32, 8),
    max(170, sum(map(text_height, shown)) + 45),
  )
  # matplotlib would write powers of ten as formulas.
  ticks = _log_ticks([point.xs[0] for point in found])

  def draw(axes):
    axes.set_xscale("log")
    axes.margins(x=0.15, y=0.15)
    for point in found:
      color = color_of(point.color)
      if point.band is not None:
        ends = [point.band[0][0], point.band[1][0]]
        axes.plot([point.xs[0]] * 2, ends, color=color, linewidth=1.5)
      axes.scatter(point.xs, point.ys, s=34, color=color, zorder=3)
    axes.grid(axis="y")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.locator_params(axis="y", nbins=5)
    _name_ends(axes, found, shown, height - margins[2] - margins[3])

  return draw_svg(draw, label, height, margins)
