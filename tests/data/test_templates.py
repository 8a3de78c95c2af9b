"""Templates: every name between braces is literal, and values are texts."""

import doctest

import pytest

from mpt_jax.data import templates
from mpt_jax.export import stablehlo_serve


def test_examples():
  assert doctest.testmod(templates).failed == 0


@pytest.mark.parametrize(
  ("template", "fields", "text"),
  [
    ("{text}", ("text",), "T"),
    ('{{"a": "{text}"}}', ("text",), '{"a": "T"}'),
    ("{text}}}", ("text",), "T}"),
    ("{#1 String} {a:b}", ("#1 String", "a:b"), "1 C"),
    # A brace of a name, doubled and plain.
    ("{a{{b}}}", ("a{b}",), "B"),
    ("{a{b}}", ("a{b}",), "B"),
    ("{text:300000000}", ("text:300000000",), "long"),
    ("{text!r}{text.upper}", ("text!r", "text.upper"), "RU"),
    ("no field {{text}}", (), "no field {text}"),
  ],
)
def test_fields_and_texts(template, fields, text):
  row = {"text": "T", "#1 String": 1, "a:b": "C", "a{b}": "B"}
  row |= {"text:300000000": "long", "text!r": "R", "text.upper": "U"}
  assert templates.fields(template) == fields
  assert templates.fill(template, row) == text


@pytest.mark.parametrize("template", ["{text", "text}", "{}", "{a{b}", 3, None])
def test_malformed(template):
  with pytest.raises(ValueError, match="is malformed|must be a text"):
    templates.fields(template)


@pytest.mark.parametrize(
  ("value", "kind"),
  [
    (None, "null"),
    (True, "true"),
    ([], "a list"),
    ({}, "an object"),
    (float("nan"), "NaN"),
    (float("inf"), "infinite"),
    (b"a", "a bytes"),
  ],
)
def test_values_that_are_no_text(value, kind):
  with pytest.raises(ValueError, match=f"field 'a b' is {kind}"):
    templates.fill("{a b}", {"a b": value})


def test_half_of_a_surrogate_pair():
  with pytest.raises(ValueError, match="field 'text' at character 1"):
    templates.fill("{text}", {"text": "a\ud83d"})


@pytest.mark.parametrize(
  "template",
  ["{text}", "{{{text}}}", "{a{{b}}}: {text}}}", "{#1 String} {a:b}", "{a{b}}"],
)
def test_the_exported_server_fills_in_the_same_way(template):
  row = {"text": "T", "#1 String": 1, "a:b": 2.5, "a{b}": "B"}
  expected = templates.fill(template, row)
  assert stablehlo_serve._fill(template, row) == expected
  for value in (None, True, ["T"], float("nan")):
    with pytest.raises(ValueError, match="no text or number in"):
      stablehlo_serve._fill("{x} {y}", {"x": value, "y": ""})
