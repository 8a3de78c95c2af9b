"""Learning curves, and the steps until a method has most of its gain."""

from collections.abc import Sequence

import numpy as np

from mpt_jax.report import charts, names, page
from mpt_jax.report.material import Curve, Training
from mpt_jax.report.sections import tables
from mpt_jax.report.svg import Figure

SHARE = 0.95
# Most curves of slots that have their own names on a chart.
MOST_NAMED = 8
# Most curves whose ends are told below a chart.
MOST_TOLD = 3


def learning_curves(trainings: Sequence[Training]) -> page.Section | None:
  """Curves of loss and score for each run; None without any."""
  groups = [
    {"title": one.name if len(trainings) > 1 else "", "figures": found}
    for one in trainings
    if (found := _figures(one))
  ]
  if not groups:
    return None
  before = [
    "The loss is on training batches; the score is on the examples that a run"
    " is evaluated on while it trains."
  ]
  if any(one.losses and not _names_all(one.losses) for one in trainings):
    before.append("Thin lines are single prompts.")
  body = page.fill(
    "figures.html",
    before=[" ".join(before)],
    groups=groups,
    after=(),
  )
  return page.Section("Learning curves", body)


def curves_together(trainings: Sequence[Training]) -> page.Section | None:
  """The mean curves of several runs on one chart; None without any."""
  figures = []
  for name in ("loss", "score"):
    curves = [
      _line(
        one.name, i % names.NUM_COLORS, getattr(one, name), _scale(one, name)
      )
      for i, one in enumerate(trainings)
      if getattr(one, name).points
    ]
    if curves:
      metrics = dict.fromkeys(one.metric for one in trainings)
      title = "Training loss" if name == "loss" else _capital(*metrics)
      figures.append(_figure(curves, title))
  if not figures:
    return None
  body = page.fill(
    "figures.html",
    before=(),
    groups=[{"title": "", "figures": figures}],
    after=(),
  )
  return page.Section("Learning curves together", body)


def _capital(*metrics) -> str:
  return ", ".join(metrics).replace("_", " ").capitalize()


def _scale(training, name) -> float:
  return 100.0 if name == "score" and training.digits == 1 else 1.0


def mean_curve(curves: Sequence[Curve], name="", method="") -> Curve:
  """The mean of curves at the steps that all of them have.

  >>> a = Curve(name="a", method="", points=((1, 2.0), (2, 4.0)))
  >>> b = Curve(name="b", method="", points=((2, 8.0), (3, 1.0)))
  >>> mean_curve([a, b]).points
  ((2, 6.0),)
  """
  found = [dict(curve.points) for curve in curves]
  steps = sorted(set.intersection(*(set(points) for points in found)))
  points = tuple((s, float(np.mean([p[s] for p in found]))) for s in steps)
  return Curve(name=name, method=method, points=points)


def by_method(curves: Sequence[Curve]) -> dict[str, Curve]:
  """The mean curve of each method; {} if the slots have no methods."""
  groups = {}
  for curve in curves:
    groups.setdefault(curve.method, []).append(curve)
  if not any(groups):
    return {}
  return {
    method: mean_curve(groups[method], names.title(method), method)
    for method in names.ordered(groups)
  }


def _names_all(curves: Sequence[Curve]) -> bool:
  return 1 < len(curves) <= MOST_NAMED and not by_method(curves)


def _named(mean: Curve, curves: Sequence[Curve]) -> list[Curve]:
  """The curves that have a name: of methods, of slots, or the mean."""
  methods = by_method(curves)
  if methods:
    return [c for c in methods.values() if c.points][: names.NUM_COLORS]
  if _names_all(curves):
    return list(curves)
  return [mean] if mean.points else []


def _line(name, color, curve: Curve, scale, thin=False) -> charts.Line:
  return charts.Line(
    name="" if thin else name,
    color=color,
    xs=[step for step, _ in curve.points],
    ys=[scale * value for _, value in curve.points],
    thin=thin,
  )


def _figures(training: Training) -> list[Figure]:
  figures = []
  for name, mean, slots in (
    ("loss", training.loss, training.losses),
    ("score", training.score, training.scores),
  ):
    named = _named(mean, slots)
    if not named:
      continue
    # Methods have their own colours, and slots take turns.
    keys = [curve.method or curve.name for curve in named]
    colors = names.colors(keys)
    if named == [mean]:
      colors = {mean.name: 0}
    scale = _scale(training, name)
    lines = []
    if list(named) != list(slots):
      lines = [
        _line("", colors.get(curve.method), curve, scale, thin=True)
        for curve in slots
      ]
    lines += [
      _line(curve.name, colors[key], curve, scale)
      for key, curve in zip(keys, named, strict=True)
    ]
    title = "Training loss" if name == "loss" else _capital(training.metric)
    figures.append(_figure(lines, title))
  return figures


def _figure(lines, title) -> Figure:
  told = "; ".join(_ends(line) for line in lines if line.name)
  svg = charts.lines(
    lines, f"Line chart: {title} by step: {told}.", "step", title
  )
  is_short = sum(bool(line.name) for line in lines) <= MOST_TOLD
  return Figure(svg, title, f"{told}." if is_short else "")


def _ends(line) -> str:
  ends = [
    f"{y:.3g} (step {x:,})" for x, y in zip(line.xs, line.ys, strict=True)
  ]
  return f"{line.name} " + " to ".join(dict.fromkeys((ends[0], ends[-1])))


# ----------------------------------------------------------------- the gain


def steps_to_gain(points, share: float = SHARE) -> int | None:
  """The first step at which a curve has a share of its final gain.

  The gain is counted from the first evaluation to the last one.

  Args:
    points: (step, score) pairs.
    share: of the gain, in 0..1.

  Returns:
    The step, None if the last score is not above the first.

  >>> steps_to_gain([(10, 0.5), (20, 0.7), (30, 0.89), (40, 0.9)])
  30
  >>> steps_to_gain([(10, 0.5), (20, 0.4)]) is None
  True
  """
  if len(points) < 2:
    return None
  start, end = points[0][1], points[-1][1]
  if end <= start:
    return None
  # Rounding must not hide the last step itself.
  due = min(end, start + share * (end - start))
  return next(step for step, value in points if value >= due)


def gains(trainings: Sequence[Training]) -> page.Section | None:
  """A table of the steps until each method has 95 % of its final gain."""
  rows = []
  for one in trainings:
    named = _named(one.score, one.scores)
    for curve in named:
      if len(curve.points) < 3:
        continue
      step = steps_to_gain(curve.points)
      scale = _scale(one, "score")
      first, last = (scale * curve.points[i][1] for i in (0, -1))
      rows.append(
        (
          curve.name,
          tables.MISSING if step is None else f"{step:,}",
          f"{last - first:+.{one.digits}f}".replace("-", "−"),
          f"{first:.{one.digits}f} (step {curve.points[0][0]:,})",
          f"{last:.{one.digits}f} (step {curve.points[-1][0]:,})",
          *([one.name] if len(trainings) > 1 else []),
        )
      )
  if not rows:
    return None
  heads = ["curve", "steps", "gain", "first score", "last score"]
  heads += ["run"] if len(trainings) > 1 else []
  table = tables.plain_table(
    f"Steps until {SHARE:.0%} of the final gain".replace("%", " %"), heads, rows
  )
  after = ["The gain is counted from the first evaluation to the last one."]
  if any(row[1] == tables.MISSING for row in rows):
    after.append(
      f"{tables.MISSING}: the last score is not above the first one."
    )
  body = page.fill("table.html", before=(), tables=[table], after=after)
  return page.Section("Speed of learning", body)
