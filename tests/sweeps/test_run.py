"""What a sweep does with runs that diverge."""

import json
import pathlib

import rich.console
from sweep_tables import make_table

from mpt_jax.io.errors import TrainingDiverged
from mpt_jax.model.faults import Fault
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import run as sweeps
from mpt_jax.sweeps import tables


def test_a_sweep_goes_on_past_runs_that_diverge(tmp_path, monkeypatch):
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

  monkeypatch.setattr(sweeps.loop, "train", train)
  monkeypatch.setattr(sweeps.results, "check_run", lambda *_: None)
  monkeypatch.setattr(sweeps.results, "evaluate_run", lambda *_: False)
  monkeypatch.setattr(sweeps, "open_backbone", lambda _: None)
  console = rich.console.Console(record=True, width=300)
  lines, left_out = sweeps.sweep(table, tmp_path, console=console)
  assert trained == ["teach", "alone"]
  assert left_out == {
    "teach": "no slot is left",
    "adapt": "it needs teach, which diverged",
  }
  assert not any(line.cells for line in lines)
  finished = json.loads((tmp_path / "alone" / plans.FINISHED).read_text())
  assert finished["diverged"] == {"glue_rte_mpt": {"step": 4, "term": "update"}}
  shown = console.export_text()
  assert "teach was left out: no slot is left" in shown
  assert "alone: glue_rte_mpt diverged at step 4" in shown
