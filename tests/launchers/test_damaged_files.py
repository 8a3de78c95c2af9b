"""Damaged gin files are refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz, may_refuse

from mpt_jax.launchers import gin_config

TEXT = """\
from __gin__ import dynamic_registration
from mpt_jax.training import optimizers
include "{other}"
SCALES = {{"a": (1.0, 2), 'b': [None, True]}}
one/optimizers.OptimizerConfig.learning_rate = %RATE
optimizers.OptimizerConfig.factor_learning_rate = 0.5
MADE = @one/optimizers.OptimizerConfig()
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  folder = tmp_path_factory.mktemp("gin")
  (folder / "other.gin").write_text("RATE = 0.3\n")
  (folder / "own.gin").write_text(TEXT.format(other=folder / "other.gin"))
  return folder / "own.gin"


def load(path):
  made = gin_config.load_config(
    [str(path)],
    ['MODEL_DIR = "x"'],
    [],
    "mpt_jax.training.optimizers.OptimizerConfig",
  )
  return made


@CASES
@given(data=st.data())
def test_gin_files(path, data):
  assert load(path)
  fuzz(data, path, lambda: load(path), names=["gin"])


BAD = {
  "a name that nothing has": "optimizers.OptimizerConfig.rate = 1\n",
  "bad syntax": "A = (1,\n",
  "a file that includes itself": 'include "{path}"\n',
  "macros that need each other": "A = %B\nB = %A\nmacro.value = %A\n",
  "a macro of itself": (
    "import mpt_jax.training.optimizers\n"
    "mpt_jax.training.optimizers.OptimizerConfig.learning_rate = %A\nA = %A\n"
  ),
  "a module that is not there": "import no_such_module_at_all\n",
  "a value of another type": (
    "import mpt_jax.training.optimizers\n"
    "mpt_jax.training.optimizers.OptimizerConfig.learning_rate = 'x'\n"
  ),
  "deep brackets": "A = " + "(" * 5000 + "\n",
  "a long number": "A = " + "9" * 5000 + "\n",
  "UTF-16": "A = 1\n".encode("utf-16"),
  "NUL": "A = 1\0\n",
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_gin_files(case, tmp_path):
  path = tmp_path / "own.gin"
  text = BAD[case]
  if isinstance(text, bytes):
    path.write_bytes(text)
  else:
    path.write_text(text.replace("{path}", str(path)))
  may_refuse(lambda: load(path), "gin")
