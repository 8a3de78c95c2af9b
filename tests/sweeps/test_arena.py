"""The arena on a tiny T5 and small tasks, two steps of each stage."""

import html
import json
import pathlib

import arena_tasks
import jax
import numpy as np
import pytest
from train_fixtures import save_tiny_backbone

import gin
from mpt_jax.cli import main as cli
from mpt_jax.data import metrics
from mpt_jax.inference.evaluator import EvalConfig, evaluate
from mpt_jax.judgement import texts as example_texts
from mpt_jax.judgement.outcomes import Outcomes, Trial
from mpt_jax.model import partitioning
from mpt_jax.prompts import run_settings
from mpt_jax.sweeps import answers
from mpt_jax.sweeps import plan as plans
from mpt_jax.training import loop

SOURCES = ("arena_films", "arena_jokes", "arena_pairs")
TARGETS = ("arena_goods_words", "arena_mails_words")
DIGITS = ("arena_goods_digits", "arena_mails_digits")
# The arena with other tasks, shorter runs, and a kept step that a run of two
# steps has.
SHORT = """
from __gin__ import dynamic_registration

from mpt_jax.sweeps import contest
from mpt_jax.sweeps import tables

include "gin/tables/{table}.gin"

PROMPT_LENGTH = 2
LENGTHS = {{"inputs": 12, "targets": 4}}
TEACH_STEPS = 2
TEACH_BATCH_SIZE = 6
DISTILL_STEPS = 2
DISTILL_BATCH_SIZE = 6
SEEDS = (0, 1)
STEPS_K4 = 2
STEPS_K16 = 2
STEPS_K64 = 2
EXAMPLES_PER_SLOT = 1
KEPT_STEPS = (1,)
TEST_EXAMPLES = 6
VIEW_EXAMPLES = 4
steps_10/contest.View.steps = 1
steps_30/contest.View.steps = 1
steps_100/contest.View.steps = 1
{more}
"""


class Folder:
  """A folder with a tiny T5, in which tables are run."""

  def __init__(self, path):
    self.path = path
    self.t5 = save_tiny_backbone(path / "t5", emb_dim=16)

  def sweep(self, table, *options, lines="", **values):
    """Runs a table.

    Args:
      table: the name of its file.
      *options: of the command.
      lines: what is added to the table's file.
      **values: macros of the file.

    Returns:
      The exit code.
    """
    more = "\n".join(f"{k} = {v!r}" for k, v in values.items())
    file = self.path / "short.gin"
    file.write_text(SHORT.format(table=table, more=f"{more}\n{lines}"))
    bound = {
      "INITIAL_CHECKPOINT_PATH": self.t5,
      "MODEL_DIR": str(self.path / "runs"),
      # These are for the source stages alone, and take time.
      "Experiment.eval": None,
      "loop.train.tensorboard": False,
    }
    bound = [f"--gin.{k}={v!r}" for k, v in bound.items()]
    return cli.main(["sweep", f"--gin_file={file}", *bound, *options])


@pytest.fixture(scope="module", autouse=True)
def registered():
  arena_tasks.register(SOURCES[0], ("negative", "positive"), closed=("test",))
  arena_tasks.register(SOURCES[1], ("serious", "joke"), closed=("test",))
  arena_tasks.register(SOURCES[2], ("no", "yes"), closed=("test",))
  for words, digits in zip(TARGETS, DIGITS, strict=True):
    # Few-shot evaluation has no validation: it takes the last step.
    arena_tasks.register(words, ("bad", "good"), closed=("validation",))
    arena_tasks.register(digits, ("0", "1"), closed=("validation",))


@pytest.fixture(scope="module")
def one_device():
  device = np.array(jax.devices()[:1]).reshape(1, 1)
  mesh = jax.sharding.Mesh(device, ("data", "model"))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(partitioning, "make_mesh", lambda num=1: mesh)
    yield


ARENA = dict(
  SOURCE_TASKS=SOURCES,
  TARGETS=TARGETS,
  DIGIT_TARGETS=DIGITS,
  RELATED=(TARGETS[0], DIGITS[0]),
  FINETUNE_SEEDS=(0,),
  FINETUNE_STEPS=1,
  TUNED={"mpt": {16: {"scale": 0.5, "steps": 1}}},
)
ONLY = (
  *("--only", "sources/*", "arena/k16", "arena/k16_dept", "arena/digits"),
  "arena/finetune_k16/arena_goods*",
)


@pytest.fixture(scope="module")
def arena(tmp_path_factory, one_device):
  """A `Folder` in which a part of the arena was run."""
  folder = Folder(tmp_path_factory.mktemp("arena"))
  assert folder.sweep("arena", *ONLY, **ARENA) == 0
  return folder


def outcomes_of(folder, view=""):
  return Outcomes.load(folder.path / "runs" / "arena" / view)


METHODS = {
  *("majority", "tfidf_lr", "no_prompt", "mpt", "prompt_tuning", "spot"),
  *("spot_mean", "mpt_group", "mpt_no_distillation", "mpt_no_decomposition"),
  *("dept", "finetune"),
}


def test_all_methods_answer_all_targets(arena):
  found = outcomes_of(arena)
  assert set(found.methods) == METHODS
  assert list(found.targets) == list(TARGETS)
  assert [t.related for t in found.targets.values()] == [True, False]
  for method in METHODS - {"majority", "no_prompt", "finetune"}:
    for target in TARGETS:
      for seed in (0, 1):
        assert Trial(method, target, 16, seed) in found.predictions
  assert Trial("majority", TARGETS[0], None, None) in found.predictions
  assert Trial("finetune", TARGETS[0], 16, 0) in found.predictions
  assert all(t.answers.size == 6 for t in found.targets.values())


def test_every_score_follows_from_the_answers(arena):
  """Rows, answers and texts are equal to those of a direct evaluation."""
  folder = arena.path / "runs" / "arena"
  rows = json.loads((folder / "arena.json").read_text())
  found = outcomes_of(arena)
  texts = example_texts.read(folder)
  assert len(rows) == len(found.predictions)
  run = arena.path / "runs" / "arena" / "k16"
  config = EvalConfig(split="test", max_examples=6)
  direct = {
    row["prompt"]: row["value"]
    for row in evaluate(str(run), None, config)
    if row["metric"] == "accuracy"
  }
  for row in rows:
    trial = Trial(row["method"], row["target"], row["k"], row["seed"])
    target, made = found.targets[trial.target], found.predictions[trial]
    right = target.answers.tolist()
    expected = metrics.balanced_accuracy(right, made.tolist())
    assert row["score"] == expected["balanced_accuracy"]
    assert row["related"] == (row["target"] == TARGETS[0])
    assert row["examples"] == 6 == len(texts[row["target"]])
    name = f"{row['target']}_k16_s{row['seed']}_{row['method']}"
    # The main view of MPT is that of step 1, as TUNED has it.
    if name in direct and row["method"] != "mpt":
      assert np.mean(made == target.answers) == pytest.approx(direct[name])


def test_a_tuned_number_of_steps_counts(arena):
  """MPT answers with the prompts of step 1 in the main view too."""
  main, early = outcomes_of(arena), outcomes_of(arena, "views/steps_10")
  # The views have the first 4 of the 6 examples.
  for trial, made in early.predictions.items():
    same = np.array_equal(main.predictions[trial][:4], made)
    assert same or trial.method != "mpt"
  assert set(early.methods) == {"mpt", "prompt_tuning", "spot"}


def test_views_are_kept_apart(arena):
  decoded = outcomes_of(arena, "views/decode")
  assert set(decoded.methods) == {"mpt", "prompt_tuning", "spot", "no_prompt"}
  digits = outcomes_of(arena, "views/digits")
  assert list(digits.targets) == list(DIGITS)
  assert digits.targets[DIGITS[0]].labels == ("0", "1")
  assert digits.targets[DIGITS[0]].related
  assert {"majority", "tfidf_lr", "mpt"} <= set(digits.methods)
  # A random T5 generates no label, and ranking always gives one.
  assert min(d.min() for d in decoded.predictions.values()) == -1
  assert min(d.min() for d in digits.predictions.values()) >= 0


def test_the_report_is_of_the_answers(arena):
  folder = arena.path / "runs" / "arena"
  about = json.loads((folder / "about.json").read_text())
  # A T5 of 16 numbers and prompts of length 2: 2 · 16, and the factors 2 + 16.
  # Two targets share P* in a group.
  counts = {k: v["parameters"] for k, v in about["methods"].items()}
  assert counts["prompt_tuning"] == counts["spot"] == 32
  assert counts["mpt"] == 50 and counts["mpt_group"] == 34
  page = (folder / "report.html").read_text()
  assert "<h1>The arena</h1>" in page and "written before the run" in page
  for title in ("Result", "Is it better?", "Other views", "Ablations"):
    assert f"<h2>{title}</h2>" in page
  assert "<h2>Answers, right and wrong</h2>" in page
  first = example_texts.read(folder)[TARGETS[0]][0]
  assert html.escape(first) in page
  found = outcomes_of(arena)
  scores = [
    100 * found.score(Trial("spot", TARGETS[1], 16, seed)) for seed in (0, 1)
  ]
  assert f"SPoT {np.mean(scores):.1f}" in page


def test_the_standings_can_be_compared(arena, capsys):
  folder = str(arena.path / "runs" / "arena")
  options = ("--method", "mpt", "--samples", "50")
  assert cli.main(["compare", folder, *options]) == 0
  assert "k = 16 per class" in capsys.readouterr().out
  text = (pathlib.Path(folder) / "standings.md").read_text()
  assert "| method | arena_goods_words | arena_mails_words | related |" in text


def test_what_is_there_is_not_answered_again(arena, monkeypatch):
  before = (arena.path / "runs" / "arena" / "arena.json").read_bytes()
  monkeypatch.setattr(answers, "answer", None)
  monkeypatch.setattr(answers.baselines, "answer_task", None)
  monkeypatch.setattr(loop, "set_up", None)
  assert arena.sweep("arena", *ONLY, **ARENA) == 0
  assert (arena.path / "runs" / "arena" / "arena.json").read_bytes() == before


def test_interrupted_answers_are_continued(arena, monkeypatch):
  """Those of other slots stay; only what is missing is answered."""
  folder = arena.path / "runs" / "arena" / "k16" / "answers" / "main"
  whole = Outcomes.load(folder)
  part = Outcomes(whole.targets)
  for trial, made in list(whole.predictions.items())[:-3]:
    part.add(trial, made)
  part.save(folder)
  asked = []
  original = answers.answer

  def answer(prompts, names, *args, **kwargs):
    asked.extend(names)
    return original(prompts, names, *args, **kwargs)

  monkeypatch.setattr(answers, "answer", answer)
  monkeypatch.setattr(answers, "CHUNK", 2)
  assert arena.sweep("arena", *ONLY, **ARENA) == 0
  assert len(asked) == 3
  again = Outcomes.load(folder)
  assert again.predictions.keys() == whole.predictions.keys()
  for trial, made in whole.predictions.items():
    np.testing.assert_array_equal(again.predictions[trial], made)


def test_other_settings_are_refused(arena, capsys):
  assert arena.sweep("arena", *ONLY, **{**ARENA, "TEST_EXAMPLES": 5}) == 2
  assert "was made with other settings" in capsys.readouterr().err


SEARCH = """
tables.Table.runs = [
  @source/teach/tables.Run(),
  @source/distill/tables.Run(),
  @target/k16/tables.Run(),
]
target/tables.Run.uses = {
  "SOURCE": "arena_search/distill", "TEACHERS": "sources/teach",
}
contest.Contest.closed = %CLOSED
"""
SEARCHED = dict(
  SOURCE_TASKS=SOURCES,
  TARGETS=SOURCES[:1],
  OTHERS=SOURCES[1:],
  METHODS_K16=("mpt", "prompt_tuning", "spot"),
  SCALES=(0.5, 1.0),
  VALIDATION_EXAMPLES=8,
  CLOSED=TARGETS,
)


def test_the_search_reads_no_test_row(arena):
  """The test split of each source raises when it is read."""
  assert arena.sweep("arena_search", lines=SEARCH, **SEARCHED) == 0
  folder = arena.path / "runs" / "arena_search"
  found = Outcomes.load(folder)
  # 3 methods with 2 factors on 1 target with 2 draws.
  assert len(found.predictions) == 12
  assert found.targets[SOURCES[0]].answers.size == 8
  # What it writes is a part of the arena's file.
  assert "TUNED = {" in (folder / "tuned.gin").read_text()
  arguments, _ = plans.gin_config.load_config(
    [str(folder / "tuned.gin")], [], [], partly=True
  )
  assert arguments == {}
  tuned = gin.query_parameter("%TUNED")
  assert set(tuned) == {"mpt", "prompt_tuning", "spot"}
  for by_shots in tuned.values():
    assert by_shots[16]["scale"] in (0.5, 1.0)
    assert by_shots[16]["steps"] in (1, None)
  # No method starts from the teacher of the task itself.
  settings = (folder / "k16" / "experiment.json").read_text()
  starts = {slot["init"] for slot in json.loads(settings)["slots"]}
  assert starts == {
    "mean_matrix",
    "vocabulary",
    f"best:{SOURCES[1]},{SOURCES[2]}",
  }


@pytest.mark.parametrize(
  ("values", "lines", "message"),
  [
    (
      {"TARGETS": TARGETS[:1]},
      "",
      "must not be read by a contest",
    ),
    (
      {"SOURCE_TASKS": (*SOURCES, TARGETS[0])},
      "",
      "'arena_goods_words' must not be read",
    ),
    (
      {},
      'contest.Contest.split = "test"',
      "the split 'validation' alone",
    ),
  ],
)
def test_a_search_that_would_see_a_target_is_refused(
  values, lines, message, arena, capsys
):
  code = arena.sweep(
    "arena_search", "--list", lines=SEARCH + lines, **{**SEARCHED, **values}
  )
  assert code == 2
  assert message in capsys.readouterr().err


def test_the_parts_of_mpt_differ_in_one_setting_each():
  """Read off the plan: each source stage beside the whole one."""
  bindings = ['MODEL_DIR = "runs"', f"SOURCE_TASKS = {SOURCES}"]
  bindings.append(f"TARGETS = {TARGETS}")
  table, _ = plans.load_table(["gin/tables/arena_ablation.gin"], bindings)
  planned = {run.name: run for run in plans.plan(table, "runs", bindings)}
  prefix = "arena_ablation/"

  def settings(name):
    made = planned[prefix + name].experiment.to_json()
    # Another bank of teachers, of another length, is no setting.
    return {k: v for k, v in made.items() if k != "teachers"}

  whole, differences = settings("full"), {}
  for name in planned:
    part = name.removeprefix(prefix)
    if "gin/mpt_distill.gin" == planned[name].run.gin_file and part != "full":
      differ = run_settings.differences(whole, settings(part))
      differences[part] = {one.replace("[0]", "[]") for one in differ}
  distill = {
    "logits_only": "hidden",
    "hidden_only": "kl",
    "lambda_0.1": "weight",
    "lambda_0.3": "weight",
    "lambda_3": "weight",
    "temperature_2": "temperature",
    "temperature_4": "temperature",
    "hidden_all_layers": "hidden_layers",
    "hidden_encoder": "hidden_stacks",
    "hidden_decoder": "hidden_stacks",
  }
  expected = {k: {f"loss.distill.{v}"} for k, v in distill.items()}
  expected |= {f"rank_{rank}": {"rank"} for rank in (2, 4, 8)}
  expected |= {f"length_{n}": {"prompt_length"} for n in (4, 32)}
  expected |= {
    "fixed_k": {"mix.max_tasks", "mix.min_tasks"},
    "few_sources": {"slots"},
    "half_sources": {"slots"},
    "one_rate": {"optimizer.factor_learning_rate"},
    "dropout": {"dropout_rate"},
  }
  starts = {k: differences.pop(k) for k in ("start_random", "start_teachers")}
  assert differences == expected
  assert all(
    all(one.endswith((".init", ".source")) for one in differ)
    for differ in starts.values()
  )
  slot = planned[prefix + "start_teachers"].experiment.slots[0]
  assert (slot.init, pathlib.Path(slot.source).name) == ("mean", "teach")
