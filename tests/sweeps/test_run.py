"""What a sweep does with runs that diverge."""

import json
import pathlib
import types

import rich.console
import tfds_rows
from sweep_tables import make_table
from train_fixtures import register_tiny_task, tiny_backbone

from mpt_jax.cli import main as cli
from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.model.faults import Fault
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import run as sweeps
from mpt_jax.sweeps import tables

__all__ = ["tiny_backbone"]


def test_a_sweep_goes_on_past_runs_that_diverge(
  tmp_path, monkeypatch, tmp_path_factory
):
  """One run diverges wholly, one needs it, one has a slot that diverges."""
  table = make_table()
  adapt = table.runs[1]
  alone = tables.Run(
    name="alone", gin_file=adapt.gin_file, defaults=adapt.defaults
  )
  table = make_table(runs=(*table.runs, alone))
  trained = []

  class Trained:
    diverged = (Fault("glue_rte_mpt", 4, "update"),)

  def train(model_dir, description, **_):
    trained.append(description)
    if description == "teach":
      raise TrainingDiverged("no slot is left")
    pathlib.Path(model_dir).mkdir(parents=True)
    return Trained

  # Not in the module itself, as gin would keep it for later tests.
  monkeypatch.setattr(sweeps, "loop", types.SimpleNamespace(train=train))
  monkeypatch.setattr(sweeps.results, "check_run", lambda *_: None)
  monkeypatch.setattr(sweeps.results, "evaluate_run", lambda *_: False)
  monkeypatch.setattr(sweeps, "open_backbone", lambda _: None)
  console = rich.console.Console(record=True, width=300)
  with tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")):
    lines, left_out, diverged = sweeps.sweep(table, tmp_path, console=console)
  assert trained == ["teach", "alone"]
  assert left_out == {
    "teach": "no slot is left",
    "adapt": "it needs teach, which diverged",
  }
  # The table has no number of this run, so its lines do not say it.
  assert diverged == ["alone"]
  assert not any(line.cells for line in lines)
  finished = json.loads((tmp_path / "alone" / plans.FINISHED).read_text())
  assert finished["diverged"] == {"glue_rte_mpt": {"step": 4, "term": "update"}}
  shown = console.export_text()
  assert "teach was left out: no slot is left" in shown
  assert "alone: glue_rte_mpt diverged at step 4" in shown


TABLE = """
from __gin__ import dynamic_registration
from mpt_jax.sweeps import run
from mpt_jax.sweeps import tables
MODEL_DIR = %gin.REQUIRED
run.sweep.table = @tables.Table()
run.sweep.model_dir = %MODEL_DIR
tables.Table:
  name = "small"
  title = "A small table"
  model = "t5_base"
  split = "validation"
  columns = {{"{task}": "T"}}
  runs = (@broken/tables.Run(), @sound/tables.Run())
  rows = (@broken/tables.Row(), @sound/tables.Row())
tables.Run.gin_file = "gin/mpt_teacher.gin"
broken/tables.Run.name = "broken"
broken/tables.Run.defaults = {{"LEARNING_RATE": 1e38}}
sound/tables.Run.name = "sound"
broken/tables.Row.method = "broken"
broken/tables.Row.run = "broken"
sound/tables.Row.method = "sound"
sound/tables.Row.run = "sound"
"""


def test_the_command_goes_on_past_a_run_that_diverges(
  tiny_backbone, tmp_path, capfd
):
  task = register_tiny_task(tmp_path)
  (tmp_path / "small.gin").write_text(TABLE.format(task=task))
  values = {
    "MODEL_DIR": str(tmp_path / "runs"),
    "MIXTURE_OR_TASK_NAME": task,
    "INITIAL_CHECKPOINT_PATH": tiny_backbone,
    "PROMPT_LENGTH": 2,
    "TASK_FEATURE_LENGTHS": {"inputs": 16, "targets": 4},
    "BATCH_SIZE": 8,
    "TRAIN_STEPS": 3,
    "EvalConfig.num_rows": 8,
  }
  bound = [f"--gin.{k}={v!r}" for k, v in values.items()]
  file = f"--gin_file={tmp_path / 'small.gin'}"
  assert cli.main(["sweep", file, *bound]) == 3
  said = " ".join(capfd.readouterr().err.split())
  assert "broken was left out: no slot is left to train: " in said
  table = json.loads((tmp_path / "runs" / "small.json").read_text())
  measured = [row["method"] for row in table["rows"] if row["here"]]
  assert measured == ["sound"]
  page = (tmp_path / "runs" / "report.html").read_text()
  assert "A small table" in page and ">sound<" in page
  assert "A small table is not finished; cells without a number: 1." in page
  # Nothing is trained again.
  assert (tmp_path / "runs" / "sound" / plans.FINISHED).is_file()
  assert not (tmp_path / "runs" / "broken" / plans.FINISHED).exists()
