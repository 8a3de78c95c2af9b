"""Reads the results.json of a quickstart."""

from collections.abc import Mapping

from etils import epath

from mpt_jax.io import digests
from mpt_jax.io.errors import reading
from mpt_jax.report import estimates
from mpt_jax.report.material import Material, Results, Score, Verdicts
from mpt_jax.report.readers.training import RESULTS

METRIC = "balanced_accuracy"
_NO_FACTS = ("title", "methods", "data", "notes")


def read_results(folder) -> dict | None:
  """The fields of a quickstart's results.json; None for another folder.

  Raises:
    ValueError: the file is damaged.
  """
  path = epath.Path(folder) / RESULTS
  if not path.exists():
    return None
  fields = digests.read_sealed(path, "the results of a quickstart")
  return fields if {"rows", "meta"} <= set(fields) else None


def read_quickstart(folder, fields: Mapping, name: str) -> Material:
  """Makes the material of a quickstart from `read_results`.

  Raises:
    ValueError: the file is damaged.
  """
  with reading(epath.Path(folder) / RESULTS, "the results of a quickstart"):
    meta = fields["meta"]
    results = [
      stage_results(fields["rows"], stages, title, meta.get("methods", {}))
      for title, stages in (
        ("Target tasks", ("adapt",)),
        ("Source tasks", ("teach", "distill")),
      )
    ]
    found = [one for one in results if one is not None]
    sentences = tuple(fields.get("verdicts", ()))
    if found and sentences:
      import dataclasses

      verdicts = (Verdicts(title="", sentences=sentences),)
      found[0] = dataclasses.replace(found[0], verdicts=verdicts)
    return Material(
      name=name,
      kind="quickstart",
      title=str(meta.get("title", "Multitask prompt tuning")),
      results=tuple(found),
      facts=tuple((k, v) for k, v in meta.items() if k not in _NO_FACTS),
      data=tuple(meta.get("data", {}).items()),
    )


def stage_results(rows, stages, title, methods: Mapping) -> Results | None:
  """The results of some stages; None if there are none.

  Args:
    rows: rows of results.json, see `mpt_jax.quickstart.statistics`.
    stages: names of stages.
    title: see `Results`.
    methods: {method: {"parameters": trained parameters of a task}}.
  """
  scores = [
    Score(
      method=row["method"],
      target=row["task"],
      shots=row.get("shots"),
      seed=row.get("seed"),
      value=100 * row["value"],
      examples=row.get("num_examples"),
    )
    for row in rows
    if row["stage"] in stages and row["metric"] == METRIC
  ]
  if not scores:
    return None
  return estimates.from_scores(
    scores,
    title=title,
    metric=METRIC.replace("_", " "),
    parameters={
      method: own["parameters"]
      for method, own in methods.items()
      if "parameters" in own
    },
  )
