"""The quickstart's results as one self-contained HTML page."""

import html
import io
import json
import os
import pathlib
import re

import numpy as np

from mpt_jax import results as results_lib
from mpt_jax.results import print_tables, summarize, tables

__all__ = ["print_tables", "similarity", "summarize", "write_report"]

STAGES = {
  "teach": "1. Teach: one plain prompt per source task",
  "distill": "2. Distill: one shared prompt and rank-limited factors",
  "adapt": "3. Adapt: target tasks from a few examples",
}
# Colours of the figures, which the page replaces by its style's variables so
# that they follow the reader's light or dark theme.
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


def similarity(prompts, centred: bool = True) -> np.ndarray:
  """Cosine similarity of flattened prompts.

  Prompts that share P* are nearly parallel, so by default their mean is taken
  off first: what remains is how the tasks differ. Centred cosines of N
  unrelated prompts are near -1 / (N - 1), not 0.

  >>> similarity([[[1.0, 0.0]], [[0.0, 1.0]]], centred=False).tolist()
  [[1.0, 0.0], [0.0, 1.0]]
  >>> similarity([[[4.0, 0.0]], [[0.0, 4.0]]]).round(6).tolist()
  [[1.0, -1.0], [-1.0, 1.0]]

  Args:
    prompts: [N, P, D] float.
    centred: take the mean over N off first.

  Returns:
    [N, N] float in -1..1; 0 where a prompt (less the mean) is zero.

  Raises:
    ValueError: `prompts` has other than three axes, or no entries.
  """
  prompts = np.asarray(prompts, np.float64)
  if prompts.ndim != 3 or not prompts.size:
    raise ValueError(
      "prompts must be [num_tasks, prompt_length, emb_dim] and not empty, got"
      f" shape {prompts.shape}; PromptBank.composed has that shape"
    )
  flat = prompts.reshape(len(prompts), -1)  # [N, P * D]
  if centred:
    flat = flat - flat.mean(axis=0, keepdims=True)
  norms = np.linalg.norm(flat, axis=1, keepdims=True)
  unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 1e-12)
  return np.clip(unit @ unit.T, -1.0, 1.0)


def read_metrics(run) -> list[dict]:
  """Lines of a run folder's metrics.jsonl; none where there is no file."""
  path = pathlib.Path(run) / "metrics.jsonl"
  if not path.is_file():
    return []
  lines = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      continue  # A line that a killed run did not finish.
  return lines


def _curves(lines, kind, name):
  """(mean curve, {slot: curve}); a curve is a list of (step, value)."""
  mean, slots = [], {}
  for line in lines:
    if line.get("kind") != kind:
      continue
    for key, value in line.items():
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
  for method in results_lib.PROMPT_METHODS:
    if slot == method or slot.endswith(f"_{method}"):
      return method
  return None


def _figure(draw, label, number) -> str:
  """An inline SVG, drawn by `draw(axes)` in the page's colours."""
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
  # Several figures stand in one page, so their ids must differ.
  svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{number}-", svg)
  for color, variable in VARIABLES.items():
    svg = svg.replace(color, f"var({variable})")
  view_box = re.search(r'viewBox="[^"]*"', svg)[0]
  opening = f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>'
  return opening + svg[svg.index(">") + 1 :]


def _draw_curves(axes, mean, slots, ylabel, percent, by_method):
  scale = 100 if percent else 1
  plot = lambda curve, **style: axes.plot(
    [step for step, _ in curve], [scale * v for _, v in curve], **style
  )
  methods = {}
  for slot, curve in slots.items():
    method = _method_of(slot) if by_method else None
    methods.setdefault(method, []).append(curve)
    color = METHOD_COLORS.get(method, MUTED)
    plot(curve, color=color, linewidth=0.7, alpha=0.45)
  thick = dict(linewidth=2.2, solid_capstyle="round")
  if not any(methods):
    plot(mean, color=PLAIN, label="mean", **thick)
  for method, color in METHOD_COLORS.items():
    if method in methods:
      label = results_lib.METHODS[method]
      plot(_mean_curve(methods[method]), color=color, label=label, **thick)
  axes.set_xlabel("step")
  axes.set_ylabel(ylabel)
  axes.margins(x=0.02)
  axes.set_axisbelow(True)
  if axes.get_legend_handles_labels()[0]:
    axes.legend(
      loc="lower left",
      bbox_to_anchor=(0, 1),
      ncols=3,
      borderaxespad=0.2,
      labelcolor=INK,
    )


def _ends(curve, percent):
  form = (lambda v: f"{100 * v:.1f} %") if percent else (lambda v: f"{v:.3g}")
  return (
    f"from {form(curve[0][1])} at step {curve[0][0]} to"
    f" {form(curve[-1][1])} at step {curve[-1][0]}"
  )


def _learning_curves(runs, metric) -> str:
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
      shown = name.replace("_", " ") + (", %" if percent else "")
      words = "Training loss" if kind == "train" else name.replace("_", " ")
      label = (
        f"{words.capitalize()} by step; mean over slots"
        f" {_ends(mean, percent)}."
      )
      svg = _figure(
        lambda axes, mean=mean, slots=slots, shown=shown, percent=percent: (
          _draw_curves(axes, mean, slots, shown, percent, stage == "adapt")
        ),
        f"Line chart. {title}. {label}",
        number,
      )
      caption = f"<figcaption>{html.escape(label)}</figcaption>"
      figures.append(f"<figure>{svg}{caption}</figure>")
    content = "".join(figures) or "<p>No measurements were recorded.</p>"
    parts.append(
      f"<h3>{html.escape(title)}</h3><div class='figures'>{content}</div>"
    )
  if not parts:
    return ""
  note = (
    "<p>Thin: one line per slot of the bank. Thick: their mean; in stage 3 one"
    " mean per method. Loss is on training batches, the score on the held-out"
    " examples that a run is evaluated on while it trains.</p>"
  )
  return f"<h2>Learning curves</h2>{note}{''.join(parts)}"


def _scrolling(label, content) -> str:
  label = html.escape(label)
  return (
    f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    f"{content}</div>"
  )


def _html_table(table) -> str:
  cell = lambda text: html.escape(text).replace(" ± ", "&nbsp;±&nbsp;")
  head = "".join(f"<th scope='col'>{cell(h)}</th>" for h in table.headers)
  body = []
  for row in table.rows:
    kind = ' class="mean"' if row[0][0] == "mean" else ""
    cells = [f"<th scope='row'>{cell(row[0][0])}</th>"] + [
      f"<td><strong>{cell(t)}</strong></td>" if bold else f"<td>{cell(t)}</td>"
      for t, bold in row[1:]
    ]
    body.append(f"<tr{kind}>{''.join(cells)}</tr>")
  notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
  content = (
    f"<table><caption>{html.escape(table.title)}</caption>"
    f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
  )
  return _scrolling(table.title, content) + notes


def _heat_map(bank) -> str:
  if bank is None or len(bank.names) < 2:
    return ""
  num = len(bank.names)
  values = similarity(bank.composed)
  raw = similarity(bank.composed, centred=False)
  between = raw[~np.eye(num, dtype=bool)]
  head = "".join(
    f"<th scope='col'><span>{html.escape(n)}</span></th>" for n in bank.names
  )
  body = ""
  for name, row in zip(bank.names, values, strict=True):
    cells = "".join(
      f"<td style='background:rgb(var({'--warm' if v > 0 else '--cold'})/"
      f"{0.75 * abs(v):.2f})'>{v + 0.0:.2f}</td>".replace("-", "−")
      if False
      else _heat_cell(v)
      for v in row
    )
    body += f"<tr><th scope='row'>{html.escape(name)}</th>{cells}</tr>"
  caption = "Similarity of the students' prompts"
  return (
    f"<h2>{caption}</h2><p>Cosine of the flattened prompts after their mean is"
    " taken off: with a shared P* the plain cosines are all alike (here"
    f" {between.min():.2f} to {between.max():.2f}). Centred prompts of"
    f" {num} unrelated tasks would be at {-1 / (num - 1):.2f}, not at 0.</p>"
    + _scrolling(
      caption,
      f"<table class='heat'><caption>1 (orange): the same direction; −1"
      f" (blue): opposite</caption><thead><tr><td></td>{head}</tr></thead>"
      f"<tbody>{body}</tbody></table>",
    )
  )
