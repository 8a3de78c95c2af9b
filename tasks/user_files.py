"""Official files of datasets, which are read in preference to TFDS.

Each dataset has a folder in `$MPT_DATA_DIR`, or in `mpt_jax` below
`$XDG_DATA_HOME` (`~/.local/share` if that is not set). Its files have the names
that their owner gives them, and may be packed by gzip.
"""

import dataclasses
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from mpt_jax.data.rows import GZIP


def data_dir() -> pathlib.Path:
  """Returns the folder of the user's dataset files."""
  if os.environ.get("MPT_DATA_DIR"):
    return pathlib.Path(os.environ["MPT_DATA_DIR"]).expanduser()
  home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
  return pathlib.Path(home).expanduser() / "mpt_jax"


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserFiles:
  """A dataset's files.

  Attributes:
    folder: the dataset's folder, below `data_dir()`.
    names: {the dataset's own split: its file or folder, or several names of
      which the first that exists counts}.
    read: yields the rows of a path and a split, see `readers`.
    origin: where to get the files.
    owner: who made them.
    licence: the licence, as far as it is known here.
    size: of the owner's archive.
    counts: {the dataset's own split: number of rows that the owner or TFDS
      states}.
    also: other folders below `data_dir()`, such as one for a whole benchmark.
    inside: folders that the owner's archive makes when it is unpacked.
  """

  folder: str
  names: Mapping[str, str | tuple[str, ...]]
  read: Callable[[pathlib.Path, str], Iterable[dict]]
  origin: str
  owner: str
  licence: str
  size: str
  counts: Mapping[str, int]
  also: tuple[str, ...] = ()
  inside: tuple[str, ...] = ()

  @property
  def path(self) -> pathlib.Path:
    return data_dir() / self.folder

  def names_of(self, split: str) -> tuple[str, ...]:
    """Returns the names that a split's file may have.

    Raises:
      ValueError: the dataset has no file of this split.
    """
    if split not in self.names:
      raise ValueError(
        f"there is no file of the split {split!r}, only of"
        f" {', '.join(self.names)}"
      )
    names = self.names[split]
    return (names,) if isinstance(names, str) else tuple(names)

  def _places(self) -> Iterator[pathlib.Path]:
    for folder in (self.folder, *self.also):
      for inside in ("", *self.inside):
        yield data_dir() / folder / inside

  def find(self, split: str) -> pathlib.Path | None:
    """Returns the path of a split's file, None if there is none."""
    for place in self._places():
      for name in self.names_of(split):
        plain = place / name.removesuffix(GZIP)
        for path in (plain, plain.with_name(plain.name + GZIP)):
          if path.exists():
            return path
    return None

  def exist(self) -> bool:
    """Whether any of the files is there."""
    return any(self.find(split) for split in self.names)

  def where(self) -> str:
    """Says which files go where, and where they come from."""
    names = dict.fromkeys(self.names_of(split)[0] for split in self.names)
    return (
      f"put {', '.join(names)} (from {self.origin}) into"
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
    path = self.find(split)
    if path is None:
      missing = self.path / self.names_of(split)[0]
      raise FileNotFoundError(f"no file {missing}: {self.where()}")
    try:
      made = list(self.read(path, split))
      if not made:
        raise ValueError("it is empty")
    except (
      ValueError,
      KeyError,
      TypeError,
      AttributeError,
      EOFError,
      zlib.error,
    ) as error:
      raise ValueError(
        f"{path} is not the file from {self.origin}:"
        f" {type(error).__name__}: {error}"
      ) from error
    return made
