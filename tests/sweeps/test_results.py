"""The choice on validation, the numbers of a table, and counts."""

import dataclasses
import json

import pytest
from sweep_tables import make_table

from mpt_jax.model.config import T5Config
from mpt_jax.prompts import methods
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.slots import prompt_config
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import report, results, tables


def line_of(lines, method):
  return next(line for line in lines if line.method == method)


def test_cells_are_means_over_seeds_of_the_papers_metric(measured):
  table, planned = measured
  line = line_of(results.table_lines(table, planned), "MPT")
  # RTE counts by accuracy: 80 and 90. The sample deviation of two numbers is
  # their difference over the root of 2: 10 / 1.41421 = 7.0711.
  mean, std, num_seeds = line.cells["RTE"]
  assert (round(mean, 6), round(std, 4), num_seeds) == (85.0, 7.0711, 2)
  # CoLA counts by Matthews: half of that.
  mean, std, _ = line.cells["CoLA"]
  assert (round(mean, 6), round(std, 4)) == (42.5, 3.5355)
  # The seeds' averages are (80 + 40) / 2 = 60 and (90 + 45) / 2 = 67.5, which
  # differ by 7.5; 7.5 / 1.41421 = 5.3033.
  mean, std, _ = line.cells["GLUE"]
  assert (round(mean, 6), round(std, 4)) == (63.75, 5.3033)
  assert line.metrics == {"RTE": "accuracy", "CoLA": "matthews"}


def test_candidates_are_chosen_by_their_mean_on_validation(measured):
  table, planned = measured
  line = line_of(results.table_lines(table, planned), "prompt tuning")
  # On CoLA the lower rate has a mean of 0.6, the higher (0.5 + 0.69) / 2.
  assert line.labels == {
    "RTE": "prompt_tuning-lr_x1",
    "CoLA": "prompt_tuning-lr_x0.1",
  }
  assert line.cells["RTE"].mean == pytest.approx((70 + 80) / 2)
  assert line.cells["CoLA"].mean == pytest.approx((50 + 60) / 2 / 2)


def test_candidates_need_validation_scores():
  slots = methods.Method(name="x", learning_rate_scales=(1, 2)).slots(
    ("glue_rte",), (None,), (0,)
  )
  with pytest.raises(ValueError, match="no validation score to choose by"):
    results.choose(slots, {slots[0].name: 0.5})
  assert results.choose(slots[:1], {}) == {"glue_rte": "x-lr_x1"}


def test_what_is_not_measured_is_shown_as_missing(measured):
  table, planned = measured
  path = planned[1].folder / "results.json"
  rows = json.loads(path.read_text())["rows"]
  rows = [row for row in rows if row["prompt"] != "glue_rte_s1_mpt"]
  path.write_text(json.dumps({"rows": rows}))
  line = line_of(results.table_lines(table, planned), "MPT")
  # One seed of RTE is not there: neither is the cell, nor the average.
  assert set(line.cells) == {"CoLA"}
  path.unlink()
  lines = results.table_lines(table, planned)
  assert line_of(lines, "MPT").cells == {}
  text = report.markdown(table, lines)
  assert "| MPT | here | 77,668 | – | – | – |" in text
  assert "| MPT | paper | 77.6K | 79.4 | ? | 85.6 |" in text


def test_a_cell_with_a_slot_that_diverged_is_marked(measured):
  table, planned = measured
  fault = {"glue_rte_s1_mpt": {"step": 3, "term": "update"}}
  path = planned[1].folder / plans.FINISHED
  path.write_text(json.dumps({"total_steps": 9, "diverged": fault}))
  lines = results.table_lines(table, planned)
  slots = ["glue_rte_s1_mpt"]
  assert line_of(lines, "MPT").diverged == {"RTE": slots, "GLUE": slots}
  assert line_of(lines, "prompt tuning").diverged == {}
  text = report.markdown(table, lines)
  assert (
    "| MPT | here | 77,668 | 85.0! ± 7.1 | 42.5 ± 3.5 | 63.8! ± 5.3 |" in text
  )
  assert (
    "!: with slots that diverged, at their last good state: glue_rte_s1" in text
  )


def test_bleu_is_in_percent_already():
  for name in ("bleu", "bleu_e2e", "bleu_webnlg"):
    assert results.in_percent(name, 31.5) == 31.5
  assert results.in_percent("f1", 0.315) == 31.5


@pytest.mark.parametrize(
  ("changes", "bindings", "message"),
  [
    ({}, ["SHOTS = (8,)"], "no cell: .*rows have None shots"),
    ({"columns": {"glue_mrpc": "M"}}, [], "its columns are glue_mrpc"),
    ({"rows": ()}, [], "'adapt' is in no row.*no other run uses it"),
    ({}, ["Experiment.eval = None"], "candidates.*no validation score"),
  ],
)
def test_what_cannot_be_shown_is_not_trained(
  tmp_path, changes, bindings, message
):
  if "columns" in changes:
    changes = {
      **changes,
      "rows": (tables.Row(method="MPT", run="adapt", label="mpt"),),
    }
  table = make_table(**changes)
  planned = plans.plan(table, tmp_path, bindings)
  # A run that others use needs no row.
  results.check_run(table, planned[0], planned)
  with pytest.raises(ValueError, match=message):
    results.check_run(table, planned[1], planned)


def count_slots(slots, **changes):
  from mpt_jax.training.experiment import Experiment

  experiment = Experiment(slots=tuple(slots), total_steps=1, **changes)
  config = T5Config.preset("t5_base")
  return results.trained_parameters(experiment, slots, config)


def test_counts_are_the_papers():
  tasks = tuple("abcdefgh")
  alone = methods.Method(name="mpt").slots(tasks, (None,), (0,))
  group = methods.Method(name="g", share="tasks").slots(tasks, (None,), (0,))
  plain = methods.Method(name="p", train_factors=False).slots(
    tasks, (None,), (0,)
  )
  # 100·768 + (100 + 768) = 77,668: the paper's 77.6K.
  assert count_slots(alone[:1]) == 77_668
  # (76,800 + 8·868) / 8 = 10,468: the paper's 10.5K.
  assert count_slots(group) == 8 * 10_468
  assert count_slots(plain[:1]) == 76_800
  # Rank 4: 76,800 + 4·868.
  assert count_slots(alone[:1], rank=4) == 80_272
  for slots in (alone, group):
    config = prompt_config(slots, 100, 1)
    assert count_slots(slots) == config.num_parameters(768)
  assert count_slots(group) == PromptConfig(num_slots=8).num_parameters(768)


@pytest.mark.parametrize(
  ("method", "expected"),
  [("mpt", 8 * 77_668), ("mpt_group", 8 * 10_468)],
)
def test_counts_are_those_of_the_experiments_tree(method, expected, tmp_path):
  import jax

  from mpt_jax.model.objective import Model

  table, _ = plans.load_table(
    ["gin/tables/glue.gin"], [f'MODEL_DIR = "{tmp_path}"']
  )
  planned = plans.plan(
    dataclasses.replace(table, runs=table.runs[:3], rows=()),
    tmp_path,
    [f'METHODS = ("{method}",)', "SEEDS = (0,)"],
  )
  experiment = planned[2].experiment
  config = T5Config.preset("t5_base")
  model = Model(
    config,
    prompt_config(experiment.slots, experiment.prompt_length, experiment.rank),
  )
  variables = jax.eval_shape(model.init_variables, jax.random.key(0))
  trainable, _ = model.split_params(variables["params"])
  total = sum(x.size for x in jax.tree.leaves(trainable))
  assert total == expected
  count = results.trained_parameters(experiment, experiment.slots, config)
  assert count == expected
