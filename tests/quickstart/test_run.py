"""The quickstart from data to report, over a tiny T5 and tiny tasks."""

import json

import pytest
from train_fixtures import register_tiny_task, tiny_backbone, write_rows

from mpt_jax.quickstart import run as quickstart
from mpt_jax.quickstart.config import QuickstartConfig
from mpt_jax.tasks import register_file_task

__all__ = ["tiny_backbone"]  # A fixture.


@pytest.fixture(scope="module")
def run(tiny_backbone, tmp_path_factory):
  folder = tmp_path_factory.mktemp("quickstart")
  names = ("quick_a", "quick_b", "quick_c")
  for seed, name in enumerate(names):
    test = write_rows(folder / f"{name}_test.jsonl", 10, seed + 50)
    files = {
      "train": write_rows(folder / f"{name}_train.jsonl", 24, seed),
      "validation": test,
      "test": test,
    }
    for task in (name, f"{name}_prefixed"):
      register_file_task(
        task, files, template="{text}", label_names=("yes", "no")
      )
  config = QuickstartConfig(
    backbone=tiny_backbone,
    sources=names[:2],
    targets=names[2:],
    shots=(4,),
    seeds=(0, 1),
    prompt_length=3,
    teach_steps=2,
    distill_steps=2,
    adapt_steps=2,
    teach_examples=4,
    adapt_examples=4,
    distill_batch=8,
    test_examples=10,
  )
  out = folder / "out"
  return out, config, quickstart.main(out, config)


def test_every_method_is_measured_on_the_same_examples(run):
  out, _, results = run
  assert json.loads((out / "results.json").read_text()) == results
  rows = [r for r in results["rows"] if r["metric"] == "balanced_accuracy"]
  found = {
    (r["stage"], r["method"], r["task"], r["shots"], r["seed"]) for r in rows
  }
  expected = set()
  for task in ("quick_a", "quick_b"):
    for method in (
      "majority",
      "tfidf_lr",
      "no_prompt",
      "native_prefix",
      "teacher",
    ):
      expected.add(("teach", method, task, None, None))
    expected.add(("distill", "student", task, None, None))
  expected.add(("adapt", "no_prompt", "quick_c", 4, None))
  for seed in (0, 1):
    for method in ("majority", "tfidf_lr", "prompt_tuning", "spot", "mpt"):
      expected.add(("adapt", method, "quick_c", 4, seed))
  assert found == expected
  assert len(rows) == len(expected)
  assert {r["num_examples"] for r in rows} == {10}
  assert all(0.0 <= r["value"] <= 1.0 for r in rows)
  majority = [r["value"] for r in rows if r["method"] == "majority"]
  assert majority == [0.5] * len(majority)  # Of two classes, by definition.


def test_prompts_moved_and_the_report_is_whole(run):
  out, _, _ = run
  report = (out / "report.html").read_text()
  assert "quick_c" in report and "<svg" in report
  for stage in ("teach", "distill", "adapt"):
    assert (out / stage / "prompts" / "last.safetensors").is_file()


def test_a_second_run_resumes_the_first(run):
  out, config, results = run
  again = quickstart.main(out, config)
  assert again["rows"] == results["rows"]


def test_unknown_task_is_refused(tiny_backbone, tmp_path):
  register_tiny_task(tmp_path, name="quick_known")
  config = QuickstartConfig(
    backbone=tiny_backbone, sources=("quick_knwon",), targets=("quick_known",)
  )
  with pytest.raises(ValueError, match="quick_known"):
    quickstart.main(tmp_path / "out", config)
