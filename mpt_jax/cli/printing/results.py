"""Results of an evaluation as a table on the terminal and as a JSON file."""

import dataclasses
import json
import math

import rich.table

from mpt_jax.inference.evaluator import EvalConfig
from mpt_jax.io import files


def table(rows) -> rich.table.Table:
  """Makes a table of an evaluation's rows, with one line per prompt.

  Args:
    rows: dicts of "prompt", "task", "num_examples", "metric" and "value". A T5
      without prompts has None for "prompt", and the table lacks that column.
  """
  metrics = list(dict.fromkeys(row["metric"] for row in rows))
  made = rich.table.Table()
  with_prompts = any(row["prompt"] is not None for row in rows)
  for name in (*(["prompt"] if with_prompts else []), "task", "examples"):
    made.add_column(name, overflow="fold")
  for name in metrics:
    made.add_column(name, justify="right")
  lines = {}
  for row in rows:
    key = (row["prompt"], row["task"], row["num_examples"])
    lines.setdefault(key, {})[row["metric"]] = row["value"]
  for (prompt, task, count), values in lines.items():
    made.add_row(
      *([prompt] if with_prompts else []),
      task,
      str(count),
      *(f"{values[m]:.4f}" if m in values else "" for m in metrics),
    )
  return made


def write_rows(path, rows, settings: EvalConfig):
  """Writes the rows and the settings of the evaluation as JSON, in one move."""
  # JSON has no NaN, which a metric may be.
  rows = [
    {**row, "value": row["value"] if math.isfinite(row["value"]) else None}
    for row in rows
  ]
  result = {"eval": dataclasses.asdict(settings), "rows": rows}
  text = json.dumps(result, indent=2, allow_nan=False)
  files.write_text(path, text + "\n")
