"""The table of all scores."""

import dataclasses
from collections.abc import Sequence

from mpt_jax.report import page
from mpt_jax.report.material import MEAN, Cell, Results
from mpt_jax.report.sections.picture import at_shots, interval

MISSING = "–"
EQUAL, CONSTANT = "=", "!"
_PLAIN = "majority"


@dataclasses.dataclass(frozen=True)
class Text:
  """A cell: its text, and a smaller text below it."""

  text: str
  note: str = ""
  bold: bool = False
  tint: float = 0.0
  kind: str = ""


@dataclasses.dataclass(frozen=True)
class TableRow:
  """A row: its cells, and its class in style.css."""

  cells: Sequence[Text]
  kind: str = ""


@dataclasses.dataclass(frozen=True)
class Body:
  """Rows below a heading of their own, "" for none."""

  title: str
  rows: Sequence[TableRow]


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of a page; its first column stays where the others scroll."""

  caption: str
  heads: Sequence[Text]
  bodies: Sequence[Body]
  kind: str = ""


def plain_table(caption, heads, rows, kind="") -> Table:
  """Makes a table of texts.

  Args:
    caption: what it shows.
    heads: headings of the columns.
    rows: the texts of each row.
    kind: its class in style.css.
  """
  made = [TableRow([Text(str(cell)) for cell in row]) for row in rows]
  return Table(caption, [Text(str(h)) for h in heads], [Body("", made)], kind)


def score_table(results: Results) -> page.Section:
  """The scores of all methods: a block of rows for each number of shots.

  The mean stands beside the method's name, and MPT is the first row, so that a
  phone shows both.
  """
  has_mean = any(target == MEAN for _, target, _ in results.cells)
  columns = ([MEAN] if has_mean else []) + list(results.targets)
  bodies = [
    Body(at_shots(results, k), _rows(results, columns, k))
    for k in results.shots
  ]
  unit = ", percent" if results.digits == 1 else ""
  table = Table(
    f"{results.title}: {results.metric}{unit}",
    [Text("method"), *(_head(results, target) for target in columns)],
    [body for body in bodies if body.rows],
  )
  body = page.fill(
    "table.html", before=(), tables=[table], after=_notes(results)
  )
  return page.Section("Table", body)


def _head(results, target) -> Text:
  if target == MEAN:
    return Text(results.average)
  notes = []
  if target in results.examples:
    notes.append(f"{results.examples[target]:,} tested")
  if results.related and target in results.related:
    notes.append("has a relative")
  return Text(target, ", ".join(notes))


def _rows(results, columns, shots) -> list[TableRow]:
  best = {
    target: max(
      (
        cell.mean
        for (_, t, k), cell in results.cells.items()
        if (t, k) == (target, shots)
      ),
      default=None,
    )
    for target in columns
  }
  rows = []
  for method in results.methods:
    cells = [results.cells.get((method, t, shots)) for t in columns]
    if any(cells):
      made = [
        _cell(results, method, target, shots, cell, best[target])
        for target, cell in zip(columns, cells, strict=True)
      ]
      kind = (
        "main" if method == results.main and len(results.methods) > 1 else ""
      )
      rows.append(TableRow([_method(results, method), *made], kind))
    published = [results.published.get((method, t)) for t in columns]
    is_last = shots == results.shots[-1]
    if is_last and any(value is not None for value in published):
      shown = [MISSING if v is None else results.form(v) for v in published]
      name = Text(results.name(method), "published")
      rows.append(TableRow([name, *map(Text, shown)], "published"))
  return rows


def _method(results, method) -> Text:
  count = results.parameters.get(method)
  note = "" if count is None else f"{count:,.0f} trained"
  return Text(results.name(method), note)


def _cell(results, method, target, shots, cell: Cell | None, best) -> Text:
  if cell is None:
    return Text(MISSING)
  mark = ""
  if target != MEAN and method != _PLAIN:
    plain = results.cells.get((_PLAIN, target, shots))
    if plain is not None and abs(cell.mean - plain.mean) < 1e-9:
      mark = EQUAL
    elif cell.constant:
      mark = CONSTANT
  is_best = len(results.methods) > 1 and cell.mean == best
  text = results.form(cell.mean) + mark
  return Text(text, interval(results, cell), is_best)


def _notes(results) -> list[str]:
  notes = [text for text in (results.how, *results.notes) if text]
  if len(results.methods) > 1:
    notes.append("Bold: the highest mean of a column, whatever its interval.")
  marks = {EQUAL: 0, CONSTANT: 0}
  for (method, target, k), cell in results.cells.items():
    text = _cell(results, method, target, k, cell, None).text
    for mark in marks:
      marks[mark] += text.endswith(mark)
  if marks[EQUAL]:
    notes.append(f"{EQUAL}: the score of the majority's label, no better.")
  if marks[CONSTANT]:
    notes.append(f"{CONSTANT}: some draws give one label to every example.")
  return notes
