"""The commands for a borrowed GPU, rehearsed on a CPU with a tiny T5."""

import os
import pathlib
import subprocess

import jax
import numpy as np
import pytest

from mpt_jax.model.accelerator.plan import Accelerated
from mpt_jax.model.plan import Dense

FOLDER = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def parity(monkeypatch):
  """The benchmark's modules are beside its command, not in a package."""
  monkeypatch.syspath_prepend(str(FOLDER))
  import parity

  return parity


@pytest.mark.parametrize("shape", [(20, 7, 5), (9, 3, 1)])
def test_the_plan_of_accelerators_is_as_near_as_it_should_be(parity, shape):
  model, params, frozen = parity.make_case("t5_tiny", "float32")
  batch, _ = parity.draw_batch(model, *shape)
  plan = Accelerated(platform="xla")
  found = parity.differences(model, plan, params, frozen, batch)
  assert {"total", "gradient['prompt']['shared_prompt']"} <= found.keys()
  assert max(found.values()) < 1e-4


def test_another_result_is_seen(parity):
  class Wrong(Dense):
    """Has other teachers."""

    def prepare(self, frozen):
      teachers = jax.tree.map(np.ones_like, frozen["teacher_prompt"])
      return {**frozen, "teacher_prompt": teachers}

  model, params, frozen = parity.make_case("t5_tiny", "float32")
  batch, _ = parity.draw_batch(model, 20, 7, 5)
  found = parity.differences(model, Wrong(), params, frozen, batch)
  assert max(found.values()) > 1e-2


@pytest.mark.parametrize("minutes, code", [("5", 0), ("0", 1)])
def test_the_script_runs_whole_or_says_what_it_left_out(
  tmp_path, minutes, code
):
  for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason="the peer needs it (the test extra)")
  options = (
    "--quick --sources mnli sst2 --scale 0.1 --prompt_length 3 --batch_size 4"
    " --pairs 1 --predict_rows 5"
  )
  done = subprocess.run(
    ["bash", str(FOLDER / "gpu.sh"), str(tmp_path), minutes],
    env={
      **os.environ,
      "MODELS": "t5_tiny",
      "ROWS": "teach",
      "DTYPE": "float32",
      "OPTIONS": options,
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == code, done.stdout + done.stderr
  text = {path.name: path.read_text() for path in tmp_path.iterdir()}
  assert text.keys() == {"parity.log", "t5_tiny.log", "t5_tiny_compiled.log"}
  if code:
    assert all("no time left" in log for log in text.values())
  else:
    assert text["parity.log"].count("parity t5_tiny float32") == 3
    assert "ratio teach" in text["t5_tiny.log"]
    assert "ratio teach" in text["t5_tiny_compiled.log"]
