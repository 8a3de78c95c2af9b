"""What charts show: positions, names and texts."""

import re

import pytest
from report_pages import charts as parsed
from report_pages import texts

from mpt_jax.report import charts
from mpt_jax.report.charts import Line, Row


def test_dots_have_names_and_values():
  rows = [
    Row(name="MPT", color=0, value=70.0, draws=[69.0, 71.0], text="70.0"),
    Row(name="SPoT", color=1, value=60.0, interval=(55.0, 65.0), text="60.0"),
  ]
  (chart,) = parsed(charts.dots(rows, "label", "accuracy, %"))
  found = texts(chart)
  for text in ("MPT", "SPoT", "70.0", "60.0", "accuracy, %"):
    assert text in found
  xml = chart.toxml()
  # Two draws and a mean, and a mean with its interval.
  uses = re.findall(r"<use [^>]*fill: var\(--c0\)", xml)
  assert len(uses) == 3
  assert len(re.findall(r"<use [^>]*fill: var\(--c1\)", xml)) == 1


def test_plain_values_far_away_are_arrows():
  rows = [
    Row(name="MPT", color=0, value=70.0, interval=(68.0, 72.0)),
    Row(name="majority", color=1, value=10.0, is_plain=True),
  ]
  (chart,) = parsed(charts.dots(rows, "label", "x"))
  ticks = [float(t) for t in texts(chart) if re.fullmatch(r"[\d.]+", t)]
  assert min(ticks) > 60
  rows[1] = Row(name="majority", color=1, value=66.0, is_plain=True)
  (chart,) = parsed(charts.dots(rows, "label", "x"))
  ticks = [float(t) for t in texts(chart) if re.fullmatch(r"[\d.]+", t)]
  assert min(ticks) <= 67


def test_long_names_are_broken_and_stay_whole():
  row = Row(name="a long name of a method", color=0, value=-1.0, text="-1")
  (chart,) = parsed(charts.bars([row], "label", "points"))
  assert "a long name of a" in " ".join(texts(chart))
  assert "method" in texts(chart)


def test_curves_have_their_names_at_their_ends():
  curves = [
    Line(name="one", color=0, xs=[1, 2], ys=[1.0, 3.0]),
    Line(name="two", color=1, xs=[1, 2], ys=[1.0, 3.0], band=([0, 2], [2, 4])),
    Line(name="", color=None, xs=[1, 2], ys=[0.0, 1.0], thin=True),
  ]
  (chart,) = parsed(charts.lines(curves, "label", "step", "loss"))
  found = texts(chart)
  assert found.count("one") == found.count("two") == 1
  # Both end at one point, so their names are moved apart.
  heights = {
    node.firstChild.data: float(
      re.search(r"(?:translate\(\S+ |y=\")([\d.]+)", node.toxml())[1]
    )
    for node in chart.getElementsByTagName("text")
    if node.firstChild.data in ("one", "two")
  }
  assert abs(heights["one"] - heights["two"]) > 8


def test_a_single_step_is_a_point_at_its_step():
  curve = Line(name="a", color=0, xs=[8], ys=[2.0])
  (chart,) = parsed(charts.lines([curve], "label", "step", "loss"))
  assert "8" in texts(chart) and "7.8" not in texts(chart)


def test_positions_may_have_texts():
  curve = Line(name="a", color=0, xs=[0, 1], ys=[2.0, 3.0])
  made = charts.lines([curve], "label", "k", "y", {0: "16", 1: "all"})
  assert {"16", "all"} <= set(texts(parsed(made)[0]))


def test_points_over_a_logarithmic_axis():
  found = [
    Line(name="MPT", color=0, xs=[77_668], ys=[80.0]),
    Line(name="DePT", color=1, xs=[76_800], ys=[70.0], band=([60], [80])),
    Line(name="all", color=2, xs=[220_000_000], ys=[90.0]),
  ]
  (chart,) = parsed(charts.points(found, "label", "parameters", "score"))
  shown = texts(chart)
  assert {"76,800", "220,000,000", "MPT", "DePT", "all"} <= set(shown)
  assert "77,668" not in shown  # There is no room for it.


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0]])
def test_equal_values_have_an_axis(values):
  low, high = charts._limits(values, [])
  assert low < 5.0 < high
