"""The quickstart's results as one self-contained HTML page."""

import dataclasses
import html
import importlib.metadata
import json
import os
import pathlib
import string

import jax
import numpy as np
import rich.console

from mpt_jax.io import files
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.quickstart.learning_curves import learning_curves
from mpt_jax.quickstart.statistics import (
  METRIC,
  print_tables,
  summarize,
  tables,
)

__all__ = [
  "describe",
  "print_tables",
  "similarity",
  "summarize",
  "write_report",
  "write_results",
]


def similarity(prompts, centred: bool = True) -> np.ndarray:
  """Cosine similarity of flattened prompts.

  Prompts that share P* are nearly parallel, so by default their mean is
  subtracted first; the rest shows how the tasks differ. Centred cosines of N
  unrelated prompts are near -1 / (N - 1), not 0.

  >>> similarity([[[1.0, 0.0]], [[0.0, 1.0]]], centred=False).tolist()
  [[1.0, 0.0], [0.0, 1.0]]
  >>> similarity([[[4.0, 0.0]], [[0.0, 4.0]]]).round(6).tolist()
  [[1.0, -1.0], [-1.0, 1.0]]

  Args:
    prompts: [N, P, D] float.
    centred: subtract the mean over N first.

  Returns:
    [N, N] float in -1..1; 0 where a prompt (less the mean) is zero.

  Raises:
    ValueError: `prompts` does not have three axes, or has no entries.
  """
  prompts = np.asarray(prompts, np.float64)
  if prompts.ndim != 3 or not prompts.size:
    raise ValueError(
      "prompts must be [num_slots, prompt_length, emb_dim] and not empty, got"
      f" shape {prompts.shape}; PromptBank.composed has that shape"
    )
  flat = prompts.reshape(len(prompts), -1)  # [N, P * D]
  if centred:
    flat = flat - flat.mean(axis=0, keepdims=True)
  norms = np.linalg.norm(flat, axis=1, keepdims=True)
  unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 1e-12)
  return np.clip(unit @ unit.T, -1.0, 1.0)


def _scrolling(label, content) -> str:
  label = html.escape(label)
  return (
    f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    f"{content}</div>"
  )


def _html_table(table) -> str:
  def cell(text):
    return html.escape(text).replace(" ± ", "&nbsp;±&nbsp;")

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


def _heat_cell(value) -> str:
  color = "--warm" if value > 0 else "--cold"
  text = f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
  return (
    f'<td style="background:rgba(var({color}),{0.7 * abs(value):.2f})">'
    f"{text}</td>"
  )


def _heat_map(bank) -> str:
  if bank is None or len(bank.names) < 2:
    return ""
  num = len(bank.names)
  prompts = bank.composed
  plain = similarity(prompts, centred=False)[~np.eye(num, dtype=bool)]
  names = [html.escape(name) for name in bank.names]
  head = "".join(f"<th scope='col'><span>{n}</span></th>" for n in names)
  body = "".join(
    f"<tr><th scope='row'>{name}</th>{''.join(map(_heat_cell, row))}</tr>"
    for name, row in zip(names, similarity(prompts), strict=True)
  )
  title = "Similarity of the task prompts"
  table = (
    "<table class='heat'><caption>1 (orange): same direction; −1 (blue):"
    f" opposite</caption><thead><tr><td></td>{head}</tr></thead>"
    f"<tbody>{body}</tbody></table>"
  )
  return (
    f"<h2>{title}</h2><p>Cosine between the students’ prompts, flattened,"
    " after their mean is taken off: they share P*, so the plain cosines are"
    f" alike (here {plain.min():.2f} to {plain.max():.2f}). Unrelated"
    f" prompts would be near −{1 / (num - 1):.2f} each, not 0.</p>"
    f"{_scrolling(title, table)}"
  )


def _plain(value) -> str:
  """Returns a value of the meta data in words."""
  if isinstance(value, dict):
    return ", ".join(
      f"{k.replace('_', ' ')} {_plain(v)}" for k, v in value.items()
    )
  if isinstance(value, (list, tuple)):
    return ", ".join(map(_plain, value))
  if isinstance(value, float):
    return f"{value:,.1f}"
  if isinstance(value, int) and not isinstance(value, bool):
    return f"{value:,}"
  return str(value)


def _what_was_run(meta) -> str:
  items = []
  for key, value in meta.items():
    if key == "title":
      continue
    text = _plain(value)
    if key == "seconds" and isinstance(value, dict):
      text += f"; {sum(value.values()):,.0f} in total"
    name = html.escape(key.replace("_", " ").capitalize())
    items.append(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>")
  return f"<h2>What was run</h2><dl>{''.join(items)}</dl>" if items else ""


def describe(config, backbone, seconds) -> dict:
  """Returns the settings and sizes of a run, which the report shows.

  Args:
    config: its QuickstartConfig.
    backbone: its T5.
    seconds: {name: seconds} of its parts.
  """
  prompt = PromptConfig(num_slots=1, prompt_length=config.prompt_length)
  packages = ("jax", "flax", "optax", "orbax-checkpoint", "seqio")
  return {
    "title": "Multitask Prompt Tuning, quickstart",
    "seconds": {k: round(v, 1) for k, v in seconds.items()},
    "versions": {name: importlib.metadata.version(name) for name in packages},
    "cores": os.cpu_count(),
    "backbone": {
      "name": config.backbone,
      "num_parameters": sum(x.size for x in jax.tree.leaves(backbone.params)),
    },
    "prompt_length": config.prompt_length,
    "rank": 1,
    "parameters_per_task": prompt.num_parameters(backbone.config.emb_dim),
    "config": json.loads(json.dumps(dataclasses.asdict(config))),
  }


def write_results(out, results, runs, bank):
  """Writes results.json and report.html into a folder, and prints the tables.

  The arguments are those of `write_report`.
  """
  text = json.dumps(results, indent=1) + "\n"
  files.write_text(out / "results.json", text)
  write_report(out / "report.html", results, runs, bank)
  print_tables(results["rows"], rich.console.Console())


def write_report(path, results, runs, bank, metric=METRIC):
  """Writes one HTML file that needs neither network nor scripts.

  Args:
    path: the file, replaced in one move.
    results: {"rows": ..., "meta": {"title": ..., ...}}; the rows are those of
      `mpt_jax.quickstart.statistics`, and all of meta is shown.
    runs: {"teach" | "distill" | "adapt": model_dir with metrics.jsonl};
      stages that did not run may be left out.
    bank: PromptBank of the students, or None.
    metric: the metric of the tables and curves; curves fall back to "accuracy".
  """
  path = pathlib.Path(path)
  meta = results.get("meta", {})
  found = tables(results.get("rows", []), metric)
  page = PAGE.substitute(
    title=html.escape(str(meta.get("title", "Multitask prompt tuning"))),
    tables="".join(_html_table(table) for table in found)
    or f"<p>No results of metric {html.escape(metric)}.</p>",
    curves=learning_curves(runs or {}, metric),
    heat_map=_heat_map(bank),
    run=_what_was_run(meta),
  )
  files.write_text(path, page)


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
  --prompt-tuning: #1a936a; --spot: #d9591f; --mpt: #2a6fd0;
  --warm: 236, 131, 60; --cold: 70, 140, 225;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #1a1a19; --ink: #f3f2ec; --muted: #b5b4ac; --grid: #43423e;
    --prompt-tuning: #35b487; --spot: #ee7d43; --mpt: #6aa5f2;
    --warm: 190, 90, 25; --cold: 35, 100, 185;
  }
}
body {
  background: var(--page); color: var(--ink); margin: 0 auto;
  max-width: 60rem; padding: 1.5rem 1rem 4rem;
  font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif;
}
h1 { line-height: 1.2; margin: 0 0 1rem; }
h2 { margin: 2.5rem 0 0.5rem; }
h3 { margin: 1.5rem 0 0.5rem; font-size: 1rem; }
.equation { font: italic 1.5rem/1.4 Georgia, "DejaVu Serif", serif;
  text-align: center; margin: 1rem 0; }
.equation sub { line-height: 0; }
.scroll { overflow-x: auto; margin: 1.25rem 0 0.75rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: 0.9rem; }
caption { text-align: left; color: var(--muted); padding-bottom: 0.4rem; }
th, td { padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--grid); }
thead th { white-space: normal; vertical-align: bottom;
  color: var(--muted); font-weight: 600; }
tbody th, thead th:first-child { text-align: left; font-weight: 500; }
.mean > * { border-bottom: 2px solid var(--muted); font-style: italic; }
.heat td { text-align: center; border: 2px solid var(--page); }
.heat th { border: 0; }
.heat thead th { vertical-align: bottom; text-align: left; }
.heat thead span { writing-mode: vertical-rl; transform: rotate(180deg);
  white-space: nowrap; }
.figures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { color: var(--muted); font-size: 0.85rem; }
dl { display: grid; grid-template-columns: max-content 1fr;
  gap: 0.3rem 1rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { display: block; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="equation" role="math"
aria-label="P hat k equals P star times, entry by entry, u k v k transposed">
P̂<sub>k</sub> = P* ∘ (u<sub>k</sub> v<sub>k</sub><sup>⊤</sup>)</p>
<p>Multitask prompt tuning: the T5 is frozen. All tasks share one soft prompt
P*; task k scales its entries by the product of two small factors. P* and the
factors are distilled from one teacher prompt per source task, and are the
start for the targets.</p>
<h2>Results</h2>
$tables
$curves
$heat_map
$run
</main>
</body>
</html>
""")
