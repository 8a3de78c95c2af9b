"""Tasks over rows as files."""

import pytest

from mpt_jax.data.in_memory import task_files
from mpt_jax.data.in_memory.row_task import RowTask


def make(**changes):
  rows = [{"a b": "text ü\n", "target": ["x", "y"], "unused": object()}]
  values = dict(
    name="one",
    rows={"train": rows, "test": rows},
    template="q {a b}",
    target="target",
    kind="text",
    label_names=None,
    metric_names=("squad", "exact_match"),
    metric="em",
  )
  return RowTask(**{**values, **changes})


def test_a_task_is_read_as_it_was_written(tmp_path):
  other = make(
    name="two",
    kind="labels",
    label_names=("x", "y"),
    rows={"train": [{"a b": 1, "target": "x"}]},
  )
  assert task_files.load_tasks(tmp_path) is None
  task_files.save_tasks(tmp_path, [make(), other])
  found = task_files.load_tasks(tmp_path)
  assert task_files.has_tasks(tmp_path) and list(found) == ["one", "two"]
  for task in (make(), other):
    assert found[task.name].digest() == task.digest()
    assert found[task.name].metric_names == task.metric_names
    assert found[task.name].metric == task.metric


def test_damage_is_noticed(tmp_path):
  task_files.save_tasks(tmp_path, [make()])
  index = tmp_path / "data" / "tasks.json"
  index.write_text(index.read_text().replace("q {a b}", "r {a b}"))
  with pytest.raises(ValueError, match="tasks.json"):
    task_files.load_tasks(tmp_path)
