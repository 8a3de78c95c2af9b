"""The files that others read of a project: changelog, citation, templates."""

import datetime
import pathlib
import re

import pytest
import yaml

import mpt_jax
from mpt_jax.cli import main as cli

ROOT = pathlib.Path(__file__).parents[1]
# The headings of Keep a Changelog.
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def read_yaml(path):
  return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_changelog_has_the_version_and_known_headings():
  text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
  first, *versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
  assert first == "[Unreleased]"
  found = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\S+)", v) for v in versions]
  assert all(found), versions
  assert found[0][1] == mpt_jax.__version__
  dates = [datetime.date.fromisoformat(match[2]) for match in found]
  assert dates == sorted(dates, reverse=True)
  assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= CHANGES


def test_the_version_stands_in_the_package_alone(capsys):
  with pytest.raises(SystemExit):
    cli.make_parser().parse_args(["--version"])
  assert capsys.readouterr().out.split()[-1] == mpt_jax.__version__
  for path in ("setup.py", "pyproject.toml", "CITATION.cff"):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f'"{mpt_jax.__version__}"' not in text, path


def test_the_citation_names_software_and_paper():
  cited = read_yaml("CITATION.cff")
  # What version 1.2.0 of the format requires.
  for key in ("cff-version", "message", "title", "authors"):
    assert cited[key], key
  assert cited["cff-version"] == "1.2.0" and "version" not in cited
  paper = cited["preferred-citation"]
  assert paper["type"] == "conference-paper" and paper["year"] == 2023
  readme = (ROOT / "README.md").read_text(encoding="utf-8")
  for author in paper["authors"]:
    assert f"{author['given-names']} {author['family-names']}" in readme
  assert paper["title"] in readme


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_issue_templates_are_forms(name):
  form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
  assert form["name"] and form["description"]
  asked = [part for part in form["body"] if part["type"] != "markdown"]
  assert asked and all(part["attributes"]["label"] for part in asked)
  assert len({part["id"] for part in asked}) == len(asked)
