"""`mpt.fit` as a whole, on a tiny T5."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import rich.console
import train_fixtures

import mpt_jax as mpt
from mpt_jax.data.in_memory import task_files
from mpt_jax.data.in_memory.row_task import RowTask
from mpt_jax.fitting.run import FitRun
from mpt_jax.fitting.showing import Printer
from mpt_jax.io.digests import read_sealed
from mpt_jax.prompts.bank import load_bank
from mpt_jax.training import loop

WORDS = train_fixtures.WORDS


def make_rows(num=60, seed=0):
  rng = np.random.default_rng(seed)
  return [
    {
      "question": " ".join(rng.choice(WORDS, 5)) + f" {i}",
      "kind": ("new thing", "old")[i % 2],
    }
    for i in range(num)
  ]


SMALL = dict(steps=20, prompt_length=2, batch_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("fit")
  train_fixtures.save_tiny_backbone(folder / "t5")
  return folder


def fit(folder, out, rows=None, **settings):
  log = io.StringIO()
  made = mpt.fit(
    rows or make_rows(),
    out=folder / out,
    backbone=str(folder / "t5"),
    printer=Printer(rich.console.Console(file=log, width=60)),
    **{**SMALL, **settings},
  )
  return made, log.getvalue()


@pytest.fixture(scope="module")
def run(folder):
  return fit(folder, "run")


def test_what_a_run_gives(folder, run):
  made, log = run
  scores = json.loads((folder / "run" / "scores.json").read_text())
  for name in ("score", "interval", "majority", "tfidf", "metric", "examples"):
    assert name in scores
    assert made.scores[name] == pytest.approx(scores[name])
  # 60 rows give a validation split of 12 and no test split.
  assert made.scores["examples"] == 12 and made.scores["split"] == "validation"
  assert made.scores["majority"] == 0.5
  assert sum(sum(row.values()) for row in made.confusion.values()) == 12
  page = made.report().read_text()
  assert page.startswith("<!doctype html>") and "<script" not in page
  assert "http:" not in page and "https:" not in page and "new thing" in page
  # The page's numbers are those of scores.json.
  assert f"{100 * made.scores['score']:.1f}" in page
  assert scores["verdicts"]["run"] in page and "mpt predict" in page
  for said in ("48 train, 12 validation", "'kind': one of 2 labels", "tf-idf"):
    assert said in log
  assert "chose the best step too" in " ".join(log.split())
  table = made._repr_html_()
  assert table.startswith("<table>") and "12 validation" in table
  assert f"<td>{100 * made.scores['score']:.1f} %</td>" in table
  # No line is longer than the terminal is wide, but for commands and paths.
  long = [line for line in log.splitlines() if len(line) > 60]
  assert all(str(folder) in line for line in long)


def test_a_notebook_shows_names_as_text(run):
  made, _ = run
  (scores,) = made.results.values()
  table = FitRun("run", {"<b>a</b>": scores})._repr_html_()
  assert "<th>&lt;b&gt;a&lt;/b&gt;</th>" in table


def test_ten_lines_from_rows_to_predictions(run):
  made, _ = run
  predictor = mpt.Predictor(made)
  (answer,) = predictor.predict(["Who wrote Ulysses?"])
  assert answer["prediction"] in ("new thing", "old")
  assert sum(answer["probabilities"].values()) == pytest.approx(1)
  # The ratio of two probabilities is that of the labels' scores.
  scores, shares = answer["scores"], answer["probabilities"]
  ratio = np.exp(scores["old"] - scores["new thing"])
  assert shares["old"] / shares["new thing"] == pytest.approx(ratio, rel=1e-5)


def test_the_same_call_says_that_it_is_done(folder, run):
  (folder / "run" / "report.html").unlink()
  made, log = fit(folder, "run")
  assert made.report().is_file()
  # The terminal's width breaks the line where the folder's name ends.
  assert "is done already" in " ".join(log.split())
  # The rows have no name, so the task is called as the folder is.
  assert made.results["run"].to_json() == run[0].results["run"].to_json()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(steps=30), r"steps \(was 20, now 30\)"),
    (dict(rows=make_rows(seed=1)), "other settings: the rows"),
  ],
)
def test_another_run_is_refused(folder, run, changes, message):
  del run
  with pytest.raises(ValueError, match=message):
    fit(folder, "run", **changes)


def test_evaluate_finds_the_rows_of_a_run(folder, run):
  made, _ = run
  rows = mpt.evaluate(folder / "run", config=mpt.EvalConfig(split="validation"))
  values = {row["metric"]: row["value"] for row in rows}
  assert values["accuracy"] == pytest.approx(made.scores["score"])


def test_nothing_imports_tensorflow_or_seqio(folder, tmp_path):
  rows = tmp_path / "rows.jsonl"
  rows.write_text("".join(json.dumps(row) + "\n" for row in make_rows()))
  code = f"""
import sys
import mpt_jax as mpt
from mpt_jax.cli import main
code = main.main(["fit", {str(rows)!r}, "--out", "run", "--backbone",
  {str(folder / "t5")!r}, "--steps", "10", "--prompt-length", "2",
  "--batch-size", "4"])
assert code == 0, code
mpt.Predictor("run").predict(["red house"])
assert main.main(["eval", "--run", "run", "--split", "validation"]) == 0
found = {{name.partition(".")[0] for name in sys.modules}}
print(found & {{"tensorflow", "seqio", "tensorflow_datasets", "clu", "t5x"}})
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == "set()"
  assert done.stderr.startswith(f"mpt fit: {rows}\n")


class Stopping(RowTask):
  """Raises an error at the `left`-th training example from now."""

  left = None

  def example(self, split, index):
    if split == "train" and Stopping.left is not None:
      Stopping.left -= 1
      if Stopping.left < 0:
        raise RuntimeError("stopped here")
    return super().example(split, index)


def test_a_run_that_was_stopped_resumes_to_the_bit(folder, run):
  del run
  settings = json.loads((folder / "run" / "experiment.json").read_text())
  experiment = mpt.Experiment.from_json(settings)
  (task,) = task_files.load_tasks(folder / "run").values()
  fields = {f.name: getattr(task, f.name) for f in dataclasses.fields(task)}
  tasks = {task.name: Stopping(**fields)}
  options = dict(tasks=tasks, tensorboard=False, checkpoint_period=5)
  loop.train(experiment, model_dir=folder / "whole", **options)
  # 48 examples are looked at and 12 steps have 4 each; the 13th fails.
  Stopping.left = 48 + 12 * 4 + 2
  with pytest.raises(RuntimeError, match="stopped here"):
    loop.train(experiment, model_dir=folder / "parts", **options)
  Stopping.left = None
  loop.train(experiment, model_dir=folder / "parts", **options)
  for name in ("last", "best"):
    whole, parts = (
      load_bank(folder / run / "prompts" / f"{name}.safetensors")
      for run in ("whole", "parts")
    )
    for key, value in whole.params.items():
      np.testing.assert_array_equal(parts.params[key], value)
    assert whole.slots == parts.slots
  fit_bank = load_bank(folder / "run" / "prompts" / "last.safetensors")
  np.testing.assert_array_equal(
    fit_bank.composed,
    load_bank(folder / "whole/prompts/last.safetensors").composed,
  )
  other = dict(
    options,
    tasks={task.name: dataclasses.replace(task, template="q {question}")},
  )
  with pytest.raises(ValueError, match="rows_sha256"):
    loop.train(experiment, model_dir=folder / "parts", **other)


def test_a_run_ends_early_and_stays_ended(folder, run):
  del run
  settings = json.loads((folder / "run" / "experiment.json").read_text())
  experiment = mpt.Experiment.from_json(settings)
  frozen = dataclasses.replace(
    experiment,
    total_steps=100,
    # Nothing is learnt, so no evaluation after the first one is better.
    optimizer=mpt.OptimizerConfig(learning_rate=0, factor_learning_rate=0),
    eval=dataclasses.replace(experiment.eval, period=3, patience=2),
  )
  tasks = task_files.load_tasks(folder / "run")
  options = dict(tasks=tasks, tensorboard=False)
  loop.train(frozen, model_dir=folder / "early", **options)
  # The best step is 3, and two more evaluations are at 6 and 9.
  assert (folder / "early/checkpoints/9").is_dir()
  lines = (folder / "early/metrics.jsonl").read_text().splitlines()
  steps = [json.loads(line)["step"] for line in lines]
  assert max(steps) == 9
  loop.train(frozen, model_dir=folder / "early", **options)
  assert [p.name for p in (folder / "early/checkpoints").iterdir()] == ["9"]
  assert (folder / "early/metrics.jsonl").read_text().splitlines() == lines


def test_several_tasks_share_a_prompt(folder):
  paths = []
  for seed in (1, 2):
    paths.append(folder / f"task_{seed}.jsonl")
    rows = make_rows(seed=seed)
    paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
  log = io.StringIO()
  made = mpt.fit(
    *paths,
    out=folder / "two",
    backbone=str(folder / "t5"),
    share=True,
    tune=True,
    printer=Printer(rich.console.Console(file=log, width=60)),
    **SMALL,
  )
  assert set(made.scores) == set(made.confusion) == {"task_1", "task_2"}
  bank = load_bank(folder / "two")
  assert len(bank.names) == 6 and bank.config.num_groups == 3
  assert "best learning rate for task_1: task_1_rate_x" in log.getvalue()
  saved = read_sealed(folder / "two" / "scores.json", "scores")
  assert set(saved["tasks"]) == {"task_1", "task_2"}
  # A task stands for its best prompt, and a note says which that is.
  predictor = mpt.Predictor(folder / "two")
  predictor.predict([{"text": "red", "task": "task_2"}])
  assert "'task_2' has 3 prompts" in predictor.notes()[0]


def test_numbers_and_pairs_from_another_run(folder, run):
  del run
  rng = np.random.default_rng(0)
  rows = [
    {
      "sentence1": " ".join(rng.choice(WORDS, 4)),
      "sentence2": " ".join(rng.choice(WORDS, 4)),
      "score": round(float(rng.uniform(0, 5)), 2),
    }
    for _ in range(40)
  ]
  made, log = fit(folder, "number", rows, start=str(folder / "run"))
  log = " ".join(log.split())
  assert "'score': a number from 0" in log and f"from {folder / 'run'}" in log
  assert made.scores["metric"] == "pearson" and made.confusion is None
  bank = load_bank(folder / "number")
  assert bank.slots[0]["template"] == (
    "sentence1: {sentence1} sentence2: {sentence2}"
  )


def test_texts_with_several_right_answers(folder):
  rows = [
    {"question": row["question"], "answers": ["red", "a red one"]}
    for row in make_rows(40)
  ]
  made, _ = fit(folder, "text", rows, steps=10)
  assert made.scores["metric"] == "f1" and made.confusion is None
  assert made.scores["majority"] == 1.0


def test_too_few_rows(folder):
  with pytest.raises(
    ValueError, match="3 complete rows, too few.*--validation"
  ):
    fit(folder, "few", make_rows(3))
  made, _ = fit(folder, "few", make_rows(3), validation=make_rows(8), steps=10)
  assert made.scores["examples"] == 8


def test_mistakes_of_users(folder):
  with pytest.raises(TypeError, match="fit needs rows"):
    mpt.fit(out=folder / "none")
  rows = [{**row, "kind": "same"} for row in make_rows()]
  with pytest.raises(ValueError, match="all rows have the same label, 'same'"):
    fit(folder, "none", rows)
  with pytest.raises(ValueError, match="row 1: the label 'odd' does not occur"):
    odd = [{**make_rows()[0], "kind": "odd"}]
    fit(folder, "none", validation=odd)
  with pytest.raises(ValueError, match="has no column 'kind'"):
    fit(folder, "none", validation=[{"question": "a b c"}])
