"""Lets one gin file run under every launcher; see `gin/base.gin`.

The experiment files name only mpt_jax and macros. `gin/base.gin` imports this
module and then includes `gin/launcher.gin`. No such file exists: the name
stands for the file in `gin/launchers/` that belongs to the running program.
That file binds the arguments of the program's main function to the macros.
"""

import pathlib
import sys

import gin
from mpt_jax.io import paths

NATIVE = "mpt_jax.train"
T5X = ("t5x.train", "t5x.eval", "t5x.infer")


def launcher_name(main) -> str:
  """Returns the name of the running program: one of `T5X`, else `NATIVE`.

  `python -m t5x.train` and `python /path/to/t5x/train.py` are the same
  program.

  Args:
    main: the module `__main__`.
  """
  spec = getattr(main, "__spec__", None)
  name = spec.name if spec is not None else None
  if name is None and getattr(main, "__file__", None):
    path = pathlib.Path(main.__file__)
    name = f"{path.parent.name}.{path.stem}"
  return name if name in T5X else NATIVE


def launcher_file() -> pathlib.Path:
  """Returns the gin file of the running program."""
  name = launcher_name(sys.modules["__main__"])
  return paths.GIN / "launchers" / f"{name}.gin"


# Gin has no other way to choose a file. It runs imports before includes.
gin.config.register_file_reader(
  lambda path: open(launcher_file(), encoding="utf-8"),
  lambda path: path == "gin/launcher.gin",
)
