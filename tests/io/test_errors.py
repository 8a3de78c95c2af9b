"""What a command prints and returns when its function fails."""

import subprocess
import sys

import pytest

from mpt_jax.io import errors


def raises(error):
  def function(*args):
    raise error

  return function


@pytest.mark.parametrize(
  "error",
  [
    ValueError("bad\n  value"),
    TypeError("bad value"),
    FileNotFoundError("bad value"),
  ],
)
def test_what_a_user_can_fix_is_one_line(error, capsys):
  assert errors.run_and_report(raises(error)) == 2
  assert capsys.readouterr().err == "error: bad value\n"


def test_a_run_that_diverged_has_a_code_of_its_own(capsys):
  diverged = errors.TrainingDiverged("bad value")
  assert errors.run_and_report(raises(diverged)) == 3
  assert capsys.readouterr().err == "error: bad value\n"


def test_the_traceback_is_shown_when_asked_for(capsys):
  assert errors.run_and_report(raises(ValueError("bad")), show=True) == 2
  shown = capsys.readouterr().err
  assert shown.startswith("Traceback") and shown.endswith("error: bad\n")


def test_a_programming_mistake_is_raised():
  with pytest.raises(ZeroDivisionError):
    errors.run_and_report(lambda x: x / 0, 1)


def test_a_package_that_the_light_install_lacks_is_one_line(capsys):
  missing = ModuleNotFoundError("No module named x", name="gin.config")
  assert errors.run_and_report(raises(missing)) == 2
  line = capsys.readouterr().err
  assert line.startswith("error: this command needs gin, which requirements/")
  assert line.count("\n") == 1
  with pytest.raises(ModuleNotFoundError):
    errors.run_and_report(raises(ModuleNotFoundError("x", name="my_module")))


def test_arguments_reach_the_function(capsys):
  assert errors.run_and_report(print, "a", 1) == 0
  assert capsys.readouterr().out == "a 1\n"


def test_an_interrupt_has_the_shells_code(capsys):
  # 128 and the number of SIGINT, 2.
  assert errors.run_and_report(raises(KeyboardInterrupt())) == 130
  assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_leaves_ends_the_command_quietly():
  code = (
    "import sys; from mpt_jax.io import errors\n"
    "def many():\n  while True: print('line')\n"
    "sys.exit(errors.run_and_report(many))"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
  )
  assert process.stdout.readline() == b"line\n"
  process.stdout.close()
  # 128 and the number of SIGPIPE, 13.
  assert process.wait(60) == 141
  assert process.stderr.read() == b""
  process.stderr.close()


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (KeyError("model"), "a.json cannot be read as a T5: KeyError: 'model'"),
    (ValueError("odd\nbyte"), "a.json cannot be read as a T5: odd byte"),
    (ValueError("a.json: 3 of 4"), "a.json: 3 of 4"),
    (
      RecursionError("too deep"),
      "a.json cannot be read as a T5: RecursionError: too deep",
    ),
  ],
)
def test_what_a_reader_raises_names_the_file(error, text):
  with pytest.raises(ValueError) as raised:
    with errors.reading("a.json", "a T5"):
      raise error
  assert str(raised.value) == text


def test_a_missing_file_stays_a_missing_file():
  with pytest.raises(FileNotFoundError), errors.reading("a", "a T5"):
    open("/nowhere/a")
