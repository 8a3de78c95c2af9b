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
# t5x's program for several modes; --run_mode chooses one.
T5X_MAIN = "t5x.main"


def launcher_name(main, run_mode: str | None = None) -> str:
  """Returns the name of the running program: one of `T5X`, else `NATIVE`.

  `python -m t5x.train`, `python /path/to/t5x/train.py` and
  `python -m t5x.main --run_mode=train` are the same program.

  Args:
    main: the module `__main__`.
    run_mode: the mode of `t5x.main`.

  Raises:
    ValueError: the mode is none of `T5X`.
  """
  spec = getattr(main, "__spec__", None)
  name = spec.name if spec is not None else None
  if name is None and getattr(main, "__file__", None):
    path = pathlib.Path(main.__file__)
    name = f"{path.parent.name}.{path.stem}"
  if name == T5X_MAIN:
    name = f"t5x.{run_mode}"
    if name not in T5X:
      modes = ", ".join(program.removeprefix("t5x.") for program in T5X)
      raise ValueError(
        f"--run_mode must be one of {modes} with the gin files of mpt_jax, got"
        f" {run_mode}"
      )
  return name if name in T5X else NATIVE


def _run_mode() -> str | None:
  """Returns the mode of `t5x.main`, which has parsed it by now."""
  from absl import flags

  mode = flags.FLAGS["run_mode"].value if "run_mode" in flags.FLAGS else None
  return getattr(mode, "value", None)


def launcher_file() -> pathlib.Path:
  """Returns the gin file of the running program."""
  name = launcher_name(sys.modules["__main__"], _run_mode())
  return paths.GIN / "launchers" / f"{name}.gin"


# Gin has no other way to choose a file. It runs imports before includes.
gin.config.register_file_reader(
  lambda path: open(launcher_file(), encoding="utf-8"),
  lambda path: path == "gin/launcher.gin",
)
