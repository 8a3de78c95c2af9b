"""`mpt report`: what it writes, and its mistakes in one line."""

import subprocess
import sys

import pytest
from commands import fails, run
from report_pages import make_outcomes, write_run

from mpt_jax.cli import main


def test_one_run(tmp_path, capsys):
  folder = write_run(tmp_path / "x")
  assert run("report", folder) == 0
  assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
  assert "<h1>Run x</h1>" in (folder / "report.html").read_text()


def test_several_runs_and_a_file(tmp_path, capsys):
  make_outcomes(shots=(4, 16)).save(tmp_path / "a")
  two = write_run(tmp_path / "two")
  out = tmp_path / "deep" / "p.html"
  options = ("--out", out, "--shots", "4", "--samples", "20")
  assert run("report", tmp_path / "a", two, *options) == 0
  page = out.read_text()
  assert "Each task, k = 4 per class" in page and "<h1>2 runs</h1>" in page
  assert not (two / "report.html").exists()


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda folder: None, "is no run"),
    (lambda folder: (folder / "outcomes.json").write_text("{"), "is damaged"),
    (lambda folder: (folder / "scores.json").write_text("{}"), "'tasks'"),
    (
      lambda folder: (write_run(folder) / "experiment.json").write_text("["),
      "experiment.json is damaged",
    ),
  ],
)
def test_mistakes_are_one_line(tmp_path, capsys, make, message):
  make(tmp_path)
  fails(capsys, message, "report", tmp_path)
  assert not (tmp_path / "report.html").exists()


def test_there_is_no_run(tmp_path, capsys):
  fails(capsys, "there is no run at", "report", tmp_path / "nowhere")
  folder = write_run(tmp_path / "x")
  fails(
    capsys, "no run has scores of 3 shots", "report", folder, "--shots", "3"
  )


def test_help_names_it_without_heavy_imports():
  code = (
    "import sys; from mpt_jax.cli import main; main.main([]);"
    "heavy = {'jinja2', 'markupsafe', 'matplotlib'};"
    "sys.exit(' '.join(heavy & set(sys.modules)))"
  )
  made = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert made.stderr.strip() == "" and "report" in made.stdout
  assert main.make_parser().parse_args(["report", "~/x"]).runs[0][0] != "~"
