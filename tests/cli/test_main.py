"""The `mpt` command: what it prints, writes, refuses and imports."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from commands import fails, run
from train_fixtures import LABELS, write_rows

import mpt_jax
from mpt_jax.cli import main
from mpt_jax.inference import prediction_files


def test_help_imports_nothing_heavy():
  code = (
    "import sys; from mpt_jax.cli import main\n"
    "try: main.main(['--help'])\n"
    "except SystemExit: pass\n"
    "heavy = {'jax', 'numpy', 'flax', 'rich', 'tensorflow', 'seqio'}\n"
    "sys.exit(' '.join(heavy & set(sys.modules)))"
  )
  result = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert result.stderr.strip() == ""
  for name in (
    *("quickstart", "train", "eval", "predict", "inspect"),
    *("convert", "export", "import"),
  ):
    assert name in result.stdout


@pytest.mark.parametrize(
  "argv, message",
  [
    (["--traceback"], "COMMAND"),
    (["predcit"], "no command 'predcit'. Did you mean predict?"),
    (["inspect", "--config", "t5_base", "--what"], "--what"),
    (["inspect"], "give either a path, or --config"),
    (["inspect", "--config", "t5_huge"], "'t5_huge' is not one of"),
    (["inspect", "nowhere"], "no prompt file at nowhere"),
    (["inspect", "--config", "t5_base", "--rank", "-1"], "rank"),
    (["predict", "--prompts", "x", "a.txt", "--input", "b.txt"], "both a.txt"),
    (["predict", "--prompts", "x", "--output", "."], ". is a folder"),
    (["predict", "--prompts", "x", "--output", "/dev/null"], "no regular file"),
    (["predict", "--prompts", "x", "--input", "none.txt"], "none.txt"),
    (["eval"], "give --run DIR or --prompts FILE"),
    (["eval", "--run", "nowhere"], "no prompt file at nowhere"),
    (["eval", "--run", "x", "--module", "no_such_one"], "no_such_one"),
  ],
)
def test_bad_arguments(capsys, argv, message):
  fails(capsys, message, *argv)


def test_traceback_is_shown_when_asked_for(capsys):
  assert run("inspect", "nowhere", "--traceback") == 2
  assert "Traceback" in capsys.readouterr().err


# -------------------------------------------------------------- predict


def predict(prompts, backbone, *argv):
  return ("predict", "--prompts", prompts, "--backbone", backbone, *argv)


def test_predict_files(capsys, tmp_path, prompts, backbone, monkeypatch):
  monkeypatch.setattr(prediction_files, "WINDOW_BATCHES", 1)
  rows = [
    {"text": f"text {i}" + " more" * i, "task": f"cli_{'ab'[i % 2]}", "id": i}
    for i in range(11)
  ]
  source, target = tmp_path / "in.jsonl", tmp_path / "deep" / "out.jsonl"
  source.write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), "utf-8")
  files = ("--input", source, "--output", target)
  command = predict(prompts, backbone, *files, "--batch-size", "4")
  assert run(*command) == 0
  made = [json.loads(line) for line in target.read_text().splitlines()]
  assert [m["id"] for m in made] == list(range(11))
  assert all(m["prediction"] in LABELS for m in made)
  assert all(set(m["scores"]) == set(LABELS) for m in made)
  assert [p.name for p in target.parent.iterdir()] == ["out.jsonl"]

  before = target.read_text()
  assert "11 rows in " in capsys.readouterr().err
  fails(capsys, "out.jsonl exists", *command)
  assert target.read_text() == before
  assert run(*command, "--overwrite") == 0


def test_predict_plain_lines(capsys, tmp_path, prompts, backbone):
  source = tmp_path / "in.txt"
  source.write_text("one\n\n{three\n", "utf-8")
  files = ("--input", source)
  assert run(*predict(prompts, backbone, *files, "--task", "cli_b")) == 0
  made = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
  assert [m["text"] for m in made] == ["one", "", "{three"]
  assert {m["task"] for m in made} == {"cli_b"}
  fails(
    capsys, "in.txt, line 1: no 'task'", *predict(prompts, backbone, *files)
  )


def test_predict_standard_input(
  capsys, tmp_path, prompts, backbone, monkeypatch
):
  path = tmp_path / "in"
  # The last line has no newline.
  path.write_text('\n{"text": "é", "task": "cli_a"}', "utf-8")
  with path.open() as stdin:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(*predict(prompts, backbone)) == 0
  out = capsys.readouterr()
  assert json.loads(out.out)["text"] == "é"
  assert out.err.startswith("1 row in ") and "examples/s" in out.err


@pytest.mark.parametrize(
  "text, message",
  [
    ('{"text": "a"}\n{"text": ', "line 2: not valid JSON"),
    ('{"text": "a"}\n[1]', "line 2: expected a JSON object"),
    ('{"text": "a"}\n{"txt": "b"}', "line 2: no field 'text'"),
    ('{"text": "a"}\n{"text": "b", "task": "c"}', "line 2: the bank has no"),
    ('{"text": "a"}\n\udcff', "line 2: not UTF-8"),
    ('{"text": "a"}\n{"text": "b", "n": NaN}', "line 2: NaN or an infinite"),
    ('{"text": "a"}\n{"text": "b", "n": 1e400}', "line 2: NaN or an infinite"),
    (
      '{"text": "a"}\n{"text": null}',
      "the row has text, task, of which text null",
    ),
    (f'{{"text": "a"}}\n{{"n": {"1" * 5000}}}', "line 2: Exceeds the limit"),
    ('{"text": "a"}\n' + "[" * 100_000, "line 2: maximum recursion"),
    ("\n\n", "is empty"),
  ],
)
def test_predict_broken_files(
  capsys, tmp_path, prompts, backbone, text, message
):
  source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_bytes(text.encode("utf-8", "surrogateescape"))
  files = ("--input", source, "--output", target, "--task", "cli_a")
  fails(capsys, message, *predict(prompts, backbone, *files))
  assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_predict_disk_full(capsys, tmp_path, prompts, backbone, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
  source.write_text("a")
  target.write_text("old")
  files = ("--input", source, "--output", target, "--task", "cli_a")
  command = predict(prompts, backbone, *files, "--overwrite")
  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", full)
    fails(capsys, "No space left on device", *command)
  assert target.read_text() == "old"
  # The predictions are kept, and the same command only renames the file.
  assert run(*command) == 0
  assert json.loads(target.read_text())["text"] == "a"
  assert {p.name for p in tmp_path.iterdir()} == {"in.txt", "out.jsonl"}


# -------------------------------------------------------------- eval

MODULE = """
from mpt_jax import tasks
for name in ("cli_a", "cli_b"):
  tasks.register_file_task(
    name,
    {{"test": {path!r}}},
    template="is: {{text}}",
    label_names={labels},
  )
"""


def test_eval(capsys, tmp_path, prompts, backbone, monkeypatch):
  path = str(write_rows(tmp_path / "rows.jsonl", 12))
  module = MODULE.format(path=path, labels=LABELS)
  (tmp_path / "cli_test_tasks.py").write_text(module)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  command = ("eval", "--prompts", prompts, "--backbone", backbone)
  fails(capsys, "unknown task 'cli_a'", *command)
  # A module's tasks stay registered for the calls that follow.
  module = ("--module", "cli_test_tasks")
  assert run(*command, *module, "--out", "a/r.json") == 0
  out = capsys.readouterr().out
  assert "cli_a" in out and "accuracy" in out
  rows = json.loads((tmp_path / "a" / "r.json").read_text())["rows"]
  assert {(r["prompt"], r["num_examples"]) for r in rows} == {
    ("cli_a", 12),
    ("cli_b", 12),
  }
  value = {(r["prompt"], r["metric"]): r["value"] for r in rows}

  # `mpt predict` gives the same.
  capsys.readouterr()
  for name in ("cli_a", "cli_b"):
    files = ("--input", path, "--task", name)
    assert run(*predict(prompts, backbone, *files)) == 0
    made = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    accuracy = np.mean([m["prediction"] == m["label"] for m in made])
    np.testing.assert_allclose(value[name, "accuracy"], accuracy)

  # Evaluate one prompt only, and the T5 alone.
  assert run(*command, "--task", "cli_b", "--max-examples", "5") == 0
  out = capsys.readouterr().out
  assert "cli_a" not in out and "5" in out
  alone = ("eval", "--backbone", backbone, "--task", "cli_a")
  assert run(*alone, "--max-examples", "5") == 0
  assert "accuracy" in capsys.readouterr().out
  fails(capsys, "no split 'dev'", *alone, "--split", "dev")
  fails(capsys, "has no prompt 'cli_c'", *command, "--task", "cli_c")


def test_paths_of_all_commands_may_begin_with_the_home_folder(monkeypatch):
  monkeypatch.setenv("HOME", "/home/ann")
  parse = main.make_parser().parse_args
  made = parse(["predict", "~/in", "--prompts", "~/p", "--out", "~/o"])
  assert (made.file, made.prompts, made.output) == (
    *("/home/ann/in", "/home/ann/p"),
    "/home/ann/o",
  )
  made = parse(["eval", "--run", "~/r", "--backbone", "~/t", "--out", "~/o"])
  assert (made.run, made.backbone) == ("/home/ann/r", "/home/ann/t")
  made = parse(["export", "~/p", "--to", "npz", "--out", "~/o"])
  assert (made.prompts, made.out) == ("/home/ann/p", "/home/ann/o")
  assert parse(["quickstart", "--out", "~/q"]).out == "/home/ann/q"


def test_the_overview_and_the_version(capsys):
  assert main.main([]) == 0
  assert "Train a prompt on your own rows" in capsys.readouterr().out
  with pytest.raises(SystemExit, match="0"):
    main.main(["--version"])
  assert capsys.readouterr().out.strip() == f"mpt_jax {mpt_jax.__version__}"
