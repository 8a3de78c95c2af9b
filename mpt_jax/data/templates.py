"""Templates: texts with fields in braces, as in "review: {text}".

There is one rule. Everything between a brace and its matching brace is the name
of a field, taken literally: `{#1 String}`, `{First name}` and `{a:b}` name
fields of these names. Nothing is formatted or converted, so `{text:>10}`,
`{text!r}` and `{text.upper}` are names too. A literal brace is doubled, outside
of a name and within it. A name cannot begin with a brace. If no field of a row
has a name with dots, it is looked up within objects: `{answers.text}`.

The standalone `export.stablehlo_serve` repeats this rule.
"""

import functools
import math
import numbers
import re
from collections.abc import Mapping

# A doubled brace, a field whose name may itself have braces, or a lone brace.
_BRACES = re.compile(r"\{\{|\}\}|\{((?:\{\{[^{}]*}}|\{[^{}]*}|[^{}])+)}|[{}]")


def parse(template: str) -> tuple[tuple[str, str | None], ...]:
  """Cuts a template into pairs of a literal text and the field behind it.

  Returns:
    (text, field) pairs; the field of the last pair is None.

  Raises:
    ValueError: a brace has no partner, or a field has no name.

  >>> parse("{{{a b}}}: {c}!")
  (('{', 'a b'), ('}: ', 'c'), ('!', None))
  """
  if not isinstance(template, str):
    raise ValueError(f"template {template!r:.200} must be a text")
  return _parse(template)


@functools.lru_cache(maxsize=256)
def _parse(template):
  pairs, text, end = [], "", 0
  for match in _BRACES.finditer(template):
    text, end = text + template[end : match.start()], match.end()
    if match[1]:
      name = match[1].replace("{{", "{").replace("}}", "}")
      pairs.append((text, name))
      text = ""
    elif len(match[0]) == 2:
      text += match[0][0]
    else:
      raise ValueError(
        f"template {template!r:.200} is malformed: the brace at character"
        f" {match.start()} has no partner, or no name. Fields stand in braces,"
        " as in 'review: {text}'; a literal brace is doubled."
      )
  return (*pairs, (text + template[end:], None))


def fields(template: str) -> tuple[str, ...]:
  """Returns the names of a template's fields, in order.

  Raises:
    ValueError: see `parse`.

  >>> fields("{a}: {b}, {a}")
  ('a', 'b', 'a')
  """
  return tuple(name for _, name in parse(template) if name is not None)


def fill(template: str, row: Mapping) -> str:
  """Returns the template's text for a row.

  Args:
    template: the template.
    row: the values of its fields; see `as_text`.

  Raises:
    KeyError: the row lacks a field.
    ValueError: see `parse` and `as_text`.

  >>> fill("a {b c}", {"b c": 1.0})
  'a 1.0'
  """
  parts = []
  for text, name in parse(template):
    parts.append(text)
    if name is not None:
      parts.append(as_text(look_up(row, name), name))
  return "".join(parts)


def look_up(row: Mapping, name: str):
  """Returns a field of a row, or a value within objects and lists of objects.

  Raises:
    KeyError: the row has no such field.

  >>> look_up({"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}]}, "c.d")
  [2, 3]
  >>> look_up({"a.b": 0, "a": {"b": 1}}, "a.b")
  0
  """
  if name in row or "." not in name:
    return row[name]
  return _within(row, name.split("."), name)


def _within(value, parts, name):
  if not parts:
    return value
  if isinstance(value, list) and value:
    return [_within(item, parts, name) for item in value]
  if not isinstance(value, Mapping) or parts[0] not in value:
    raise KeyError(name)
  return _within(value[parts[0]], parts[1:], name)


def hint(field: str) -> str:
  """Returns the rule for a name that no row has, if it looks like a format.

  >>> hint("text:>10")
  ' The whole text between the braces is the name: nothing is formatted.'
  """
  if not any(letter in field for letter in ":!.["):
    return ""
  return " The whole text between the braces is the name: nothing is formatted."


def as_text(value, field: str) -> str:
  """Returns a field's value as text: a text as it is, a number as written.

  `rows.read_rows` keeps the spelling of a file's numbers, so 1.0 stays "1.0"
  and 1e5 stays "1e5".

  Args:
    value: the value.
    field: the field's name, for the error.

  Raises:
    ValueError: the value is neither a text nor a finite number, or half of a
      surrogate pair is no Unicode text.

  >>> as_text(["a"], "text")
  Traceback (most recent call last):
  ...
  ValueError: field 'text' is a list, not a text or a number
  """
  if isinstance(value, str):
    try:
      value.encode()
    except UnicodeEncodeError as error:
      raise ValueError(
        f"half of a surrogate pair in field {field!r} at character"
        f" {error.start}, which is not Unicode text"
      ) from error
    return str(value)
  if value is None:
    raise ValueError(f"field {field!r} is null")
  is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number or not math.isfinite(value):
    raise ValueError(
      f"field {field!r} is {_kind(value)}, not a text or a number"
    )
  return str(value)


def _kind(value) -> str:
  """Names a value's type as JSON does."""
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, float):
    return "NaN" if math.isnan(value) else "infinite"
  known = {list: "a list", tuple: "a list", dict: "an object"}
  return known.get(type(value), f"a {type(value).__name__}")
