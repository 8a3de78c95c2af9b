"""The page stands alone, and shows what it is given."""

import html.parser

from fit_scores import SCORES

from mpt_jax.fitting import page

VOID = ("meta", "line", "circle", "polyline", "br")


class Checker(html.parser.HTMLParser):
  """Checks that tags are closed in their order."""

  def __init__(self):
    super().__init__()
    self.open, self.seen = [], []

  def handle_starttag(self, tag, attrs):
    self.seen.append(tag)
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    if tag not in VOID:
      assert self.open.pop() == tag


def make(points=((10, 0.5), (20, 0.75))):
  part = {"scores": SCORES, "points": points, "best": 20}
  return page.make_page("mpt fit: a", [part], [("rows", "40")], ["mpt <x>"])


def test_the_page_is_whole_and_escapes_texts():
  text = make()
  checker = Checker()
  checker.feed(text)
  assert not checker.open and "script" not in checker.seen
  assert "svg" in checker.seen and checker.seen.count("circle") == 2
  for shown in ("75.0 %", "70.0 % to 80.0 %", "x &amp; y", "&lt;b&gt;", "90%"):
    assert shown in text
  for raw in ("<b>z", "mpt <x>", "<i>a</i>"):
    assert raw not in text
  assert "prefers-color-scheme: dark" in text and "@media print" in text
  assert "//" not in text.replace("<!doctype html>", "")


def test_one_evaluation_has_no_curve():
  assert "<svg" not in make(points=[(10, 0.5)])
