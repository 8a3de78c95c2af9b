"""The commands that run without TensorFlow, seqio, clu and gin-config.

.ci/run also runs this file in an environment of requirements/light.txt.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import train_fixtures

ROOT = pathlib.Path(__file__).parents[1]
HEAVY = ("clu", "gin", "seqio", "tensorboard", "tensorflow")
# Python's finder of packages, which does not find these.
BLOCK = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
  @classmethod
  def find_spec(cls, name, path=None, target=None):
    if name.partition(".")[0].removesuffix("_datasets") not in {HEAVY}:
      return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with rows and a tiny T5."""
  folder = tmp_path_factory.mktemp("light")
  train_fixtures.save_tiny_backbone(folder / "t5")
  for name, count in (("train", 40), ("test", 8)):
    rows = [
      {"text": f"red house {i}", "label": ("yes", "no")[i % 2]}
      for i in range(count)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text)
  return folder


def python(folder, code):
  """Runs Python in the folder without the heavy packages."""
  return subprocess.run(
    [sys.executable, "-c", BLOCK + code],
    cwd=folder,
    env={
      **os.environ,
      "PYTHONPATH": str(ROOT),
      "JAX_COMPILATION_CACHE_DIR": str(train_fixtures.CACHE),
    },
    capture_output=True,
    text=True,
  )


def test_fit_predict_eval_export_and_serve(folder):
  commands = [
    "fit train.jsonl --test test.jsonl --out run --backbone t5 --steps 4"
    " --prompt-length 2",
    "predict test.jsonl --prompts run --out answers.jsonl",
    "eval --run run --split test --out scores.json",
    "export run --to peft --out adapter",
    "import adapter --from peft --out prompts.safetensors",
    "export run --to npz --out prompts.npz",
    "verify run",
    "inspect run",
    "report run --out page.html",
  ]
  made = python(
    folder,
    "from mpt_jax.cli import main\n"
    f"for command in {commands}:\n"
    "  code = main.main(command.split())\n"
    "  assert code == 0, (command, code)\n"
    # A server of these prompts, up to the point where it listens.
    "import mpt_jax.serve.http.server\n",
  )
  assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-3000:]
  answers = (folder / "answers.jsonl").read_text().splitlines()
  assert {json.loads(line)["prediction"] for line in answers} <= {"yes", "no"}
  rows = json.loads((folder / "scores.json").read_text())["rows"]
  assert {row["num_examples"] for row in rows} == {8}


def test_the_same_in_python(folder):
  made = python(
    folder,
    "import mpt_jax as mpt\n"
    "run = mpt.fit('train.jsonl', out='python', backbone='t5', steps=2,"
    " prompt_length=2)\n"
    "config = mpt.EvalConfig(split='validation')\n"
    "print(mpt.evaluate(run, config=config)[0]['metric'])\n",
  )
  assert made.returncode == 0, made.stderr[-3000:]
  assert "accuracy" in made.stdout


@pytest.mark.parametrize(
  "command",
  ["tasks", "train --gin_file=gin/mpt_teacher.gin", "quickstart --short"],
)
def test_other_commands_name_what_is_missing(folder, command):
  made = python(
    folder,
    f"from mpt_jax.cli import main\nsys.exit(main.main({command.split()}))\n",
  )
  assert made.returncode == 2, made.stderr[-2000:]
  last = made.stderr.splitlines()[-1]
  assert re.match(
    r"error: this command needs \w+, which requirements/light.txt leaves", last
  )
  assert "Traceback" not in made.stderr


def test_an_installed_package_requires_the_light_list():
  try:
    required = importlib.metadata.requires("mpt_jax")
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("mpt_jax runs from the clone here")
  names = {re.match(r"[\w-]+", line)[0] for line in required}
  for file in ("light", "serve"):
    lines = (ROOT / "requirements" / f"{file}.txt").read_text().splitlines()
    listed = {re.match(r"[\w-]+", line) for line in lines}
    assert {match[0] for match in listed if match} - {"-r"} <= names
