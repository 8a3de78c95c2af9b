"""Reads the tables of a sweep: NAME.json."""

import json

from etils import epath

from mpt_jax.io import digests
from mpt_jax.io.errors import reading
from mpt_jax.report import estimates, names
from mpt_jax.report.material import MEAN, Cell, Material, Results

# What a table has that other JSON files have not.
_FIELDS = {"table", "title", "columns", "average", "rows"}


def find_tables(folder) -> list[tuple[object, dict]]:
  """The (path, fields) of each table in a folder.

  Raises:
    ValueError: a file is damaged.
  """
  found = []
  for path in sorted(epath.Path(folder).glob("*.json")):
    # The table in Markdown stands beside it, so other files stay closed.
    if not path.with_suffix(".md").exists():
      continue
    with reading(path, "a table of a sweep"):
      fields = json.loads(path.read_text(encoding="utf-8"))
    # A contest has a list of scores under such a name.
    if isinstance(fields, dict) and _FIELDS <= set(fields):
      found.append((path, digests.unseal(fields, path)))
  return found


def read_sweep(tables, name: str) -> Material:
  """Makes the material of a sweep from `find_tables`.

  Raises:
    ValueError: a table is damaged.
  """
  results, notes, titles = [], [], []
  for path, fields in tables:
    with reading(path, "a table of a sweep"):
      made, missing = table_results(fields)
    titles.append(str(fields["title"]))
    if made is not None:
      results.append(made)
    if missing:
      notes.append(
        f"{fields['title']} is not finished; cells without a number: {missing}."
      )
  return Material(
    name=name,
    kind="sweep",
    title="; ".join(titles),
    notes=tuple(notes),
    results=tuple(results),
  )


def table_results(fields: dict) -> tuple[Results | None, int]:
  """The results of a table, and the number of cells that are not measured.

  Args:
    fields: what NAME.json has, see `mpt_jax.sweeps.report.as_json`.
  """
  average, headings = fields["average"], list(fields["columns"].values())
  places = {**{h: h for h in headings}, average: MEAN}
  cells, published, parameters, order, shown = {}, {}, {}, [], {}
  metrics, missing, remarks = {}, 0, list(fields.get("remarks", ()))
  for row in fields["rows"]:
    shots = row.get("shots")
    text = row["method"].removesuffix(f", k = {shots}")
    method = names.key(text)
    is_own = row.get("trained_per_task") is not None
    while any((method, t, shots) in cells for t in places.values()):
      method, text = f"{method}'", f"{text}'"
    order.append(method)
    shown[method] = text
    metrics |= dict.fromkeys(row["metrics"].values())
    if is_own:
      parameters[method] = row["trained_per_task"]
      missing += sum(h not in row["here"] for h in headings)
    for heading, cell in row["here"].items():
      draws = row.get("draws", {}).get(heading, {})
      cells[method, places[heading], shots] = _cell(cell, draws)
    for heading, value in row["paper"].items():
      published[method, places[heading]] = value
    remarks += _remarks(row, text)
  if not cells:
    return None, missing
  shots = estimates.sorted_shots(k for _, _, k in cells)
  means = {m: c.mean for (m, t, k), c in cells.items() if k == shots[-1]}
  methods = names.ordered(order)
  main = estimates.main_method(methods, means)
  made = Results(
    title=fields["title"],
    metric=next(iter(metrics)).replace("_", " ")
    if len(metrics) == 1
    else "score",
    methods=tuple(methods),
    targets=tuple(headings),
    shots=shots,
    cells=cells,
    main=main,
    names=shown,
    parameters=parameters,
    differences=estimates.paired(cells, methods, headings, shots, main),
    published=published,
    how=estimates.STUDENT,
    notes=(f"Split: {fields['split']}.", *remarks),
    average=average,
  )
  return made, missing


def _cell(cell, draws) -> Cell:
  return Cell(
    mean=cell["mean"],
    interval=estimates.student_of(cell["mean"], cell["std"], cell["num_seeds"]),
    draws=tuple((int(seed), score) for seed, score in draws.items()),
  )


def _remarks(row, text) -> list[str]:
  made = []
  if row["paper"] and row["source"]:
    made.append(f"Published numbers of {text}: {row['source']}.")
  slots = dict.fromkeys(s for found in row["diverged"].values() for s in found)
  if slots:
    made.append(
      f"{text} has slots that diverged and count with their last good state:"
      f" {', '.join(slots)}."
    )
  return made
