"""The quickstart's report: one sound page, also from partial results."""

import json
import re
import xml.dom.minidom
from html.parser import HTMLParser

import numpy as np
import pytest
from result_rows import row, source_rows, target_rows

from mpt_jax.prompts.bank import PromptBank
from mpt_jax.quickstart.report import (
  similarity,
  write_report,
)


def test_similarity_takes_the_mean_off():
  base = np.full((3, 2, 4), 5.0)
  base[0, 0, 0] += 1.0
  base[1, 0, 0] -= 1.0  # The opposite of slot 0; slot 2 is their mean.
  expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
  np.testing.assert_allclose(similarity(base), expected, atol=1e-9)
  assert similarity(base, centred=False).min() > 0.9
  with pytest.raises(ValueError, match="num_slots, prompt_length"):
    similarity(base[0])


class Checker(HTMLParser):
  """Fails on tags that do not close, and collects ids and addresses."""

  def __init__(self):
    super().__init__()
    self.open, self.ids, self.addresses = [], [], []

  def handle_starttag(self, tag, attrs):
    if tag not in ("meta", "link", "img", "br"):
      self.open.append(tag)
    attrs = dict(attrs)
    self.ids += [attrs["id"]] if "id" in attrs else []
    names = ("src", "href", "xlink:href")
    self.addresses += [attrs[n] for n in names if n in attrs]

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if self.open and self.open[-1] == tag:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def write_metrics(folder, slots):
  folder.mkdir()
  lines = []
  for step in (10, 20, 30):
    for kind, name in (("train", "loss"), ("eval", "balanced_accuracy")):
      values = {f"{name}/{slot}": 0.1 * i for i, slot in enumerate(slots)}
      line = {"step": step, "kind": kind, "seconds": 1.0, name: 0.1, **values}
      lines.append(json.dumps(line))
  text = "\n".join(lines) + '\n{"step": 40, "ki'  # Killed while it wrote.
  (folder / "metrics.jsonl").write_text(text)
  return folder


def make_bank(names):
  rng = np.random.default_rng(0)
  params = {
    "shared_prompt": rng.normal(size=(1, 3, 4)),
    "task_columns": rng.normal(1, 0.1, (len(names), 3, 1)),
    "task_rows": rng.normal(1, 0.1, (len(names), 1, 4)),
  }
  params = {k: v.astype(np.float32) for k, v in params.items()}
  zeros = (0,) * len(names)
  return PromptBank(params, names, zeros, "", ({},) * len(names))


def test_report_is_one_sound_page(tmp_path):
  runs = {
    "teach": write_metrics(tmp_path / "teach", ["s", "t"]),
    "distill": write_metrics(tmp_path / "distill", []),
    "adapt": write_metrics(
      tmp_path / "adapt", ["a_k16_s0_mpt", "a_k16_s0_prompt_tuning", "odd"]
    ),
  }
  meta = {"title": "A <title>", "seconds": {"teach": 1.25}, "rank": 1}
  found = {"rows": source_rows() + target_rows(), "meta": meta}
  path = tmp_path / "out" / "report.html"
  write_report(path, found, runs, make_bank(("s", "t<", "r")))
  page = path.read_text(encoding="utf-8")
  checker = Checker()
  checker.feed(page)
  assert not checker.open
  assert len(checker.ids) == len(set(checker.ids))
  assert all(a.startswith("#") for a in checker.addresses)
  assert {a[1:] for a in checker.addresses} <= set(checker.ids)
  assert "<script" not in page and "@import" not in page
  assert "url(http" not in page
  assert "A &lt;title&gt;" in page and "t&lt;" in page
  charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
  assert len(charts) == 6
  for chart in charts:
    assert 'aria-label="Line chart' in chart
    # Every colour is a variable of the theme, none is left over.
    assert not re.search(r"(stroke|fill): #", chart)
    opening = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" '
    xml.dom.minidom.parseString(opening + chart.removeprefix("<svg "))
  assert "var(--prompt-tuning)" in charts[-1]
  assert [p.name for p in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("rows", [[], [row("mpt", 0.5)]])
def test_report_of_missing_pieces(tmp_path, rows):
  (tmp_path / "empty").mkdir()
  path = tmp_path / "report.html"
  write_report(path, {"rows": rows}, {"adapt": tmp_path / "empty"}, None)
  page = path.read_text(encoding="utf-8")
  assert "No measurements were recorded" in page
  write_report(path, {"rows": rows, "meta": {}}, {}, make_bank(("s",)))
  assert "Learning curves" not in path.read_text(encoding="utf-8")
