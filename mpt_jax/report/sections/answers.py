"""Right and wrong answers, and which class was taken for which."""

from collections.abc import Sequence

from mpt_jax.report import page
from mpt_jax.report.material import Answers, Confusion
from mpt_jax.report.sections import tables

# Larger tables than this are not drawn.
MOST_LABELS = 60


def answer_lists(answers: Sequence[Answers]) -> page.Section | None:
  """Right and wrong answers of each target; None without texts."""
  if not answers:
    return None
  body = page.fill("answers.html", answers=answers)
  return page.Section("Answers, right and wrong", body)


def confusions(found: Sequence[Confusion]) -> page.Section | None:
  """A table for each target, with each class's recall and precision."""
  if not found:
    return None
  made = []
  for one in found:
    is_large = len(one.labels) > MOST_LABELS
    large = f"; {len(one.labels)} classes are too many to draw"
    made.append(
      {
        "title": one.target,
        "lead": one.method + (large if is_large else ""),
        "tables": [] if is_large else [_matrix(one), _classes(one)],
      }
    )
  body = page.fill("confusions.html", found=made)
  return page.Section("Confusion by class", body)


def _matrix(one: Confusion) -> tables.Table:
  rows = []
  for label, counts in zip(one.labels, one.counts, strict=True):
    total = max(1, sum(counts))
    cells = [
      tables.Text(
        str(count) if count else "",
        tint=0.75 * count / total,
        kind="hit" if answer == label else "miss",
      )
      for answer, count in zip(one.answers, counts, strict=True)
    ]
    rows.append(tables.TableRow([tables.Text(label), *cells]))
  caption = "Class (down) by answer (across)"
  heads = [tables.Text("class"), *map(tables.Text, one.answers)]
  return tables.Table(caption, heads, [tables.Body("", rows)], "heat")


def _classes(one: Confusion) -> tables.Table:
  rows = []
  for label, recall, precision, f1, total in class_scores(one):
    rows.append(
      (
        label,
        *(f"{100 * x:.1f}" for x in (recall, precision, f1)),
        f"{total:,}",
      )
    )
  return tables.plain_table(
    "Each class, percent",
    ("class", "recall", "precision", "F1", "examples"),
    rows,
  )


def class_scores(one: Confusion) -> list[tuple]:
  """(label, recall, precision, F1, examples) of each class, in 0..1.

  A class that is never answered has a precision of 0.

  >>> made = class_scores(Confusion(
  ...   target="t", method="m", labels=("a", "b"), answers=("a", "b"),
  ...   counts=((3, 1), (0, 4)),
  ... ))
  >>> [(a, r, p, round(f, 3), n) for a, r, p, f, n in made]
  [('a', 0.75, 1.0, 0.857, 4), ('b', 1.0, 0.8, 0.889, 4)]
  """
  made = []
  for label, counts in zip(one.labels, one.counts, strict=True):
    column = one.answers.index(label)
    hits, total = counts[column], sum(counts)
    answered = sum(row[column] for row in one.counts)
    recall = hits / total if total else 0.0
    precision = hits / answered if answered else 0.0
    both = recall + precision
    f1 = 2 * recall * precision / both if both else 0.0
    made.append((label, recall, precision, f1, total))
  return made
