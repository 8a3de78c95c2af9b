"""Tables: what runs, what is chosen, what the numbers are."""

import dataclasses
import io
import json
import pathlib

import numpy as np
import pytest
import rich.console

from mpt_jax.model.config import T5Config
from mpt_jax.prompts import bank, methods
from mpt_jax.prompts.parametrization import PromptConfig
from mpt_jax.prompts.slots import prompt_config
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import report, results, tables

ROOT = pathlib.Path(__file__).parents[2]

TASKS = ("glue_rte", "glue_cola")


def make_table(**changes):
  """MPT and prompt tuning with two rates on two targets."""
  runs = (
    tables.Run(name="teach", gin_file="gin/mpt_teacher.gin"),
    tables.Run(
      name="adapt",
      gin_file="gin/mpt_compare.gin",
      defaults={
        "MIXTURE_OR_TASK_NAME": TASKS,
        "METHODS": ("mpt", "prompt_tuning"),
        "TUNED_SCALES": (0.1, 1.0),
        "SEEDS": (0, 1),
        "SOURCE": "nowhere",
      },
      uses={"TEACHERS": "teach"},
    ),
  )
  rows = (
    tables.Row(
      method="MPT",
      run="adapt",
      label="mpt",
      paper={"RTE": 79.4, "GLUE": 85.6},
      parameters="77.6K",
      source="a paper",
    ),
    tables.Row(method="prompt tuning", run="adapt", label="prompt_tuning"),
    tables.Row(method="ATTEMPT", paper={"CoLA": 57.4}, source="another"),
  )
  values = dict(
    name="small",
    title="A small table",
    model="t5_base",
    columns=dict(zip(TASKS, ("RTE", "CoLA"), strict=True)),
    runs=runs,
    rows=rows,
    average="GLUE",
  )
  return tables.Table(**{**values, **changes})


def write_run(run, validation, scores):
  """What a finished run leaves: prompts with validation scores, results."""
  slots = run.experiment.slots
  prompts = bank.PromptBank(
    {"shared_prompt": np.zeros((len(slots), 1, 2), np.float32)},
    tuple(slot.name for slot in slots),
    tuple(range(len(slots))),
    "fingerprint",
    tuple(
      {
        "task": s.task,
        "metrics": {"accuracy": validation[s.name], "step": 3},
      }
      for s in slots
    ),
  )
  prompts.save(run.folder / "prompts" / "best.safetensors")
  rows = [
    {"prompt": name, "metric": metric, "value": value}
    for name, values in scores.items()
    for metric, value in values.items()
  ]
  (run.folder / "results.json").write_text(json.dumps({"rows": rows}))


@pytest.fixture
def measured(tmp_path):
  """(table, planned runs) with scores of all methods."""
  table = make_table()
  # Not on this machine, so that the table's T5-Base is assumed.
  t5 = 'INITIAL_CHECKPOINT_PATH = "no/such/t5"'
  planned = plans.plan(table, tmp_path, [t5])
  validation, scores = {}, {}
  for slot in planned[1].experiment.slots:
    # The higher rate is better on RTE, the lower on CoLA; of the higher one
    # one seed alone is the best of all on CoLA.
    high = slot.label.endswith("x1")
    better = high == (slot.task == "glue_rte")
    validation[slot.name] = 0.6 if better else 0.5
    if high and slot.task == "glue_cola" and slot.seed == 1:
      validation[slot.name] = 0.69
    value = {"mpt": 0.8}.get(slot.label, 0.7 if high else 0.5)
    value += 0.1 * slot.seed
    scores[slot.name] = {"accuracy": value, "matthews": value / 2}
  write_run(planned[1], validation, scores)
  return table, planned


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


def test_the_paper_stands_beside_ours(measured):
  table, planned = measured
  lines = results.table_lines(table, planned)
  text = report.markdown(table, lines).splitlines()
  start = text.index(
    "| MPT | here | 77,668 | 85.0 ± 7.1 | 42.5 ± 3.5 | 63.8 ± 5.3 |"
  )
  assert text[start + 1] == "| MPT | paper | 77.6K | 79.4 | ? | 85.6 |"
  assert "| ATTEMPT | paper | ? | ? | 57.4 | ? |" in text
  assert "- MPT: a paper." in text
  assert not any(line.startswith("| ATTEMPT | here") for line in text)
  console = rich.console.Console(width=80, file=io.StringIO())
  report.print_table(table, lines, console)
  shown = console.file.getvalue()
  for part in ("85.0", "±7.1", "79.4", "77,668", "77.6K", "–: not measured"):
    assert part in shown
  saved = report.as_json(table, lines)
  assert json.loads(json.dumps(saved)) == saved
  assert saved["rows"][0]["paper"] == {"RTE": 79.4, "GLUE": 85.6}


def test_bleu_is_in_percent_already():
  assert results.in_percent("bleu", 31.5) == 31.5
  assert results.in_percent("f1", 0.315) == 31.5


# ------------------------------------------------------------------- plans


def test_bindings_make_the_run_and_the_command_line_changes_the_rest(tmp_path):
  run = tables.Run(
    name="a",
    gin_file="gin/mpt_teacher.gin",
    defaults={"TRAIN_STEPS": 5, "BATCH_SIZE": 12, "PROMPT_LENGTH": 7},
    bindings={"PROMPT_LENGTH": 9},
  )
  table = make_table(
    runs=(run,), rows=(), variants={"base": {}, "s1": {"SEED": 1}}
  )
  lines = ["BATCH_SIZE = 4", "PROMPT_LENGTH = 8", "SEED = 3", 'MODEL_DIR = "x"']
  plain, seeded = plans.plan(table, tmp_path, lines)
  experiment = plain.experiment
  assert (experiment.total_steps, experiment.mix.batch_size) == (5, 4)
  assert (experiment.prompt_length, experiment.seed) == (9, 3)
  assert seeded.experiment.seed == 1
  assert (plain.name, seeded.name) == ("a", "s1/a")
  assert plain.arguments["model_dir"] == str(tmp_path / "a")


def test_runs_use_the_folders_of_earlier_ones(tmp_path):
  runs = (
    *make_table().runs,
    tables.Run(
      name="both",
      gin_file="gin/mpt_compare.gin",
      bindings={"METHODS": ("mpt",)},
      uses={"SOURCE": {"x": "teach", "y": "adapt"}},
    ),
  )
  planned = plans.plan(make_table(runs=runs), tmp_path)
  assert planned[1].uses == ("teach",)
  assert planned[2].uses == ("teach", "adapt")
  sources = {s.label: s.source for s in planned[2].experiment.slots}
  assert sources == {
    "mpt-x": str(tmp_path / "teach"),
    "mpt-y": str(tmp_path / "adapt"),
  }
  with pytest.raises(ValueError, match="'adapt' uses 'teach', but no run"):
    plans.plan(make_table(runs=runs[1:2], rows=()), tmp_path)


def test_a_run_per_slot(tmp_path):
  run = tables.Run(
    name="tune",
    gin_file="gin/finetune.gin",
    bindings={
      "MIXTURE_OR_TASK_NAME": TASKS,
      "SHOTS": (4,),
      "SEEDS": (0, 1),
    },
    per_slot=True,
  )
  planned = plans.plan(make_table(runs=(run,), rows=()), tmp_path)
  assert [p.name for p in planned] == [
    "tune/glue_rte_k4_s0",
    "tune/glue_cola_k4_s0",
    "tune/glue_rte_k4_s1",
    "tune/glue_cola_k4_s1",
  ]
  (slot,) = planned[3].experiment.slots
  assert (slot.task, slot.shots, slot.seed) == ("glue_cola", 4, 1)


def test_the_command_trains_the_same_run(tmp_path):
  import shlex

  from mpt_jax.training import gin_config

  planned = plans.plan(make_table(), tmp_path, ["SEEDS = (5,)"])[1]
  words = shlex.split(planned.command())
  assert words[:3] == ["python", "-m", "mpt_jax.train"]
  files, bindings, paths, _ = gin_config.parse_args(words[3:])
  arguments, _ = gin_config.load_config(files, bindings, paths)
  assert arguments["experiment"] == planned.experiment
  assert arguments["model_dir"] == str(planned.folder)


def test_the_command_brings_the_users_modules(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.gin").write_text("MINE = 1\n")
  files = ["mine.gin", str(ROOT / "gin" / "tables" / "glue.gin"), "gin/x.gin"]
  # A macro of another run stays out: alone, this one would refuse it.
  bindings = ["EXAMPLES_PER_SLOT = 2", "MINE = 2", "MixConfig.seed = 3"]
  run = plans.plan(make_table(), tmp_path, bindings)[0]
  of_table = ('Table.split = "validation"', 'mpt/tables.Row.source = "x"')
  run = dataclasses.replace(run, bindings=(*run.bindings, *of_table))
  words = run.command(files, ["a", "b"])
  assert words.startswith(
    "python -m mpt_jax.train --gin_search_paths=a,b --gin_file=mine.gin"
    " --gin_file=gin/mpt_teacher.gin "
  )
  assert "EXAMPLES_PER_SLOT" not in words
  assert "Table.split" not in words and "Row.source" not in words
  assert "--gin.MINE=2" in words and "--gin.MixConfig.seed=3" in words


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
  # What others use needs no row.
  results.check_run(table, planned[0], planned)
  with pytest.raises(ValueError, match=message):
    results.check_run(table, planned[1], planned)


WRONG = {
  "twice": (
    dict(
      runs=[
        tables.Run(name="a", gin_file="x"),
        tables.Run(name="a", gin_file="y"),
      ],
      rows=(),
    ),
    "two runs are called 'a'",
  ),
  "unknown run": (
    dict(rows=(tables.Row(method="m", run="adap"),)),
    "no run 'adap'; there are teach, adapt",
  ),
  "unknown heading": (
    dict(rows=(tables.Row(method="m", paper={"MNLY": 1.0}),)),
    "paper has MNLY, but the headings are RTE, CoLA, GLUE",
  ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_table_that_cannot_be(what):
  changes, expected = WRONG[what]
  with pytest.raises(ValueError, match=expected):
    make_table(**changes)


def test_a_wrong_setting_names_its_run(tmp_path):
  with pytest.raises(ValueError, match="run 'teach': .*MixConfig.batch_size"):
    plans.plan(make_table(), tmp_path, ["BATCH_SIZE = 0"])


def test_only_some_runs(tmp_path):
  planned = plans.plan(make_table(), tmp_path)
  with pytest.raises(
    ValueError, match="no run has such a name; there are teach"
  ):
    plans.choose_runs(planned, ["teech"])
  with pytest.raises(ValueError, match="needs 'teach', which is not finished"):
    plans.choose_runs(planned, ["ad*"])
  assert plans.choose_runs(planned, ["ad*", "teach"]) == planned
  planned[0].folder.mkdir()
  (planned[0].folder / "finished.json").write_text("{}")
  assert plans.choose_runs(planned, ["ad*"]) == planned[1:]


def test_a_variant_without_its_value_waits(tmp_path):
  variants = {"small": {"INITIAL_CHECKPOINT_PATH": None}, "base": {}}
  table = make_table(variants=variants)
  planned = plans.plan(table, tmp_path)
  assert {run.variant for run in planned} == {"base"}
  lines = results.table_lines(table, planned)
  assert [line.method for line in lines] == [
    "MPT, small",
    "prompt tuning, small",
    "ATTEMPT",
    "MPT, base",
    "prompt tuning, base",
  ]
  assert "INITIAL_CHECKPOINT_PATH has no value" in table.left_out("small")


def test_a_plan_lists_what_waits_with_its_own_size(tmp_path):
  variants = {"small": {"INITIAL_CHECKPOINT_PATH": None}, "base": {}}
  table = make_table(variants=variants, models={"small": "t5_small"})
  lines = ['INITIAL_CHECKPOINT_PATH = "no/such/t5"']
  planned = plans.plan(table, tmp_path, lines, missing=True)
  adapt = plans.find_runs(planned, ["*adapt"])
  assert [run.name for run in adapt] == ["small/adapt", "adapt"]
  output = io.StringIO()
  console = rich.console.Console(file=output, width=200)
  report.print_plan(table, adapt, console)
  small, base = output.getvalue().split("\nadapt ")
  assert "teach" not in small.splitlines()[2]
  assert "t5_small (not here, taken for t5_small), 60,506,624" in small
  assert "no/such/t5 (not here, taken for t5_base), 222,903,552" in base
  # 100 · 512 + 100 + 512 and 100 · 768 + 100 + 768.
  assert "MPT (51,812 trained per task" in small
  assert "MPT (77,668 trained per task" in base
  with pytest.raises(ValueError, match="--only x: no run has such a name"):
    plans.find_runs(planned, ["x"])


# ------------------------------------------------------------------ methods


def test_methods_are_slots_of_one_bank():
  known = (
    methods.Method(name="mpt", source="s"),
    methods.Method(name="group", source="s", share="tasks"),
    methods.Method(
      name="spot", init=("task:a", "task:b"), source="t", train_factors=False
    ),
    methods.Method(name="none"),
  )
  slots = methods.method_slots(
    ("mpt", "group", "spot"), known, ("x", "y"), seeds=(0, 1)
  )
  # 2 tasks × 2 seeds × (1 + 1 + 2) settings.
  assert len(slots) == 16
  groups = prompt_config(slots, 3, 1).groups
  # mpt: 4 prompts of their own; group: one for each seed; spot: 8.
  assert len(set(groups)) == 4 + 2 + 8
  of_group = [s for s in slots if s.label == "group"]
  assert {s.group for s in of_group} == {"group_kNone_s0", "group_kNone_s1"}
  spot = [s for s in slots if s.label.startswith("spot")]
  assert {(s.label, s.init) for s in spot} == {
    ("spot-from_a", "task:a"),
    ("spot-from_b", "task:b"),
  }
  assert not any(s.train_factors for s in spot)
  with pytest.raises(
    ValueError, match="one of mpt, group.*got 'mtp'. Did you mean mpt"
  ):
    methods.method_slots("mtp", known, ("x",))


# ------------------------------------------------------------------- counts


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
  assert count_slots(group) == PromptConfig(num_tasks=8).num_parameters(768)


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
