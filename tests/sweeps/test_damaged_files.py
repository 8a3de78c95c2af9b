"""The files of a sweep's runs: damage is refused in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import CASES, fuzz
from sweep_tables import make_table, write_run

from mpt_jax.io import digests
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import results


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """(table, planned runs) of which one has results."""
  table, folder = make_table(), tmp_path_factory.mktemp("sweep")
  planned = plans.plan(
    table, folder, ['INITIAL_CHECKPOINT_PATH = "no/such/t5"']
  )
  names = [slot.name for slot in planned[1].experiment.slots]
  scores = {"accuracy": 0.5, "matthews": 0.25}
  write_run(planned[1], dict.fromkeys(names, 0.5), dict.fromkeys(names, scores))
  return table, planned


@pytest.mark.parametrize("sealed", [True, False])
@CASES
@given(data=st.data())
def test_results(sealed, measured, data):
  table, planned = measured
  path = planned[1].folder / results.RESULTS
  fields = json.loads(path.read_text())
  fields.pop(digests.FIELD, None)
  path.write_text(json.dumps(digests.seal(fields) if sealed else fields))

  def read():
    found = results.read_results(planned[1])
    if digests.FIELD in json.loads(path.read_text()):
      assert found == fields
    for slot in planned[1].experiment.slots[:2]:
      [r["value"] + 0.0 for r in found["rows"] if r["prompt"] == slot.name]
      [r["metric"] in ("accuracy", "matthews") for r in found["rows"]]

  fuzz(data, path, read)


@CASES
@given(data=st.data())
def test_marks_of_finished_runs(measured, data):
  run = measured[1][0]
  path = run.folder / plans.FINISHED
  path.parent.mkdir(exist_ok=True)
  fault = {"step": 3, "term": "the loss"}
  fields = {"total_steps": 2, "diverged": {"a": fault}}
  path.write_text(json.dumps(digests.seal(fields)))

  def read():
    for slot, found in run.diverged.items():
      assert isinstance(slot, str) and found["step"] and found["term"]

  fuzz(data, path, read)
