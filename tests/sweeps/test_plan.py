"""A table's runs with their settings, and the choice among them."""

import dataclasses
import pathlib
import shlex

import pytest
from sweep_tables import TASKS, make_table

from mpt_jax.launchers import gin_config
from mpt_jax.sweeps import plan as plans
from mpt_jax.sweeps import results, tables

ROOT = pathlib.Path(__file__).parents[2]


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


def test_a_wrong_setting_names_its_run(tmp_path):
  with pytest.raises(
    ValueError, match="run 'teach': BATCH_SIZE must be a whole number"
  ):
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


def test_a_macro_of_a_run_in_a_tables_file_is_refused(tmp_path):
  file = tmp_path / "mine.gin"
  lines = ['MODEL_DIR = "runs"', "DTYPE = 'bfloat16'"]
  file.write_text('include "gin/tables/superglue.gin"\nTEACH_STEPS = 2\n')
  plans.load_table([str(file)], lines)
  file.write_text('include "gin/tables/superglue.gin"\nTRAIN_STEPS = 2\n')
  with pytest.raises(ValueError, match="TRAIN_STEPS in .*setting of gin/mpt"):
    plans.load_table([str(file)], lines)
