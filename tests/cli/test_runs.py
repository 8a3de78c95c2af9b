"""quickstart, train and sweep: what they hand on, and what they refuse."""

import os
import pathlib
import subprocess
import sys

import pytest
from commands import fails, run

from mpt_jax.quickstart import run as quickstart
from mpt_jax.quickstart.config import SHORT, QuickstartConfig

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def called(monkeypatch):
  """What `mpt quickstart` calls instead of running for minutes."""
  calls = []
  monkeypatch.setattr(quickstart, "main", lambda *args: calls.append(args))
  return calls


def test_quickstart_hands_on_its_settings(called):
  assert run("quickstart") == 0
  assert run("quickstart", "--short", "--out", "there") == 0
  assert run("quickstart", "--backbone", "t5") == 0
  assert called == [
    ("mpt_quickstart", QuickstartConfig()),
    ("there", SHORT),
    ("mpt_quickstart", QuickstartConfig(backbone="t5")),
  ]


def test_quickstart_checks_its_settings(called, capsys):
  message = "QuickstartConfig.backbone must be a path, got ''"
  fails(capsys, message, "quickstart", "--backbone", "")
  assert called == []


def test_train_hands_its_arguments_on(tmp_path):
  command = [sys.executable, "-m", "mpt_jax", "train"]
  result = subprocess.run(
    [*command, "--gin_file=none.gin"],
    capture_output=True,
    text=True,
    check=False,
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
  )
  assert result.returncode == 2
  assert "no gin file 'none.gin'" in result.stderr
  assert "gin/mpt_adapt.gin" in result.stderr


GLUE = "--gin_file=gin/tables/glue.gin"


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    # Without --list all runs of the table would start.
    ([GLUE, "--commands"], "--commands goes with --list"),
    ([], "give at least one --gin_file"),
    ([GLUE, "--lits"], "unknown argument '--lits'"),
  ],
)
def test_sweeps_that_are_refused(capsys, tmp_path, monkeypatch, argv, message):
  monkeypatch.chdir(tmp_path)
  fails(capsys, message, "sweep", *argv)
  assert list(tmp_path.iterdir()) == []
