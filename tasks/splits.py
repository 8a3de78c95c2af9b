"""Train, validation and test of a dataset whose public test has no labels.

The protocol of the paper and of those before it: test is the dataset's own
validation split. A dataset of fewer than 10,000 examples has its validation
split halved into validation and test; a larger one gives 1,000 examples of
its train split as validation. Where the public test split has labels, the
dataset's own splits stay as they are.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

NUM_VALIDATION_EXAMPLES = 1000
DIVISIONS = ("halve", "carve", "own")
# Fixed, so every run and machine divides a dataset in the same way.
SEED = 0


@dataclasses.dataclass(frozen=True)
class Splits:
  """How a dataset's own splits become train, validation and test.

  Attributes:
    division: "halve": validation and test are the halves of the dataset's
      `test`; "carve": validation is 1,000 rows of the dataset's `train`;
      "own": all three are the dataset's own.
    train: the dataset's own split that becomes train.
    test: its split that becomes test and must have labels. The default is its
      test with "own", otherwise its validation.
    validation: its split that becomes validation, with "own".
    others: {split: the dataset's own split}, further test splits.
  """

  division: str
  train: str = "train"
  test: str | None = None
  validation: str = "validation"
  others: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.division not in DIVISIONS:
      raise ValueError(
        f"Splits.division must be one of {DIVISIONS}, got {self.division!r}"
      )
    if self.test is None:
      own = self.division == "own"
      object.__setattr__(self, "test", "test" if own else "validation")

  @property
  def names(self) -> tuple[str, ...]:
    return ("train", "validation", "test", *self.others)

  @property
  def own_splits(self) -> tuple[str, ...]:
    """The dataset's own splits that are read."""
    own = [self.train, self.test, *self.others.values()]
    if self.division == "own":
      own.insert(1, self.validation)
    return tuple(dict.fromkeys(own))

  def read(
    self,
    split: str,
    read: Callable[[str], Sequence],
    key: Callable[..., str],
  ) -> dict[str, list]:
    """Reads a split, and the split that is cut from the same rows.

    Args:
      split: one of `names`.
      read: returns the rows of one of the dataset's own splits.
      key: returns the text of a row that decides the draw. Rows with the same
        key stay together.

    Returns:
      {split: rows} with `split` among the keys.
    """
    if self.division == "halve" and split in ("validation", "test"):
      rows = read(self.test)
      parts = divide(rows, len(rows) // 2, key)
      return dict(zip(("validation", "test"), parts, strict=True))
    if self.division == "carve" and split in ("train", "validation"):
      rows = read(self.train)
      # Take a tenth if there are too few rows, as in a reduced copy.
      size = min(NUM_VALIDATION_EXAMPLES, -(-len(rows) // 10))
      parts = divide(rows, size, key)
      return dict(zip(("validation", "train"), parts, strict=True))
    own = {
      "train": self.train,
      "validation": self.validation,
      "test": self.test,
      **self.others,
    }
    return {split: list(read(own[split]))}


HALVE = Splits("halve")
CARVE = Splits("carve")
OWN = Splits("own")


def divide(
  rows: Sequence, size: int, key: Callable[..., str], seed: int = SEED
) -> tuple[list, list]:
  """Draws about `size` rows; returns them and the rest.

  The draw depends on the seed and the keys alone, not on the order of the rows,
  the library's version or the machine. Rows with the same key stay together, so
  the first part may have a few more rows than `size`. Both parts are in the
  order of the draw.
  """
  groups = {}
  for row in rows:
    groups.setdefault(key(row), []).append(row)

  def digest(text):
    return hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()

  first, rest = [], []
  for text in sorted(groups, key=digest):
    (first if len(first) < size else rest).extend(groups[text])
  return first, rest
