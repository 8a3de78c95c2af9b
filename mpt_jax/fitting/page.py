"""The report of `mpt fit`: one HTML page without scripts or network."""

import html
import string
from collections.abc import Sequence

from mpt_jax.fitting import showing
from mpt_jax.fitting.measuring import Scores

# More labels than this have no confusion matrix on the page.
MOST_LABELS = 60
# The chart's size in its own units.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 220, 48, 28


def _e(value) -> str:
  return html.escape(str(value))


def _table(caption, headers, rows, kind="") -> str:
  """Makes a table whose first column names the row."""
  head = "".join(f"<th scope='col'>{_e(h)}</th>" for h in headers)
  body = "".join(
    f"<tr><th scope='row'>{_e(first)}</th>"
    + "".join(f"<td>{_e(cell)}</td>" for cell in cells)
    + "</tr>"
    for first, *cells in rows
  )
  return (
    f'<div class="scroll" tabindex="0" role="region"'
    f' aria-label="{_e(caption)}">'
    f"<table class='{kind}'><caption>{_e(caption)}</caption>"
    f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
  )


def _bars(scores: Scores) -> str:
  """Draws the score and the baselines as bars, with the interval."""
  top = 100.0 if scores.metric in showing.PERCENT else 1.0
  rows = []
  for name, value in (
    ("this prompt", scores.score),
    ("tf-idf", scores.tfidf),
    ("majority", scores.majority),
  ):
    width = 100 * min(1.0, max(0.0, value / top))
    mark = ""
    if name == "this prompt":
      low, high = (100 * min(1.0, max(0.0, x / top)) for x in scores.interval)
      mark = (
        f'<i style="left:{low:.2f}%;width:{max(0.3, high - low):.2f}%"></i>'
      )
    shown = showing.number(value, scores.metric)
    own = ' class="own"' if mark else ""
    rows.append(
      f"<dt>{_e(name)}</dt><dd{own}><span class='bar'>"
      f'<b style="width:{width:.2f}%"></b>{mark}</span> {_e(shown)}</dd>'
    )
  return f"<dl class='bars'>{''.join(rows)}</dl>"


def _score(scores: Scores) -> str:
  low, high = (showing.number(x, scores.metric) for x in scores.interval)
  metric = scores.metric.replace("_", " ")
  note = ""
  if scores.split == "validation":
    note = (
      "<p>These rows chose the best step too, so the score is a little too"
      " good.</p>"
    )
  others = [
    (name.replace("_", " "), showing.number(value, name))
    for name, value in scores.metrics.items()
    if name != scores.metric
  ]
  more = _table("Other metrics", ("metric", "value"), others) if others else ""
  return (
    f"<p class='score'>{_e(showing.number(scores.score, scores.metric))}"
    f"<small> {_e(metric)} on {scores.examples:,} {_e(scores.split)} rows; 95 %"
    f" interval {_e(low)} to {_e(high)} ({_e(scores.method)})</small></p>"
    f"{_bars(scores)}<p>{_e(showing.verdict(scores))}</p>{note}{more}"
  )


def _classes(scores: Scores) -> str:
  if not scores.per_class:
    return ""
  rows = [
    (
      label,
      *(f"{100 * own[k]:.1f}" for k in ("precision", "recall", "f1")),
      f"{own['rows']:,}",
    )
    for label, own in scores.per_class.items()
  ]
  headers = ("label", "precision", "recall", "F1", "rows")
  return _table("By label, in percent", headers, rows) + _confusion(scores)


def _confusion(scores: Scores) -> str:
  if len(scores.labels) > MOST_LABELS:
    return f"<p>scores.json has the {len(scores.labels)} labels' confusion.</p>"
  head = "".join(
    f"<th scope='col'><span>{_e(name)}</span></th>" for name in scores.labels
  )
  body = []
  for i, (name, row) in enumerate(
    zip(scores.labels, scores.confusion, strict=True)
  ):
    total = max(1, sum(row))
    cells = "".join(
      f'<td style="background:rgba(var({"--cold" if i == j else "--warm"}),'
      f'{0.75 * count / total:.2f})">{count or ""}</td>'
      for j, count in enumerate(row)
    )
    body.append(f"<tr><th scope='row'>{_e(name)}</th>{cells}</tr>")
  caption = "Rows of each true label (down) by the predicted one (across)"
  return (
    f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
    f"<table class='heat'><caption>{caption}</caption><thead><tr><td></td>"
    f"{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
  )


def _mistakes(scores: Scores) -> str:
  if not scores.mistakes:
    return "<p>There is no mistake.</p>"
  sure = "probability" in scores.mistakes[0]
  rows = [
    (
      made["input"],
      made["target"],
      made["prediction"],
      *([f"{made['probability']:.0%}"] if sure else []),
    )
    for made in scores.mistakes
  ]
  headers = ("input", "truth", "answer", *(["probability"] if sure else []))
  return _table("The most confident mistakes", headers, rows, "mistakes")


def _curve(name, points: Sequence[tuple[int, float]], best: int) -> str:
  """Draws the validation score over the steps as an inline SVG."""
  if len(points) < 2:
    return ""
  values = [value for _, value in points]
  low, high = min(values), max(values)
  span = (high - low) or 1.0
  last = points[-1][0]

  def place(step, value):
    x = _LEFT + (_WIDTH - _LEFT - 12) * step / last
    y = 12 + (_HEIGHT - _BOTTOM - 24) * (1 - (value - low) / span)
    return f"{x:.1f},{y:.1f}"

  line = " ".join(place(*point) for point in points)
  marks = "".join(
    f'<circle cx="{place(s, v).split(",")[0]}" cy="{place(s, v).split(",")[1]}"'
    f' r="{5 if s == best else 2.5}" class="{"best" if s == best else ""}"/>'
    for s, v in points
  )
  bottom = _HEIGHT - _BOTTOM
  label = f"Validation {name.replace('_', ' ')} over the steps"
  return (
    f"<figure><svg role='img' aria-label='{_e(label)}'"
    f" viewBox='0 0 {_WIDTH} {_HEIGHT}'>"
    f"<line x1='{_LEFT}' y1='{bottom}' x2='{_WIDTH - 12}' y2='{bottom}'/>"
    f"<text x='{_LEFT - 6}' y='16' text-anchor='end'>{high:.3g}</text>"
    f"<text x='{_LEFT - 6}' y='{bottom - 8}' text-anchor='end'>{low:.3g}</text>"
    f"<text x='{_LEFT}' y='{_HEIGHT - 8}'>step 0</text>"
    f"<text x='{_WIDTH - 12}' y='{_HEIGHT - 8}' text-anchor='end'>{last}</text>"
    f"<polyline points='{line}'/>{marks}</svg>"
    f"<figcaption>{_e(label)}. The large dot is step {best}, whose prompt is"
    " kept.</figcaption></figure>"
  )


def make_page(title: str, parts: Sequence[dict], facts, commands) -> str:
  """Returns the page.

  Args:
    title: the heading.
    parts: for each task {"scores": `Scores`, "points": [(step, value)], "best":
      the best step}.
    facts: (name, text) pairs about the data and the run.
    commands: shell commands to go on with.
  """
  body = []
  for part in parts:
    scores = part["scores"]
    body.append(
      (f"<h2>{_e(scores.task)}</h2>" if len(parts) > 1 else "")
      + _score(scores)
      + _curve(scores.metric, part["points"], part["best"])
      + _classes(scores)
      + _mistakes(scores)
    )
  rows = "".join(f"<dt>{_e(k)}</dt><dd>{_e(v)}</dd>" for k, v in facts)
  return PAGE.substitute(
    title=_e(title),
    parts="".join(body),
    facts=f"<h2>What was run</h2><dl class='facts'>{rows}</dl>",
    commands=f"<h2>Go on</h2><pre>{_e(chr(10).join(commands))}</pre>",
  )


PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  --page: #fcfcfb; --ink: #14140f; --muted: #5c5b56; --grid: #d9d8d2;
  --own: #2a6fd0; --plain: #b9b7af; --mark: #14140f;
  --warm: 236, 131, 60; --cold: 70, 140, 225;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #1a1a19; --ink: #f3f2ec; --muted: #b5b4ac; --grid: #43423e;
    --own: #6aa5f2; --plain: #6d6b64; --mark: #f3f2ec;
    --warm: 190, 90, 25; --cold: 35, 100, 185;
  }
}
body { background: var(--page); color: var(--ink); margin: 0 auto;
  max-width: 60rem; padding: 1.5rem 1rem 4rem;
  font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { line-height: 1.2; margin: 0 0 1rem; }
h2 { margin: 2.5rem 0 0.5rem; }
.score { font-size: 2.5rem; line-height: 1.2; margin: 0.5rem 0 1rem;
  font-variant-numeric: tabular-nums; }
.score small { font-size: 1rem; color: var(--muted); }
.bars { display: grid; grid-template-columns: max-content 1fr;
  gap: 0.4rem 1rem; align-items: center; }
.bars dd { display: grid; grid-template-columns: 1fr 5rem; gap: 0.75rem;
  align-items: center; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 1.1rem; border-radius: 2px;
  background: color-mix(in srgb, var(--grid) 45%, transparent); }
.bar b { display: block; height: 100%; border-radius: 2px;
  background: var(--plain); }
.own .bar b { background: var(--own); }
.bar i { position: absolute; top: calc(50% - 1px); height: 2px;
  background: var(--mark); }
.scroll { overflow-x: auto; margin: 1.25rem 0 0.75rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: 0.9rem; }
caption { text-align: left; color: var(--muted); padding-bottom: 0.4rem; }
th, td { padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
thead th { vertical-align: bottom; color: var(--muted); font-weight: 600; }
tbody th, thead th:first-child { text-align: left; font-weight: 500; }
.heat td { text-align: center; border: 2px solid var(--page); }
.heat th { border: 0; }
.heat thead span { writing-mode: vertical-rl; transform: rotate(180deg); }
.mistakes th, .mistakes td { white-space: normal; text-align: left;
  overflow-wrap: break-word; vertical-align: top; }
.mistakes tbody th { min-width: 14rem; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
figure svg { display: block; width: 100%; max-width: 44rem; height: auto; }
svg line { stroke: var(--grid); }
svg polyline { fill: none; stroke: var(--own); stroke-width: 2; }
svg circle { fill: var(--own); }
svg circle.best { stroke: var(--page); stroke-width: 2; }
svg text { fill: var(--muted); font-size: 12px; }
figcaption { color: var(--muted); font-size: 0.85rem; }
.facts { display: grid; grid-template-columns: max-content 1fr;
  gap: 0.3rem 1rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid var(--grid);
  border-radius: 4px; font-size: 0.85rem; }
@media (max-width: 30rem) {
  .facts { display: block; }
  .score { font-size: 2rem; }
  .bars dd { grid-template-columns: 1fr 4rem; }
}
@media print {
  body { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  pre { white-space: pre-wrap; }
  tr, figure { break-inside: avoid; }
}
</style>
</head>
<body>
<main>
<h1>$title</h1>
$parts
$facts
$commands
</main>
</body>
</html>
""")
