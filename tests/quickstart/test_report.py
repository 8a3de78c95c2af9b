import io
import json
import re
import xml.dom.minidom
from html.parser import HTMLParser

import numpy as np
import pytest
import rich.console

from mpt_jax.prompts.bank import PromptBank
from mpt_jax.quickstart import statistics
from mpt_jax.quickstart.report import (
  print_tables,
  similarity,
  summarize,
  write_report,
)


def row(method, value, task="a", shots=16, seed=0, stage="adapt", **other):
  return {
    "stage": stage,
    "method": method,
    "task": task,
    "shots": shots,
    "seed": seed,
    "metric": "balanced_accuracy",
    "value": value,
    "num_examples": 100,
    **other,
  }


def target_rows(mpt=(0.8, 0.9), tuning=(0.7, 0.6), tasks=("a", "b")):
  rows = []
  for task in tasks:
    rows += [row("majority", 0.5, task, None, None)]
    rows += [row("no_prompt", 0.4, task, None, None)]
    rows += [row("mpt", v, task, seed=s) for s, v in enumerate(mpt)]
    rows += [
      row("prompt_tuning", v, task, seed=s) for s, v in enumerate(tuning)
    ]
  return rows


def source_rows():
  values = {"no_prompt": 0.5, "native_prefix": 0.9}
  rows = [row(m, v, "s", None, None, "teach") for m, v in values.items()]
  rows += [row("teacher", 0.8, "s", None, 0, "teach")]
  rows += [row("student", 0.7, "s", None, 0, "distill")]
  return rows


def printed(rows):
  console = rich.console.Console(file=io.StringIO(), width=140)
  print_tables(rows, console)
  return console.file.getvalue()


def test_summarize_by_hand():
  rows = [row("mpt", v, seed=s) for s, v in enumerate((0.6, 0.7, 0.8))]
  rows += [row("spot", 0.6), row("mpt", 0.1, metric="accuracy")]
  summary = summarize(rows)["adapt", "a", 16]
  # Deviations -0.1, 0, 0.1: variance 0.02 / (3 - 1) = 0.01.
  assert summary["mpt"].mean == pytest.approx(0.7)
  assert summary["mpt"].std == pytest.approx(0.1)
  assert summary["mpt"].num_seeds == 3
  assert summary["mpt"].num_examples == 100
  assert summary["spot"].std is None


def test_summarize_refuses_the_same_run_twice():
  with pytest.raises(ValueError, match="two rows"):
    summarize([row("mpt", 0.5), row("mpt", 0.6)])


def test_paired_difference_by_hand():
  # By pair 0.1, 0.3; seed 2 of MPT has no partner.
  rows = target_rows(mpt=(0.8, 0.9, 0.1), tasks=("a",))
  found = statistics.paired_difference(rows, "mpt", "prompt_tuning")
  assert found.mean == pytest.approx(0.2)
  # Sample standard deviation sqrt(0.02), over sqrt(2): 0.1.
  assert found.standard_error == pytest.approx(0.1)
  assert (found.num_pairs, found.ahead, found.total) == (2, 1, 1)
  # The 97.5 % quantile of Student's t with one degree of freedom is 12.706.
  assert found.interval == pytest.approx((0.2 - 1.2706, 0.2 + 1.2706), abs=1e-4)


@pytest.mark.parametrize(
  "mpt, tuning, expected",
  [
    ((0.8, 0.81, 0.82), (0.7, 0.7, 0.7), "MPT is better here"),
    ((0.7, 0.7, 0.7), (0.8, 0.81, 0.82), "does not win, prompt tuning is"),
    ((0.7, 0.9, 0.7), (0.8, 0.7, 0.8), "does not win, the two are not"),
    ((0.7,), (), "nothing to compare"),
  ],
)
def test_verdict_claims_no_more_than_the_numbers_bear(mpt, tuning, expected):
  assert expected in statistics.verdict(target_rows(mpt, tuning))


def test_verdict_of_one_pair_concludes_nothing():
  assert "no conclusion" in statistics.verdict(
    [
      row("mpt", 0.9),
      row("prompt_tuning", 0.1),
    ]
  )


def test_bold_only_where_ahead_by_more_than_the_standard_error():
  bold = lambda table: [[t for t, b in line if b] for line in table.rows]
  # Differences 0.1, 0.3: mean 0.2, standard error 0.1.
  assert bold(statistics.target_table(target_rows())) == [["85.0 ± 7.1"]] * 3
  # Differences 0.4, -0.2: mean 0.1, standard error 0.3.
  close = target_rows(mpt=(0.9, 0.7), tuning=(0.5, 0.9), tasks=("a",))
  assert bold(statistics.target_table(close)) == [[]]
  # SPoT is level with MPT, so that none is ahead of each other.
  level = target_rows(tasks=("a",))
  level += [row("spot", 0.8), row("spot", 0.9, seed=1)]
  assert bold(statistics.target_table(level)) == [[]]


def test_target_table_repeats_values_that_use_no_examples():
  rows = target_rows(tasks=("a",)) + [row("mpt", 0.9, shots=64)]
  table = statistics.target_table(rows)
  assert table.headers[2:4] == ["majority", "no prompt"]
  texts = [[text for text, _ in line] for line in table.rows]
  assert [line[:4] for line in texts] == [
    ["a", "16", "50.0", "40.0"],
    ["a", "64", "50.0", "40.0"],
  ]
  assert texts[1][4:] == ["–", "90.0 ± –", "100"]


def test_source_table_tells_the_recovered_share():
  table = statistics.source_table(source_rows())
  # (0.8 - 0.5) / 0.4 and (0.7 - 0.5) / 0.4.
  assert "teachers recover 75% and students 50%" in table.notes[0]


def test_tables_of_partial_results_print():
  assert "no results" in printed([])
  assert "student" in printed(source_rows())
  assert "90.0±–" in printed([row("mpt", 0.9)])
  assert "[bold]" in printed([row("mpt", 0.5, task="[bold]")])
  assert "MPT does not win" in printed(target_rows((0.1, 0.2)))


def test_tables_fit_in_a_terminal():
  rows = target_rows(tasks=("wordnet_category", "vader_amazon"))
  for task in ("wordnet_category", "vader_amazon"):
    for method in ("spot", "tfidf_lr"):
      rows += [row(method, 0.5 + 0.1 * s, task, seed=s) for s in (0, 1)]
  console = rich.console.Console(file=io.StringIO(), width=80)
  print_tables(rows, console)
  text = console.file.getvalue()
  assert "wordnet_category" in text and "85.0±7.1" in text
  assert "…" not in text and "majority" not in text


def test_similarity_takes_the_mean_off():
  base = np.full((3, 2, 4), 5.0)
  base[0, 0, 0] += 1.0
  base[1, 0, 0] -= 1.0  # The opposite of slot 0; slot 2 is their mean.
  expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
  np.testing.assert_allclose(similarity(base), expected, atol=1e-9)
  assert similarity(base, centred=False).min() > 0.9
  with pytest.raises(ValueError, match="num_tasks, prompt_length"):
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
