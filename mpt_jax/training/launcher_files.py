"""Lets one gin file run under every launcher; see `gin/base.gin`.

The experiment files name only mpt_jax and macros. `gin/base.gin` imports this
module and then includes `gin/launcher.gin`. There is no such file: the name
stands for the file in `gin/launchers/` of the program that runs, which binds
what that program's main function needs, from the same macros.
"""

import pathlib
import sys

import gin
from mpt_jax.io import paths

NATIVE = "mpt_jax.train"
T5X = ("t5x.train", "t5x.eval", "t5x.infer")


def launcher_name() -> str:
  """The program that runs: one of `T5X`, else `NATIVE`.

  `python -m t5x.train` and `python /path/to/t5x/train.py` are told alike.
  """
  main = sys.modules["__main__"]
  spec = getattr(main, "__spec__", None)
  name = spec.name if spec is not None else None
  if name is None and getattr(main, "__file__", None):
    path = pathlib.Path(main.__file__)
    name = f"{path.parent.name}.{path.stem}"
  return name if name in T5X else NATIVE


def launcher_file() -> pathlib.Path:
  """The gin file of the running program."""
  return paths.GIN / "launchers" / f"{launcher_name()}.gin"


# Gin has no other way to choose a file, and imports come before includes.
gin.config.register_file_reader(
  lambda path: open(launcher_file(), encoding="utf-8"),
  lambda path: path == "gin/launcher.gin",
)
