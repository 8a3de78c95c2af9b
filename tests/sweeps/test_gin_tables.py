"""Every gin file trains two real steps on a tiny T5 over mocked datasets."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tfds_rows
from train_fixtures import save_tiny_backbone

from mpt_jax.cli import main as cli
from mpt_jax.io import digests
from mpt_jax.launchers import gin_config
from mpt_jax.model import partitioning
from mpt_jax.prompts import bank
from mpt_jax.sweeps import results as sweep_results
from mpt_jax.training import loop as trainer
from mpt_jax.training import metrics_log

ROOT = pathlib.Path(__file__).parents[2]
# These are not experiments: experiments include them.
PARTS = ("base.gin", "benchmark.gin", "arena_tuned.gin")
# test_arena.py trains these.
ARENA = ("arena.gin", "arena_ablation.gin", "arena_search.gin")
EXPERIMENTS = sorted(
  p.name for p in (ROOT / "gin").glob("*.gin") if p.name not in PARTS
)
TABLES = sorted(
  p.name for p in (ROOT / "gin" / "tables").glob("*.gin") if p.name not in PARTS
)
UNUSED = object()
SMALL = {
  "PROMPT_LENGTH": 2,
  "TASK_FEATURE_LENGTHS": {"inputs": 16, "targets": 4},
  "TRAIN_STEPS": 2,
  "CHECKPOINT_PERIOD": 1,
  "EvalConfig.num_rows": 4,
}
# Of all tables; few slots.
SMALL_TABLE = {
  **SMALL,
  "TEACH_BATCH_SIZE": 6,
  "EXAMPLES_PER_SLOT": 1,
  "SEEDS": (0,),
  "SPOT_INIT": "task:squad",
}


class Folder:
  """A folder with a tiny T5, in which commands are given."""

  def __init__(self, path):
    self.path = path
    self.t5 = save_tiny_backbone(path / "t5", emb_dim=16)

  def arguments(self, file, values):
    values = {"INITIAL_CHECKPOINT_PATH": self.t5, **values}
    bound = [f"--gin.{k}={v!r}" for k, v in values.items()]
    return [f"--gin_file=gin/{file}", *bound]

  def train(self, file, name, **values):
    """Runs the native launcher in the run folder `name`."""
    values = {**SMALL, "MODEL_DIR": str(self.path / name), **values}
    # A setting that a run does not use is refused.
    values = {k: v for k, v in values.items() if v is not UNUSED}
    return gin_config.main(self.arguments(file, values))

  def sweep(self, file, *options, **values):
    """Runs a table; paths in its settings are relative to the folder."""
    values = {**SMALL_TABLE, "MODEL_DIR": "runs", **values}
    return cli.main(
      ["sweep", *self.arguments(f"tables/{file}", values), *options]
    )

  def steps(self, name):
    """The last step of a run, whose losses must be finite."""
    lines = (self.path / name / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses and np.isfinite(losses).all()
    return max(line["step"] for line in lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A `Folder` whose source stages are done, on one device."""
  path = tmp_path_factory.mktemp("tables")
  with (
    pytest.MonkeyPatch.context() as patch,
    tfds_rows.mock_tfds(tmp_path_factory.mktemp("tfds")),
  ):
    device = np.array(jax.devices()[:1]).reshape(1, 1)
    mesh = jax.sharding.Mesh(device, ("data", "model"))
    patch.setattr(partitioning, "make_mesh", lambda num=1: mesh)
    patch.chdir(path)
    folder = Folder(path)
    # Skip evaluation, because no other stage reads it.
    only = ("--only", "sources/*")
    values = {"Experiment.eval": None}
    assert folder.sweep("superglue.gin", *only, **values) == 0
    yield folder


# What an experiment file needs besides `SMALL`: mocked tasks at least.
BINDINGS = {
  "arena_adapt.gin": {
    "EvalConfig.num_rows": UNUSED,
    "MIXTURE_OR_TASK_NAME": "glue_rte",
    "SOURCE": "runs/sources/distill",
    "TEACHERS": "runs/sources/teach",
    "EXAMPLES_PER_SLOT": 1,
    "PROMPT_STEPS": (1,),
  },
  "mpt_adapt.gin": {
    "MIXTURE_OR_TASK_NAME": ("glue_cola", "super_glue_multirc"),
    "SOURCE": "runs/sources/distill",
    "BATCH_SIZE": 4,
  },
  "mpt_compare.gin": {
    "MIXTURE_OR_TASK_NAME": "glue_rte",
    "SOURCE": "runs/sources/distill",
    "TEACHERS": "runs/sources/teach",
    "TUNED_SCALES": (1.0,),
    "SPOT_INIT": "task:squad",
    "EXAMPLES_PER_SLOT": 1,
  },
  "finetune.gin": {"MIXTURE_OR_TASK_NAME": "glue_rte", "BATCH_SIZE": 4},
  "pretrain.gin": {
    "EvalConfig.num_rows": UNUSED,
    "MIXTURE_OR_TASK_NAME": ("glue_rte", "squad"),
    "INITIAL_CHECKPOINT_PATH": None,
    "VOCABULARY_PATH": str(ROOT / "mpt_jax/default_t5/sentencepiece.model"),
    "PROMPT_LENGTH": 0,
    "BATCH_SIZE": 4,
    "T5Config.emb_dim": 16,
    "T5Config.num_heads": 2,
    "T5Config.mlp_dim": 16,
    "T5Config.num_encoder_layers": 1,
    "T5Config.num_decoder_layers": 1,
  },
}


@pytest.mark.parametrize("file", EXPERIMENTS)
def test_an_experiment_trains(file, folder):
  # These two are the stages that all others start from.
  done = {"mpt_teacher.gin": "teach", "mpt_distill.gin": "distill"}
  if file in done:
    name = f"runs/sources/{done[file]}"
  else:
    name = f"single/{file}"
    assert folder.train(file, name, **BINDINGS[file]) == 0
  assert folder.steps(name) == 2
  if file == "mpt_adapt.gin":
    # One bank; each task's best step is chosen by its own metric.
    loaded = bank.load_bank(folder.path / name)
    metrics = [set(slot["metrics"]) for slot in loaded.slots]
    assert metrics == [{"matthews", "step"}, {"f1a", "step"}]


# Reductions of the tables: fewer targets, methods and variants, and no runs
# that repeat an experiment with other numbers.
FEWER = {
  "glue.gin": (
    {"TARGETS": ("glue_stsb", "glue_cola"), "METHODS": ("mpt_group",)},
    ["glue/adapt"],
  ),
  "superglue.gin": (
    {"TARGETS": ("super_glue_cb",)},
    ["superglue/adapt", "superglue/finetune/*"],
  ),
  "mrqa.gin": (
    {"TARGETS": ("mrqa_newsqa",), "METHODS": ("mpt",)},
    ["mrqa/adapt"],
  ),
  "others.gin": (
    {"TARGETS": ("winogrande",), "METHODS": ("mpt",)},
    ["others/adapt"],
  ),
  "few_shot.gin": (
    {"TARGETS": ("scitail",), "METHODS": ("mpt",), "SHOTS": (4,)},
    ["few_shot/adapt"],
  ),
  "nlg.gin": (
    {
      "TARGETS": ("web_nlg",),
      "METHODS": ("mpt",),
      "SIZES": {"large": {}},
      "TASK_FEATURE_LENGTHS": {"inputs": 16, "targets": 16},
    },
    ["nlg/adapt"],
  ),
  "ablation.gin": (
    {
      "SOURCE_TASKS": ("glue_sst2", "squad"),
      "NUM_SOURCES": 2,
      "TARGETS": ("super_glue_wic",),
    },
    ["ablation/[!ar]*", "ablation/adapt", "ablation/*rank8"],
  ),
  "own.gin": (
    {"TARGETS": ("glue_cola",), "METHODS": ("mpt",)},
    ["own/adapt"],
  ),
  "prompt_length.gin": (
    {
      "TARGETS": ("super_glue_wic",),
      "METHODS": ("mpt",),
      "LENGTHS": {"P = 2": {}, "P = 3": {"PROMPT_LENGTH": 3}},
    },
    ["prompt_length/adapt"],
  ),
  "model_size.gin": (
    {"TARGETS": ("super_glue_wic",), "METHODS": ("mpt",)},
    ["model_size/adapt"],
  ),
}
# {table: {method: headings that are measured}}, besides the mean. The columns
# are the targets, so all of them are measured.
MEASURED = {
  "glue.gin": {"MPT*": {"STS-B", "CoLA"}},
  "superglue.gin": {
    "MPT": {"CB"},
    "MPT*": {"CB"},
    "SPoT": {"CB"},
    "prompt tuning": {"CB"},
    "full fine-tuning": {"CB"},
  },
  "mrqa.gin": {"MPT": {"NewsQA"}},
  "others.gin": {"MPT": {"WinoGrande"}},
  "few_shot.gin": {"MPT, k = 4": {"SciTail"}},
  "nlg.gin": {"MPT, large": {"WebNLG"}},
  "ablation.gin": {
    name: {"WiC"}
    for name in (
      "neither",
      "decomposition",
      "distillation",
      "MPT: both, K random, hidden loss, rank 1",
      "MPT, K = 6",
      "MPT, no hidden loss",
      "MPT, rank 8",
    )
  },
  "own.gin": {"MPT": {"glue_cola"}},
  "prompt_length.gin": {"MPT, P = 2": {"WiC"}},
  "model_size.gin": {"MPT, base": {"WiC"}},
}


@pytest.mark.parametrize("file", [f for f in TABLES if f not in ARENA])
def test_a_table_runs(file, folder, capsys):
  values, only = FEWER[file]
  if file != "superglue.gin":
    # There is nothing to choose, so there is no validation.
    values = {**values, "Experiment.eval": None}
  assert folder.sweep(file, "--only", *only, **values) == 0
  shown = capsys.readouterr().out
  table = json.loads((folder.path / "runs" / f"{file[:-4]}.json").read_text())
  assert table["title"] in shown
  measured = {r["method"]: set(r["here"]) for r in table["rows"] if r["here"]}
  assert measured == {k: v | {"mean"} for k, v in MEASURED[file].items()}
  runs = {
    path.parent.relative_to(folder.path)
    for path in (folder.path / "runs").glob("*/**/finished.json")
  }
  assert runs and all(folder.steps(run) == 2 for run in runs)


SUPERGLUE = ("superglue.gin", "--only", *FEWER["superglue.gin"][1])


def test_finished_runs_are_not_repeated(folder, monkeypatch, capsys):
  table = folder.path / "runs" / "superglue.json"
  before = table.read_bytes()
  monkeypatch.setattr(trainer, "set_up", None)
  monkeypatch.setattr(sweep_results, "evaluate", None)
  assert folder.sweep(*SUPERGLUE, **FEWER["superglue.gin"][0]) == 0
  assert table.read_bytes() == before
  # Another setting is another run: it needs another folder.
  values = {**FEWER["superglue.gin"][0], "TRAIN_STEPS": 3}
  assert folder.sweep(*SUPERGLUE, **values) == 2
  errors = capsys.readouterr().err
  assert "total_steps differ" in errors
  # Results of other prompts are not used for these.
  path = folder.path / "runs" / "superglue" / "adapt" / "results.json"
  results = path.read_bytes()
  others = {**json.loads(results), "trained": "others"}
  del others["digest"]
  path.write_text(json.dumps(digests.seal(others)))
  assert folder.sweep(*SUPERGLUE, **FEWER["superglue.gin"][0]) == 2
  assert "trained differs" in capsys.readouterr().err
  path.write_bytes(results)


class Killed(OSError):
  """Stands for a kill: no part of a run catches it."""


def test_a_killed_sweep_resumes_to_the_same_table(
  folder, tmp_path, monkeypatch, capsys
):
  whole = folder.path / "runs"
  shutil.copytree(whole / "sources", tmp_path / "runs" / "sources")
  monkeypatch.chdir(tmp_path)
  only = (SUPERGLUE[0], "--only", "superglue/adapt")
  advance = metrics_log.MetricsLog.advance

  def stop(log, step):
    if step == 2:
      raise Killed("killed")
    advance(log, step)

  with monkeypatch.context() as patch:
    patch.setattr(metrics_log.MetricsLog, "advance", stop)
    assert folder.sweep(*only, **FEWER["superglue.gin"][0]) == 2
  run = tmp_path / "runs" / "superglue" / "adapt"
  assert not (run / "finished.json").exists()
  assert folder.sweep(*only, **FEWER["superglue.gin"][0]) == 0
  assert "resumed at step 1" in capsys.readouterr().err
  for name in ("results.json", "prompts/best.safetensors"):
    expected = whole / "superglue" / "adapt" / name
    assert (run / name).read_bytes() == expected.read_bytes()
  rows = [
    {
      row["method"]: row["here"]
      for row in json.loads((path / "superglue.json").read_text())["rows"]
      if row["method"] != "full fine-tuning"
    }
    for path in (whole, tmp_path / "runs")
  ]
  assert rows[0] == rows[1] and rows[0]["MPT"]


@pytest.mark.parametrize("file", TABLES)
def test_the_plan_states_every_run(file, folder, capsys):
  values = {"MODEL_DIR": "elsewhere", "SEEDS": (0,)}
  if file in ("nlg.gin", "model_size.gin"):
    values["T5_LARGE"] = folder.t5
  arguments = folder.arguments(f"tables/{file}", values)
  assert cli.main(["sweep", "--list", *arguments]) == 0
  shown = capsys.readouterr().out
  for what in (
    "model",
    "steps",
    "batch",
    "lengths",
    "learning rates",
    "trains",
    "expected",
  ):
    assert shown.count(f"  {what}  ") >= shown.count(".gin, not started")
  assert shown.count(".gin, not started") >= 2
  assert not (folder.path / "elsewhere").exists()


def test_a_file_without_a_table_is_recognised(folder, capsys):
  arguments = folder.arguments("mpt_teacher.gin", {"MODEL_DIR": "x"})
  assert cli.main(["sweep", *arguments]) == 2
  assert "describes no table" in capsys.readouterr().err
