"""A table of the paper over the datasets' own files, where TFDS is no help."""

import json
import subprocess
import sys

import numpy as np
import official_files
from program_runs import environment
from train_fixtures import save_tiny_backbone

from mpt_jax.tasks.benchmarks import datasets

# Whoever asks TFDS for data fails.
NO_TFDS = "import tensorflow_datasets\ntensorflow_datasets.load = None\n"
TABLE = """
from __gin__ import dynamic_registration
import no_tfds

include "gin/tables/superglue.gin"

METHODS = ("mpt",)
SEEDS = (0,)
SOURCE_LENGTHS = {"inputs": 16, "targets": 4}
TARGET_LENGTHS = {"inputs": 16, "targets": 4}
TEACH_STEPS = 2
DISTILL_STEPS = 2
ADAPT_STEPS = 2
TEACH_BATCH_SIZE = 6
"""


def test_superglue_trains_two_steps_of_each_stage(tmp_path):
  t5 = save_tiny_backbone(tmp_path / "t5", emb_dim=16)
  for name in {*datasets.SOURCES, *datasets.SUPER_GLUE}:
    official_files.write(tmp_path / "data" / name, name)
  (tmp_path / "no_tfds.py").write_text(NO_TFDS)
  (tmp_path / "own.gin").write_text(TABLE)
  # A process of its own: the tasks of this one have read mocked rows.
  made = subprocess.run(
    [
      *(sys.executable, "-m", "mpt_jax", "sweep", "--gin_file=own.gin"),
      *(f"--gin.INITIAL_CHECKPOINT_PATH={t5!r}", "--gin.MODEL_DIR='runs'"),
      *("--gin.PROMPT_LENGTH=2", "--gin.EXAMPLES_PER_SLOT=1"),
      *("--only", "sources/*", "superglue/adapt"),
    ],
    cwd=tmp_path,
    env={**environment(tmp_path), "MPT_DATA_DIR": str(tmp_path / "data")},
    capture_output=True,
    text=True,
  )
  assert made.returncode == 0, made.stderr[-2000:]
  for run in ("sources/teach", "sources/distill", "superglue/adapt"):
    lines = (tmp_path / "runs" / run / "metrics.jsonl").read_text().splitlines()
    losses = {
      line["step"]: line["loss"]
      for line in map(json.loads, lines)
      if line["kind"] == "train"
    }
    assert max(losses) == 2 and np.isfinite([*losses.values()]).all()
  table = json.loads((tmp_path / "runs" / "superglue.json").read_text())
  (ours,) = [row for row in table["rows"] if row["here"]]
  assert ours["method"] == "MPT"
  assert set(ours["here"]) == {*table["columns"].values(), table["average"]}
