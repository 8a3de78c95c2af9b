"""Charts are sound parts of a page, in the colours of its theme."""

from report_pages import Checker, charts

from mpt_jax.report import svg


def make(text="a"):
  def draw(axes):
    axes.plot([0, 1], [0, 1], color=svg.color_of(2))
    axes.text(0, 0, text, color=svg.INK)

  return svg.draw_svg(draw, f"label {text}", 100, (20, 20, 20, 20))


def test_a_chart_is_xml_in_the_colours_of_the_page():
  (chart,) = charts(make())
  root = chart.documentElement
  assert root.getAttribute("role") == "img"
  assert root.getAttribute("aria-label") == "label a"
  assert root.getAttribute("viewBox").split()[2:] == ["252", "100"]
  text = chart.toxml()
  assert "var(--c2)" in text and "var(--ink)" in text and "#0101" not in text
  assert not root.hasAttribute("width")


def test_texts_of_users_are_texts():
  # No formula of TeX, no tag.
  name = "$x_1$ <b>&\"'"
  (chart,) = charts(make(name))
  assert chart.documentElement.getAttribute("aria-label") == f"label {name}"
  found = [t.firstChild.data for t in chart.getElementsByTagName("text")]
  assert name in found
  assert not chart.getElementsByTagName("b")


def test_any_text_may_be_a_name():
  name = "日本語 🙂 \x1b"
  (chart,) = charts(make(name))
  found = [t.firstChild.data for t in chart.getElementsByTagName("text")]
  assert name.removesuffix("\x1b") in found
  label = chart.documentElement.getAttribute("aria-label")
  assert label == f"label {name.removesuffix(chr(27))}"


def test_ids_of_one_page_differ():
  page = svg.numbered(f'<p id="f1-x">{make()}{make()}</p>')
  checker = Checker(page)
  assert len(checker.ids) == len(set(checker.ids)) > 4
  inner = [link for link in checker.links if link.startswith("#")]
  assert {link[1:] for link in inner} <= set(checker.ids)
  assert 'id="f1-x"' in page  # What is no chart stays.


def test_the_same_chart_is_the_same_text():
  assert make() == make()
