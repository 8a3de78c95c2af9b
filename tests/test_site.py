"""The site that mkdocs makes of docs/, and the pages that are made of code."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

import mpt_jax

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def gin_macros():
  """The script that writes the tables of docs/gin.md."""
  path = DOCS / "gin_macros.py"
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_site_builds_without_a_warning(tmp_path):
  pytest.importorskip("mkdocs", reason="the extra [docs] has mkdocs")
  made = subprocess.run(
    [
      *(sys.executable, "-m", "mkdocs", "build", "--strict"),
      "-d",
      str(tmp_path),
    ],
    cwd=ROOT,
    env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    capture_output=True,
    text=True,
  )
  assert made.returncode == 0, made.stderr[-4000:]


def test_the_navigation_has_every_page():
  # Some keys of other sites' configurations are tags that only mkdocs knows.
  config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
  named = set(re.findall(r"[\w-]+\.md", str(config["nav"])))
  assert named == {path.name for path in DOCS.glob("*.md")}


def test_the_page_on_gin_is_current(gin_macros):
  page = gin_macros.PAGE.read_text(encoding="utf-8")
  assert gin_macros.with_tables(page) == page, "run python docs/gin_macros.py"


def test_macros_are_read_with_their_comments(gin_macros, tmp_path):
  path = tmp_path / "own.gin"
  path.write_text(
    "# About the file.\n"
    "from __gin__ import dynamic_registration\n"
    "\n"
    "A = (1,)  # behind,\n"
    "          # on two lines\n"
    "# Above.\n"
    "B = {\n"
    '  "x": %A,  # within\n'
    "}\n"
    "\n"
    "# Not about C.\n"
    "\n"
    "C = @module.function()\n"
    "module.function.argument = %B  # no macro\n"
  )
  assert gin_macros.read_macros(path) == [
    ("A", "(1,)", "behind, on two lines"),
    ("B", '{"x": %A}', "Above. within"),
    ("C", "@module.function()", ""),
  ]


def test_the_reference_has_every_public_name():
  text = (DOCS / "api.md").read_text(encoding="utf-8")
  named = re.findall(r"^::: (mpt_jax\.[\w.]+)$", text, re.MULTILINE)
  public = [name for name in mpt_jax.__all__ if name != "__version__"]
  assert sorted(name.rpartition(".")[2] for name in named) == sorted(public)
  for name in named:
    module, _, attribute = name.rpartition(".")
    value = getattr(mpt_jax, attribute)
    assert (value.__module__, value.__name__) == (module, attribute)
