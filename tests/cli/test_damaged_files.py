"""The commands on damaged files and bad arguments: one line, exit code 2."""

import shutil

import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from mutations import FEW, check_line, damaged_file, fail

from mpt_jax.export import prompt_files
from mpt_jax.io.errors import ExitCode
from mpt_jax.launchers import gin_config
from mpt_jax.prompts.bank import load_bank


@pytest.fixture(scope="module")
def folder(prompts, backbone, tmp_path_factory):
  """Prompts in three formats, their T5, rows and gin files."""
  folder = tmp_path_factory.mktemp("commands")
  shutil.copy(prompts, folder / "prompts.safetensors")
  shutil.copytree(backbone, folder / "t5")
  bank = load_bank(prompts)
  prompt_files.export_prompts(bank, "npz", folder / "a.npz")
  prompt_files.export_prompts(bank, "peft", folder / "peft")
  (folder / "rows.jsonl").write_text('{"text": "a", "task": "cli_a"}\n' * 3)
  (folder / "own.gin").write_text("RATE = 0.3\nA = (%RATE, {'a': 1})\n")
  return folder


def ends_in_one_line(capsys, names, call):
  """Calls a command; it is done, or says in one line what is wrong."""
  capsys.readouterr()
  try:
    code = call()
  except SystemExit as error:  # argparse's own
    code = error.code
  except Exception as error:
    return fail(f"a traceback: {error!r:.500}", error)
  lines = capsys.readouterr().err.splitlines()
  lines = [line for line in lines if not line.startswith("warning: ")]
  if code not in (ExitCode.DONE, ExitCode.DAMAGED, ExitCode.MISTAKE):
    fail(f"exit code {code}", None)
  if code == ExitCode.MISTAKE:
    if len(lines) != 1 or not lines[0].startswith("error: "):
      fail(f"no single line: {lines!r:.800}", None)
    check_line(lines[0], None, names)


# (the file that is damaged, the command)
FILES = [
  ("prompts.safetensors", "inspect prompts.safetensors"),
  ("prompts.safetensors", "verify prompts.safetensors"),
  ("prompts.safetensors", "export prompts.safetensors --to npz --out out.npz"),
  ("prompts.safetensors", "eval --prompts prompts.safetensors --backbone no"),
  ("t5/config.json", "inspect t5"),
  ("t5/params.safetensors", "verify t5"),
  ("t5/config.json", "convert t5 --out out"),
  ("a.npz", "import a.npz --from npz --out out.safetensors"),
  ("peft/cli_a/adapter_config.json", "import peft --from peft --out out.st"),
]


@pytest.mark.parametrize(("name", "command"), FILES)
@FEW
@given(data=st.data())
def test_damaged_files(name, command, folder, capsys, monkeypatch, data):
  monkeypatch.chdir(folder)
  path = folder / name
  original = path.read_bytes()
  damaged = data.draw(damaged_file(original))
  path.unlink()
  path.write_bytes(damaged)
  try:
    names = (name, path.name, path.parent.name, "no backbone")
    ends_in_one_line(capsys, names, lambda: run(*command.split()))
  finally:
    path.unlink()
    path.write_bytes(original)
    for made in folder.glob("out*"):
      shutil.rmtree(made) if made.is_dir() else made.unlink()


VALUES = st.one_of(
  st.sampled_from(["", "-1", "0", "1e9", "nan", "inf", "9" * 30, "a b", "\0"]),
  st.sampled_from(
    ["nowhere", "nowhere/x", "own.gin", "rows.jsonl", "t5", "~x"]
  ),
  st.sampled_from(["--", "-", "--x", "--out", "default", "é", "x" * 400]),
)
COMMANDS = [
  "predict --prompts prompts.safetensors --backbone t5 --input rows.jsonl"
  " --batch-size 2 --output out --seed 1 --temperature 0 --top-k 0",
  "eval --prompts prompts.safetensors --backbone t5 --max-examples 2 --task b",
  "export prompts.safetensors --to peft --out out --task cli_a",
  "import a.npz --from npz --out out.safetensors --task a b",
  "convert t5 --out out --vocabulary no --dtype float32",
  "inspect --config t5_small --rank 2 --num-slots 3",
  "verify prompts.safetensors",
  "sweep --gin_file=own.gin --list --gin.RATE=1",
]


@pytest.mark.parametrize("command", COMMANDS)
@FEW
@given(data=st.data())
def test_bad_arguments(command, folder, capsys, monkeypatch, data):
  monkeypatch.chdir(folder)
  words = command.split()
  # The name of the command stays, and so does a word that names a file.
  at = data.draw(st.integers(1, len(words) - 1))
  bad = data.draw(VALUES)
  if words[at].startswith("--gin"):
    name, equals, _ = words[at].partition("=")
    bad = name + equals + bad
  words[at : at + data.draw(st.integers(0, 1))] = [bad]
  # A call that is right would compute.
  words = [w if w != "rows.jsonl" or bad == w else "no.jsonl" for w in words]
  try:
    ends_in_one_line(capsys, (), lambda: run(*words))
  finally:
    for made in folder.glob("out*"):
      shutil.rmtree(made) if made.is_dir() else made.unlink()


GIN = ["--gin_file=own.gin", "--gin.RATE=1", "--gin_search_paths=.", "--x=1"]


@FEW
@given(data=st.data())
def test_bad_arguments_of_training(folder, capsys, monkeypatch, data):
  monkeypatch.chdir(folder)
  words = [
    word.partition("=")[0] + "=" + data.draw(VALUES)
    for word in data.draw(
      st.lists(st.sampled_from(GIN), min_size=1, max_size=3)
    )
  ]
  ends_in_one_line(capsys, (), lambda: gin_config.main(words))


@FEW
@given(data=st.data())
def test_damaged_gin_files_in_training(folder, capsys, monkeypatch, data):
  monkeypatch.chdir(folder)
  path = folder / "damaged.gin"
  text = (folder / "own.gin").read_bytes()
  path.write_bytes(data.draw(damaged_file(text)))

  def call():
    return gin_config.main([f"--gin_file={path}"])

  ends_in_one_line(capsys, (), call)
