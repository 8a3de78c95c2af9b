"""The command `mpt fit`; tests/fitting/ has what it does."""

import pytest
from commands import fails

from mpt_jax.cli import main


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["fit"], "required: FILE, --out"),
    (["fit", "a.csv", "--out", "x", "--kind", "words"], "invalid choice"),
    (["fit", "a.csv", "--out", "x", "--steps", "0"], "of at least 1, got '0'"),
  ],
)
def test_mistakes(argv, message, capsys):
  fails(capsys, message, *argv)


def test_a_missing_file_is_named_after_the_first_line(capsys):
  assert main.main(["fit", "none.csv", "--out", "x"]) == 2
  first, error = capsys.readouterr().err.splitlines()
  assert first == "mpt fit: none.csv" and "no file none.csv" in error


def test_help_has_examples(capsys):
  with pytest.raises(SystemExit):
    main.main(["fit", "--help"])
  assert "mpt fit train.csv --out runs/trec\n" in capsys.readouterr().out
