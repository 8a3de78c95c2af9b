"""`mpt compile` as a user runs it."""

import json
import os
import subprocess
import sys

import pytest

from mpt_jax.cli import main as cli


def compile_(*arguments, **environment):
  """Runs the command in a process of its own, on one CPU."""
  return subprocess.run(
    [sys.executable, "-m", "mpt_jax", "compile", *arguments],
    env={
      **os.environ,
      "XLA_FLAGS": "",
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "COLUMNS": "80",
      **environment,
    },
    capture_output=True,
    text=True,
    check=False,
  )


def test_a_stage_of_gin_files(tmp_path):
  # TEACHERS and MODEL_DIR are required by a run; no shape depends on them.
  made = compile_(
    "--gin_file=gin/mpt_distill.gin",
    "--topology=cpu:2",
    "--backbone=t5_tiny",
    "--gin.PROMPT_LENGTH=8",
    '--gin.TASK_FEATURE_LENGTHS={"inputs": 24, "targets": 4}',
    "--gin.BATCH_SIZE=2",
    f"--json={tmp_path / 'cost.json'}",
  )
  assert made.returncode == 0, made.stderr
  assert made.stderr == ""
  first, second, *_ = made.stdout.splitlines()
  assert first == "train on cpu:2: reading the gin files ..."
  assert second.startswith("2 × cpu as 2 data × 1 model")
  values = json.loads((tmp_path / "cost.json").read_text())
  assert values["fits"] and values["compile_seconds"] > 0
  arguments = values["programs"][0]["arguments"]
  # Four tasks' teachers of 8 × 64 numbers.
  assert arguments["teachers"] == 4 * 8 * 64 * 4
  # P*, four columns of 8 and four rows of 64, four times: themselves, Adam's
  # means and a backup. The step, two counts, and two faults of each task.
  numbers = 8 * 64 + 4 * 8 + 4 * 64
  state = 4 * 4 * numbers + 4 + 2 * 4 + 4 * 2 * 4
  assert arguments["prompts and optimizer"] == state
  # Eight rows at least (`row_multiple`), so each device has four, of 32 encoder
  # positions in four arrays and of 8 targets in five; and a key.
  assert arguments["batch"] == 4 * 4 * (4 * 32 + 5 * 8) + 8
  # The two devices sum the gradients of their halves of the batch.
  assert {c["group"] for c in values["collectives"]} == {2}


@pytest.mark.parametrize(
  "arguments, message",
  [
    (("--topology=v9:2x2",), "'v9:2x2' is no slice"),
    (("--topology=cpu", "--backbone=t5_huge"), "no T5 't5_huge'"),
    (("--topology=cpu", "--gin.BATCH_SIZES=2"), "BATCH_SIZES"),
    (("--topology=cpu", "--gin.MIXTURE_OR_TASK_NAME='nope'"), "nope"),
  ],
)
def test_mistakes_are_one_line(arguments, message):
  made = compile_("--gin_file=gin/mpt_teacher.gin", *arguments)
  assert made.returncode == 2
  (line,) = made.stderr.splitlines()
  assert line.startswith("error: ") and message in line


def test_a_topology_is_required(capsys):
  with pytest.raises(SystemExit) as caught:
    cli.main(["compile", "--gin_file=gin/mpt_teacher.gin"])
  assert caught.value.code == 2
  assert "--topology" in capsys.readouterr().err


def test_a_slice_that_is_not_here(tmp_path):
  pytest.importorskip("libtpu", reason="the extra [tpu] has the TPU's compiler")
  made = compile_(
    "--gin_file=gin/mpt_distill.gin",
    "--gin.DTYPE='bfloat16'",
    "--backbone=t5_tiny",
    "--topology=v5e-4",
    f"--json={tmp_path / 'cost.json'}",
    JAX_DISABLE_MOST_OPTIMIZATIONS="0",
  )
  assert made.returncode == 0, made.stderr
  assert made.stderr == ""
  assert "4 × TPU v5e as 4 data × 1 model" in made.stdout
  values = json.loads((tmp_path / "cost.json").read_text())
  assert values["fits"] and values["device_kind"] == "TPU v5 lite"
  # V = 32128, D = 64, 4 heads of 16, 128 inner, two layers in each stack, in
  # two bytes. Each attention has 4 · 64 · 64, each feed-forward block
  # 2 · 64 · 128; two and three norms in a layer, and one behind each stack.
  attention, feed_forward = 4 * 64 * 64, 2 * 64 * 128
  encoder = 2 * (attention + feed_forward + 2 * 64) + 32 * 4 + 64
  decoder = 2 * (2 * attention + feed_forward + 3 * 64) + 32 * 4 + 64
  weights = 2 * (32128 * 64 + encoder + decoder)
  assert values["programs"][0]["arguments"]["weights"] == weights
  assert {c["group"] for c in values["collectives"]} == {4}
