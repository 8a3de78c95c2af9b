"""The choice of the launcher's gin file for `gin/launcher.gin`."""

import types

import pytest

from mpt_jax.launchers import launcher_files


def program(name=None, file=None):
  spec = None if name is None else types.SimpleNamespace(name=name)
  return types.SimpleNamespace(__spec__=spec, __file__=file)


@pytest.mark.parametrize(
  ("main", "expected"),
  [
    (program("t5x.train"), "t5x.train"),
    (program("t5x.infer"), "t5x.infer"),
    (program(file="/opt/code/t5x/eval.py"), "t5x.eval"),
    (program("mpt_jax.train"), "mpt_jax.train"),
    # Neither is t5x's: the command `mpt`, and a notebook without a file.
    (program(file="/usr/bin/mpt"), "mpt_jax.train"),
    (program(), "mpt_jax.train"),
  ],
)
def test_the_program_is_recognised_by_its_module_or_its_path(main, expected):
  assert launcher_files.launcher_name(main) == expected


@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_the_mode_of_t5x_main_chooses_the_program(mode):
  for main in (program("t5x.main"), program(file="/opt/code/t5x/main.py")):
    assert launcher_files.launcher_name(main, mode) == f"t5x.{mode}"


@pytest.mark.parametrize("mode", ["precompile", None])
def test_another_mode_of_t5x_main_is_refused(mode):
  with pytest.raises(ValueError, match=f"one of train, eval, infer.*{mode}"):
    launcher_files.launcher_name(program("t5x.main"), mode)


def test_every_launcher_has_its_file():
  for name in (launcher_files.NATIVE, *launcher_files.T5X):
    file = launcher_files.launcher_file().with_name(f"{name}.gin")
    assert file.is_file(), name
