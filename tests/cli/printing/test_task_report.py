"""What `mpt tasks` prints, from tasks that are made here."""

import io

import official_files
import pytest
import rich.console

from mpt_jax.cli.printing import task_report
from mpt_jax.tasks.files import register_file_task


@pytest.fixture
def console(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path))
  return rich.console.Console(file=io.StringIO(), width=200)


def printed(console):
  lines = console.file.getvalue().splitlines()
  return [" ".join(line.split()) for line in lines]


def test_no_files_are_nothing_to_check(console):
  assert task_report.list_datasets(console, check=True)
  assert "No dataset has files here, so there is nothing to check." in printed(
    console
  )


def test_a_damaged_dataset_is_named_and_the_others_are_read(console, tmp_path):
  for name in ("glue_rte", "squad"):
    official_files.write(tmp_path / name, name)
  (tmp_path / "squad" / "train-v1.1.json").write_text("{")
  assert not task_report.list_datasets(console, check=True)
  lines = printed(console)
  assert any(line.startswith("squad: error: ") for line in lines)
  assert "glue_rte: the owner's splits" in lines


def test_counts_that_differ_are_marked_and_missing_files_named(
  console, tmp_path
):
  official_files.write(tmp_path / "glue_rte", "glue_rte")
  (tmp_path / "glue_rte" / "dev.tsv").unlink()
  task_report.describe_task("glue_rte", console, check=True)
  lines = printed(console)
  rows = [line for line in lines if line.startswith(("train ", "validation "))]
  # Ahead stands the description of both files; RTE has 2,490 and 277 rows.
  train, validation = rows[-2:]
  assert train.split()[2:] == ["2,490", "differs"]
  assert validation == "validation – 277 the file is not here"
  # Without the second file the task's own splits cannot be made.
  assert "glue_rte: the task's splits" not in lines


def test_markup_in_texts_is_printed_as_it_stands(console, tmp_path):
  path = tmp_path / "rows.csv"
  path.write_text("text,label\n[red]fine[/red],[b]good\n")
  register_file_task(
    "report_of_markup",
    {"train": str(path)},
    template="[i]{text}",
    label_names=("bad", "[b]good"),
  )
  task_report.describe_task("report_of_markup", console, check=True)
  lines = printed(console)
  assert "inputs [i]{text}" in lines
  assert "labels bad, [b]good" in lines
  assert "train 1 [i][red]fine[/red] [b]good" in lines


def test_a_task_that_generates_has_no_labels(console):
  task_report.describe_task("squad", console, check=False)
  assert "labels none; the text is generated" in printed(console)
