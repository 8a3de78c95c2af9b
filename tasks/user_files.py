"""Datasets in the user's files, for those that TFDS lacks or cannot fetch.

Each dataset has a folder in `$MPT_DATA_DIR`, or in `mpt_jax` below
`$XDG_DATA_HOME` (`~/.local/share` if that is not set).
"""

import dataclasses
import gzip
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping

from mpt_jax.data import rows


def data_dir() -> pathlib.Path:
  """Returns the folder of the user's dataset files."""
  if os.environ.get("MPT_DATA_DIR"):
    return pathlib.Path(os.environ["MPT_DATA_DIR"]).expanduser()
  home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
  return pathlib.Path(home).expanduser() / "mpt_jax"


@dataclasses.dataclass(frozen=True)
class UserFiles:
  """A dataset's files.

  Attributes:
    folder: the dataset's folder, below `data_dir()`.
    names: {the dataset's own split: file name}.
    origin: where to get the files.
    read_rows: yields the rows of a file that is open for reading bytes, given
      its name for errors.
  """

  folder: str
  names: Mapping[str, str]
  origin: str
  read_rows: Callable[[Iterable[bytes], object], Iterable[dict]]

  @property
  def path(self) -> pathlib.Path:
    return data_dir() / self.folder

  def where(self) -> str:
    """Says which files go where, and where they come from."""
    return (
      f"put {', '.join(self.names.values())} (from {self.origin}) into"
      f" {self.path}, or set MPT_DATA_DIR to the folder that has"
      f" {self.folder}/"
    )

  def rows(self, split: str) -> list[dict]:
    """Reads a split.

    Raises:
      FileNotFoundError: the file is missing; the message says which file goes
        where.
      ValueError: the file has another format.
    """
    if split not in self.names:
      raise ValueError(
        f"there is no file of the split {split!r}, only of"
        f" {', '.join(self.names)}"
      )
    path = self.path / self.names[split]
    if not path.is_file():
      raise FileNotFoundError(f"no file {path}: {self.where()}")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
      with opened(path, "rb") as file:
        made = list(self.read_rows(file, path))
      if not made:
        raise ValueError("it is empty")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f"{path} is not the file from {self.origin}:"
        f" {type(error).__name__}: {error}"
      ) from error
    return made


def read_scitail(lines: Iterable[bytes], name) -> Iterable[dict]:
  """Yields SciTail's premise, hypothesis and label (tab-separated)."""
  header = ("premise", "hypothesis", "label")
  for _, row in rows.read_rows(lines, name, "tsv", header):
    yield row


def read_mrqa(lines: Iterable[bytes], name) -> Iterable[dict]:
  """Yields MRQA's questions: a header, then a JSON object per context."""
  for number, passage in rows.read_rows(lines, name, "json"):
    for row in passage.get("qas", ()):
      answers = row["answers"]
      if not isinstance(answers, list) or any(
        not isinstance(answer, str) for answer in answers
      ):
        raise ValueError(f"line {number}: the answers are not a list of texts")
      yield {
        "context": passage["context"].strip(),
        "question": row["question"].strip(),
        "answers": answers,
      }


def read_e2e(lines: Iterable[bytes], name) -> Iterable[dict]:
  """Yields E2E's meaning representations and texts (CSV with mr and ref)."""
  for _, row in rows.read_rows(lines, name, "csv"):
    yield {"meaning_representation": row["mr"], "target": row["ref"]}
