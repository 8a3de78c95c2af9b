"""The gin file of `mpt fit` describes the same experiment."""

import sys

import pytest
import train_fixtures

from mpt_jax.data.in_memory import task_files
from mpt_jax.data.in_memory.row_task import read_examples
from mpt_jax.data.text_tasks import get_task
from mpt_jax.fitting import gin_files
from mpt_jax.fitting.config import FitConfig
from mpt_jax.fitting.plan import make_plan
from mpt_jax.fitting.problem import make_problem
from mpt_jax.fitting.sources import read_source
from mpt_jax.launchers import gin_config


def rows(name, num=40):
  return [
    {"text": f"{name} some words {i}", "label": "ab"[i % 2]} for i in range(num)
  ]


@pytest.mark.parametrize("share", [False, True])
def test_the_experiments_are_equal(tmp_path, monkeypatch, share):
  t5 = train_fixtures.save_tiny_backbone(tmp_path / "t5")
  names = [f"gin_{share}_{i}" for i in range(2)]
  config = FitConfig(backbone=t5, share=share, seed=3)
  problems = [
    make_problem(read_source(rows(name), name), config) for name in names
  ]
  experiment = make_plan(problems, config).experiment
  task_files.save_tasks(tmp_path, [problem.task for problem in problems])
  (tmp_path / "fit_tasks.py").write_text(gin_files.module_text(problems))
  path = tmp_path / gin_files.GIN
  path.write_text(gin_files.gin_text(experiment, share))
  monkeypatch.syspath_prepend(tmp_path)
  try:
    arguments, _ = gin_config.load_config(
      [str(path)], [f"MODEL_DIR = {str(tmp_path)!r}"], []
    )
  finally:
    sys.modules.pop("fit_tasks", None)
  assert arguments["experiment"] == experiment
  # The tasks of seqio have the same examples in the same splits.
  for problem in problems:
    task = get_task(problem.task.name)
    assert tuple(task.splits) == problem.task.splits
    for split in task.splits:
      ours = read_examples(problem.task, split)
      theirs = read_examples(task, split)
      assert [x["inputs"].tolist() for x in ours] == [
        x["inputs"].tolist() for x in theirs
      ]
      assert [x["targets"].tolist() for x in ours] == [
        x["targets"].tolist() for x in theirs
      ]
