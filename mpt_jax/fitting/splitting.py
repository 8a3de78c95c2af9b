"""Draws validation and test rows out of the training rows, by label."""

from collections.abc import Sequence

from mpt_jax.tasks import splits

# Fewer rows than this are too few to hold any out, and so many give a test
# split besides the validation split.
FEWEST, ENOUGH_FOR_TEST = 10, 100
SHARE, MOST = 0.1, 1000
# A split has at least so many rows, where a fifth of all rows allows it.
LEAST = 20


def size_of(num_rows: int) -> int:
  """Returns the number of rows of a split that is drawn out of so many.

  >>> [size_of(n) for n in (10, 100, 2000, 50_000)]
  [2, 20, 200, 1000]
  """
  return min(max(round(SHARE * num_rows), min(LEAST, num_rows // 5)), MOST)


def draw(
  texts: Sequence[str], targets: Sequence[str] | None, size: int, seed: int = 0
) -> tuple[list[int], list[int]]:
  """Draws about `size` rows, of each label in proportion.

  The draw depends on the texts and the seed alone. Equal texts stay together,
  so no text is on both sides. At least one text of each label stays.

  Args:
    texts: the input of each row.
    targets: the label of each row; None draws from all rows alike.
    size: the number of rows to draw.
    seed: the seed.

  Returns:
    (drawn, rest): indices of rows, in the order of the rows.
  """
  by_label = {}
  first = {}
  for i, text in enumerate(texts):
    # Rows of one text follow the label of the first of them.
    label = first.setdefault(text, targets[i] if targets else "")
    by_label.setdefault(label, []).append(i)
  quotas = _quotas({k: len(v) for k, v in by_label.items()}, size)
  drawn = []
  for label, rows in by_label.items():
    alone = len({texts[i] for i in rows}) == 1
    if quotas[label] and not alone:
      drawn += splits.divide(rows, quotas[label], texts.__getitem__, seed)[0]
  drawn = set(drawn)
  return sorted(drawn), [i for i in range(len(texts)) if i not in drawn]


def _quotas(counts: dict[str, int], size: int) -> dict[str, int]:
  """Divides `size` in proportion to the counts, by largest remainders."""
  total = sum(counts.values())
  exact = {k: size * count / total for k, count in counts.items()}
  made = {k: int(value) for k, value in exact.items()}
  left = size - sum(made.values())
  by_rest = sorted(exact, key=lambda k: made[k] - exact[k])
  for label in by_rest[:left]:
    made[label] += 1
  return made
