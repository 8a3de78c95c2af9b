"""Learning curves of runs as inline SVG that follows the page's theme."""

import functools
import html
import io
import pathlib
import re

import numpy as np

from mpt_jax.io import digests
from mpt_jax.quickstart.statistics import METHODS, METRIC, PROMPT_METHODS

STAGES = {
  "teach": "1. Teach: one plain prompt per source task",
  "distill": "2. Distill: one shared prompt and rank-limited factors",
  "adapt": "3. Adapt: target tasks from a few examples",
}
# Colours of the figures. The page replaces them by its style's variables, which
# follow the reader's light or dark theme.
INK, MUTED, GRID, PLAIN = "#010203", "#010204", "#010205", "#010206"
METHOD_COLORS = {
  "prompt_tuning": "#010207",
  "spot": "#010208",
  "mpt": "#010209",
}
VARIABLES = {
  INK: "--ink",
  MUTED: "--muted",
  GRID: "--grid",
  PLAIN: "--mpt",
  METHOD_COLORS["prompt_tuning"]: "--prompt-tuning",
  METHOD_COLORS["spot"]: "--spot",
  METHOD_COLORS["mpt"]: "--mpt",
}


def read_metrics(run) -> list[dict]:
  """Returns the rows of a folder's metrics.jsonl; [] if there is no file.

  Lines that are damaged, or that a killed run did not finish, are left out.
  """
  path = pathlib.Path(run) / "metrics.jsonl"
  if not path.is_file():
    return []
  return [row for _, row in digests.read_lines(path) if row is not None]


def _curves(lines, kind, name):
  """(mean curve, {slot: curve}); a curve is a list of (step, value)."""
  mean, slots = [], {}
  for line in lines:
    if line.get("kind") != kind:
      continue
    for key, value in line.items():
      if value is None:  # The metric was not a number.
        continue
      if key == name:
        mean.append((line["step"], value))
      elif key.startswith(f"{name}/"):
        slot = key.removeprefix(f"{name}/")
        slots.setdefault(slot, []).append((line["step"], value))
  return mean, slots


def _mean_curve(curves):
  """Mean at the steps that all curves have."""
  points = [dict(curve) for curve in curves]
  steps = sorted(set.intersection(*(set(p) for p in points)))
  return [(step, float(np.mean([p[step] for p in points]))) for step in steps]


def _method_of(slot):
  for method in PROMPT_METHODS:
    if slot == method or slot.endswith(f"_{method}"):
      return method
  return None


def _figure(draw, label, number) -> str:
  """Makes an inline SVG, drawn by `draw(axes)` in the page's colours."""
  import matplotlib
  from matplotlib.figure import Figure

  settings = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mpt_jax",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "path.simplify": True,
  }
  with matplotlib.rc_context(settings):
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    draw(figure.add_subplot())
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
  svg = buffer.getvalue()
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  # One page has several figures, so their ids must differ.
  svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{number}-", svg)
  for color, variable in VARIABLES.items():
    svg = svg.replace(color, f"var({variable})")
  view_box = re.search(r'viewBox="[^"]*"', svg)[0]
  opening = f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>'
  return opening + svg[svg.index(">") + 1 :]


def _thick_curves(mean, slots, by_method) -> dict:
  """{label: (curve, colour)}: the mean, or one mean per method."""
  groups = {}
  for slot, curve in slots.items():
    groups.setdefault(_method_of(slot), []).append(curve)
  if not by_method or not any(groups):
    return {"mean": (mean, PLAIN)}
  return {
    METHODS[method]: (_mean_curve(groups[method]), color)
    for method, color in METHOD_COLORS.items()
    if method in groups
  }


def _draw_curves(axes, thick, slots, ylabel, scale):
  def plot(curve, **style):
    return axes.plot(
      [step for step, _ in curve], [scale * v for _, v in curve], **style
    )

  colors = {label: color for label, (_, color) in thick.items()}
  for slot, curve in slots.items():
    method = METHODS.get(_method_of(slot))
    color = colors.get(method, MUTED)
    plot(curve, color=color, linewidth=0.7, alpha=0.45)
  for label, (curve, color) in thick.items():
    # A single evaluation is a point, and a line would not show it.
    marker = "o" if len(curve) == 1 else None
    plot(curve, color=color, linewidth=2.2, label=label, marker=marker)
  axes.set_xlabel("step")
  axes.set_ylabel(ylabel)
  axes.margins(x=0.02)
  axes.legend(
    loc="lower left",
    bbox_to_anchor=(0, 1),
    ncols=3,
    borderaxespad=0.2,
    labelcolor=INK,
  )


def _ends(thick, percent) -> str:
  def form(value):
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"

  return "; ".join(
    f"{label} from {form(curve[0][1])} (step {curve[0][0]}) to"
    f" {form(curve[-1][1])} (step {curve[-1][0]})"
    for label, (curve, _) in thick.items()
    if curve
  )


def learning_curves(runs, metric: str = METRIC) -> str:
  """Returns HTML with the curves of loss and score of each stage, by step.

  Args:
    runs: {"teach" | "distill" | "adapt": model_dir with metrics.jsonl}. Slots
      of stage adapt are coloured by method, where names end in "_<method>".
    metric: the name of the score; "accuracy" is used if a run does not have it.

  Returns:
    A part of a page that defines the colour variables used; "" without runs.
  """
  parts, number = [], 0
  for stage, title in STAGES.items():
    if stage not in runs:
      continue
    lines = read_metrics(runs[stage])
    figures = []
    scored = metric if any(metric in line for line in lines) else "accuracy"
    for kind, name in (("train", "loss"), ("eval", scored)):
      mean, slots = _curves(lines, kind, name)
      if not mean:
        continue
      number += 1
      percent = kind == "eval"
      thick = _thick_curves(mean, slots, by_method=stage == "adapt")
      name = name.replace("_", " ").capitalize()
      words = "Training loss" if kind == "train" else name
      label = f"{words} by step: {_ends(thick, percent)}."
      draw = functools.partial(
        _draw_curves,
        thick=thick,
        slots=slots,
        ylabel=f"{name}, %" if percent else name,
        scale=100 if percent else 1,
      )
      svg = _figure(draw, f"Line chart, {title}. {label}", number)
      caption = f"<figcaption>{html.escape(label)}</figcaption>"
      figures.append(f"<figure>{svg}{caption}</figure>")
    content = "".join(figures) or "<p>No measurements were recorded.</p>"
    parts.append(
      f"<h3>{html.escape(title)}</h3><div class='figures'>{content}</div>"
    )
  if not parts:
    return ""
  return (
    "<h2>Learning curves</h2><p>Thin: one line per slot of the bank. Thick:"
    " their mean, in stage 3 by method. The loss is on training batches, the"
    " score on the examples that a run is evaluated on while it trains.</p>"
    + "".join(parts)
  )
