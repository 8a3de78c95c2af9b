"""Writes the quickstart's results: results.json, a page, and the tables."""

import dataclasses
import importlib.metadata
import json

import jax
import rich.console

from mpt_jax.io import files, provenance
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.quickstart.statistics import PROMPT_METHODS, print_tables, verdicts
from mpt_jax.report import writing
from mpt_jax.report.readers.training import RESULTS
from mpt_jax.tasks.licences import licence


def describe(config, backbone, seconds) -> dict:
  """Returns what was run and the sizes of it, which the page shows.

  Args:
    config: its QuickstartConfig.
    backbone: its T5.
    seconds: {name: seconds} of its parts.
  """
  packages = ("jax", "flax", "optax", "orbax-checkpoint", "seqio")
  data = {task: licence(task) for task in (*config.sources, *config.targets)}
  return {
    "title": "Multitask Prompt Tuning, quickstart",
    **provenance.describe(jax.devices()),
    "seconds": {k: round(v, 1) for k, v in seconds.items()},
    "versions": {name: importlib.metadata.version(name) for name in packages},
    "T5": {
      "name": config.backbone,
      "parameters": sum(x.size for x in jax.tree.leaves(backbone.params)),
    },
    "methods": {
      method: {"parameters": _trained(config, backbone, method)}
      for method in PROMPT_METHODS
    },
    "config": json.loads(json.dumps(dataclasses.asdict(config))),
    "data": {task: text for task, text in data.items() if text},
  }


def _trained(config, backbone, method) -> int:
  """The number of parameters that a target task trains.

  MPT trains P* and the factors; the others train a whole prompt, whose
  factors stay as they are.
  """
  prompt = PromptConfig(
    num_slots=1,
    prompt_length=config.prompt_length,
    rank=1 if method == "mpt" else 0,
  )
  return prompt.num_parameters(backbone.config.emb_dim)


def write_results(out, rows, meta) -> dict:
  """Writes results.json and the page, and prints the tables.

  Args:
    out: the quickstart's folder.
    rows: see `mpt_jax.quickstart.statistics`.
    meta: see `describe`.

  Returns:
    The contents of results.json.
  """
  results = {"rows": rows, "verdicts": verdicts(rows), "meta": meta}
  files.write_text(out / RESULTS, json.dumps(results, indent=1) + "\n")
  writing.write_report([out])
  print_tables(rows, rich.console.Console())
  return results
