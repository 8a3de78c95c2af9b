"""Checks of settings where they enter.

Each check takes the setting's name as a user knows it, such as
"Experiment.total_steps", and its value. It returns the value as it is to be
stored, or raises a `ValueError` whose one line says what was expected and what
came. The launcher replaces the name by the gin macro that gave the value.
"""

import difflib
import math
import numbers
import operator
import os
from collections.abc import Iterable, Mapping, Sequence, Set

from mpt_jax.io import paths


def check_fields(settings, check, *names, optional=False, **options):
  """Checks fields of a frozen dataclass and stores what the check returns.

  Args:
    settings: the dataclass, in its `__post_init__`.
    check: a function of this module.
    *names: the fields.
    optional: whether None is a value too.
    **options: of the check.
  """
  for name in names:
    value = getattr(settings, name)
    if value is None and optional:
      continue
    full_name = f"{type(settings).__name__}.{name}"
    object.__setattr__(settings, name, check(full_name, value, **options))


def whole(name, value, *, low=None, high=None) -> int:
  """A whole number in [low, high]; 2.0 and True are none.

  >>> whole("train.log_period", 2.5, low=1)
  Traceback (most recent call last):
  ...
  ValueError: train.log_period must be a whole number of at least 1, got 2.5
  """
  is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  if not is_whole or not _within(value, low=low, high=high):
    _refuse(name, "a whole number" + _range(low=low, high=high), value)
  return operator.index(value)


def seed(name, value) -> int:
  """A whole number that JAX, TensorFlow and NumPy take for a seed."""
  return whole(name, value, low=-(2**31), high=2**31 - 1)


def number(name, value, *, low=None, high=None, above=None, below=None):
  """A finite number: low <= value <= high, above < value < below.

  >>> number("OptimizerConfig.learning_rate", 0.3, low=0)
  0.3
  """
  limits = {"low": low, "high": high, "above": above, "below": below}
  # NumPy's numbers are none of JSON's.
  plain = value.item() if hasattr(value, "item") else value
  is_number = isinstance(plain, int | float) and not isinstance(plain, bool)
  if not is_number or not math.isfinite(plain) or not _within(plain, **limits):
    _refuse(name, "a number" + _range(**limits), value)
  return plain


def flag(name, value) -> bool:
  """True or False."""
  if not isinstance(value, bool):
    _refuse(name, "True or False", value)
  return value


def text(name, value, *, empty=False) -> str:
  """A string, of at least one character unless `empty`."""
  if not isinstance(value, str) or not (value or empty):
    _refuse(name, "a string" if empty else "a string that is not empty", value)
  return value


def path(name, value) -> str:
  """A path as a string, with `~` as the user's home folder."""
  if isinstance(value, os.PathLike):
    value = os.fspath(value)
  if not isinstance(value, str) or not value:
    _refuse(name, "a path", value)
  return paths.expand(value)


def choice(name, value, *, choices) -> str:
  """One of some strings.

  >>> choice("Experiment.trainable", "promt", choices=("prompt", "everything"))
  Traceback (most recent call last):
  ...
  ValueError: Experiment.trainable must be one of prompt, everything, got \
'promt'. Did you mean prompt?
  """
  if not isinstance(value, str) or value not in choices:
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f". Did you mean {near[0]}?" if near else ""
    _refuse(name, f"one of {', '.join(choices)}", value, hint)
  return value


def sequence(name, value, *, of, what, empty=False, **options) -> tuple:
  """A tuple of values, each of which passes a check.

  Args:
    name: the setting.
    value: a tuple, a list or another ordered collection.
    of: the check of each value.
    what: what the values are, for the error: "whole numbers".
    empty: whether there may be none.
    **options: of the check `of`.
  """
  expected = f"a tuple of {what}" + ("" if empty else " that is not empty")
  if isinstance(value, str | bytes | Mapping | Set) or not isinstance(
    value, Iterable
  ):
    _refuse(name, expected, value)
  items = tuple(value)
  if not items and not empty:
    _refuse(name, expected, value)
  return tuple(
    of(f"{name}[{i}]", item, **options) for i, item in enumerate(items)
  )


def mapping(name, value, *, of=None, empty=True, **options) -> dict:
  """A dict whose keys are strings and whose values pass a check, if any."""
  if (
    not isinstance(value, Mapping)
    or not all(isinstance(key, str) for key in value)
    or not (value or empty)
  ):
    _refuse(name, "a dict with strings as keys", value)
  return {
    key: of(f"{name}[{key!r}]", item, **options) if of else item
    for key, item in value.items()
  }


def instance(name, value, *, cls):
  """An object of a class.

  Raises:
    TypeError: it is of another class.
  """
  if not isinstance(value, cls):
    raise TypeError(
      f"{name} must be of the class {cls.__name__}, got {_shown(value)}"
    )
  return value


def near_misses(name: str, known: Sequence[str]) -> str:
  """Returns " Did you mean ...?" with the nearest known names, or ""."""
  near = difflib.get_close_matches(str(name), [str(k) for k in known], n=3)
  return f" Did you mean {' or '.join(near)}?" if near else ""


def _within(value, low=None, high=None, above=None, below=None):
  return (
    (low is None or value >= low)
    and (high is None or value <= high)
    and (above is None or value > above)
    and (below is None or value < below)
  )


def _range(low=None, high=None, above=None, below=None) -> str:
  """Says the limits: " of at least 1", " in [0, 1)"."""
  least, most = (low, above), (high, below)
  if least == (None, None) and most == (None, None):
    return ""
  if least == (None, None):
    return f" of at most {high}" if below is None else f" below {below}"
  if most == (None, None):
    return f" of at least {low}" if above is None else f" above {above}"
  left = f"[{low}" if above is None else f"({above}"
  right = f"{high}]" if below is None else f"{below})"
  return f" in {left}, {right}"


def _shown(value) -> str:
  shown = repr(value)
  return shown if len(shown) <= 80 else shown[:77] + "..."


def _refuse(name, expected, value, hint=""):
  raise ValueError(f"{name} must be {expected}, got {_shown(value)}{hint}")
