"""Slots of tasks, and the rates that a mixture gives them."""

import pytest

from mpt_jax.prompts.slots import make_slots


def test_rates_come_with_the_tasks():
  slots = make_slots((("a", 9.0), "b", ("c", 2)), shots=(4, None))
  assert [(slot.task, slot.rate) for slot in slots] == [
    ("a", 9.0),
    ("b", 1.0),
    ("c", 2),
  ] * 2


@pytest.mark.parametrize(
  ("task", "message"),
  [
    (("a", 0), r"tasks\[0\], the rate of 'a', must be a number above 0"),
    (("a", "9"), "the rate of 'a', must be a number"),
    (("a",), r"must be the name of a task or \(name, rate\)"),
    (7, "must be a string"),
  ],
)
def test_rates_that_are_none(task, message):
  with pytest.raises(ValueError, match=message):
    make_slots([task])
